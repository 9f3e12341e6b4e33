"""`wavehouse sql`: a query as an analyst, who reads what is published and changes nothing."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError

app = typer.Typer()


class Reader(StrEnum):
    """As whom to read."""

    analyst = "analyst"
    auditor = "auditor"


class Format(StrEnum):
    """How the rows are shown."""

    table = "table"
    json = "json"
    csv = "csv"


@app.command()
def sql(
    statement: Annotated[str, typer.Argument(help="One statement; tables are in the schemas silver and gold.")],
    output_format: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = Format.table,
    reader: Annotated[
        Reader, typer.Option("--as", help="The auditor also reads silver_audit and gold_audit, at any snapshot.")
    ] = Reader.analyst,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Query the published tables through Trino, signed in as the analyst or the auditor (both read-only).

    Example: wavehouse sql "select track_id, sum(streams) from gold.streams_daily group by 1 order by 2 desc limit 10"
    """
    from lakehouse.adapters import trino

    if not (query := statement.strip().rstrip(";")):
        raise FatalError("The statement is empty.", hint='Say what to ask: wavehouse sql "show tables from gold"')
    found = trino.query(load_settings(), query, user=reader.value)
    if output_format is Format.csv and not as_json:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.columns)
        writer.writerows(found.rows)
        return
    out = Output(as_json=as_json or output_format is Format.json)
    out.table("", found.columns, found.rows)
    out.result(found.dicts())
