"""`wavehouse stats`: what a listener heard most."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.domain.listening.ranges import Range

app = typer.Typer()


@app.command()
def stats(
    user: Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="Listener (user_id).")],
    span: Annotated[
        Range, typer.Option("--range", help="this_*: up to --as-of; else the last whole one.")
    ] = "all_time",
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day to look from (UTC); default: newest of the data.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Length of each ranking.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Top artists, recordings, releases and days of a listener: streams here and listens from elsewhere.

    Example: wavehouse stats 42 --range this_month
    """
    from lakehouse.adapters import listener_stats

    out = Output(as_json=as_json)
    day = as_of.date() if as_of else None
    found = listener_stats.stats(load_settings(), user, span, as_of=day, limit=limit)
    when = f"{found.first or 'the beginning'} to {found.last}"
    for name, rows in {**found.rankings, "days": found.activity}.items():
        out.table(f"{name}, {when}", list(rows[0]) if rows else ["nothing"], [list(row.values()) for row in rows])
    out.result(asdict(found))
