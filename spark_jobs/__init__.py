"""Spark jobs: `main()` wires, `transform(frame, params) -> frame` does."""
