"""`wavehouse bench`: what our way of doing something costs beside a baseline, measured in one run."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Compare costs with a baseline: CPU seconds, interleaved in one run.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def bench() -> None:
    """Benchmarks. Each is a module of `benchmarks/`; `make bench` runs all of them."""
