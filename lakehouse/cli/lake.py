"""`wavehouse lake`: the tables of the lake."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings

app = typer.Typer(help="The tables of the lake.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep `lake` a group, also while it has one verb."""


@app.command()
def init(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Create the namespaces and tables that the contracts define; tables that exist are left alone.

    Example: wavehouse lake init
    """
    from lakehouse.adapters import lake

    out = Output(as_json=as_json)
    created = lake.init(load_settings())
    out.info(f"{len(created)} tables created" + (": " + ", ".join(created) if created else ""))
    out.result({"created": created})
