"""`wavehouse royalties`: a month's settlement, from calculation over approval to the closed books."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.cli import royalties_dsr
from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings

app = typer.Typer(help="Royalties: settle a month, approve it, close it, trace it.", no_args_is_help=True)
app.add_typer(royalties_dsr.app)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def migrate(as_json: Json = False) -> None:
    """Bring the payout ledger's tables to the newest revision.

    Example: wavehouse royalties migrate
    """
    from lakehouse.adapters import royalties_ledger

    out = Output(as_json=as_json)
    applied = royalties_ledger.migrate(load_settings())
    out.info(f"Applied: {', '.join(applied)}" if applied else "The payout ledger is up to date")
    out.result({"applied": applied})


@app.command()
def periods(as_json: Json = False) -> None:
    """Where each period stands, and which settlement it was calculated as.

    Example: wavehouse royalties periods
    """
    from dataclasses import asdict, astuple

    from lakehouse.adapters.royalties_ledger import Ledger

    out = Output(as_json=as_json)
    with Ledger(load_settings()) as ledger:
        known = ledger.periods()
    out.table("Periods", ["period", "state", "settlement", "decided by"], map(astuple, known))
    out.result([asdict(entry) for entry in known])
