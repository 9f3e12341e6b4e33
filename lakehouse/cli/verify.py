"""`wavehouse verify`: the reconciliation table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings

app = typer.Typer()


@app.command()
def verify(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Compare every stage with the one before, from the truth ledger to the last cent. Exit code 1 on any mismatch.

    Example: wavehouse verify
    """
    from lakehouse.adapters import reconcile

    out = Output(as_json=as_json)
    checks = reconcile.reconcile(load_settings())
    columns = ["check", "of", "left", "of", "right", "difference", "equal"]
    rows = [(c.name, c.left_of, c.left, c.right_of, c.right, c.difference, "yes" if c.equal else "NO") for c in checks]
    out.table("Reconciliation", columns, rows)
    wrong = [c for c in checks if not c.equal]
    out.info(f"{len(checks) - len(wrong)} of {len(checks)} checks are equal")
    out.result([asdict(c) | {"difference": c.difference, "equal": c.equal} for c in checks])
    if wrong:
        raise typer.Exit(1)
