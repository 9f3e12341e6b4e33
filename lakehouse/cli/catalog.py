"""`wavehouse catalog`: the catalogue's database and its copy in the lake."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.cli.services import log, stopped_by_signals
from lakehouse.config.settings import load_settings

app = typer.Typer(help="The catalogue of tracks, releases and artists.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def migrate(as_json: Json = False) -> None:
    """Bring the catalogue's tables to the newest revision.

    Example: wavehouse catalog migrate
    """
    from lakehouse.adapters import catalog_db

    out = Output(as_json=as_json)
    applied = catalog_db.migrate(load_settings())
    out.info(f"Applied: {', '.join(applied)}" if applied else "The catalogue is up to date")
    out.result({"applied": applied})


@app.command()
def snapshot(as_json: Json = False) -> None:
    """Copy the catalogue to bronze.catalog_content, in one commit; no commit when nothing changed.

    Example: wavehouse catalog snapshot
    """
    import pyarrow as pa

    from lakehouse.adapters import lake
    from lakehouse.adapters.catalog_db import CatalogDb
    from lakehouse.contracts import load

    settings = load_settings()
    contract = load("bronze.catalog_content")
    with CatalogDb(settings) as db:
        rows = db.content_with_audio()
    changed = lake.overwrite(settings, contract.id, pa.Table.from_pylist(rows, schema=contract.arrow_schema()))
    out = Output(as_json=as_json)
    out.info(f"{contract.id}: {len(rows)} rows, {'written' if changed else 'unchanged'}")
    out.result({"rows": len(rows), "changed": changed})


@app.command()
def relay(
    once: Annotated[bool, typer.Option("--once", help="Send what is there now and end.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1,
    as_json: Json = False,
) -> None:
    """Send changes of the catalogue to Kafka as they happen: the service `catalog-relay` of the stack.

    Each change is marked as sent when Kafka has acknowledged it, so that this may be killed at any moment: the next one
    sends what is not marked, under the same ids.

    Example: wavehouse catalog relay --once
    """
    from lakehouse.adapters import catalog_relay

    out = Output(as_json=as_json)
    settings = load_settings()
    if once:
        sent = catalog_relay.drain(settings, say=out.info)
        out.info(f"{sent} changes sent")
        out.result({"sent": sent})
        return
    catalog_relay.run(settings, stopped_by_signals(), every_s=every, say=log(out))
    out.result({"stopped": True})
