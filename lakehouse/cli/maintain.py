"""`wavehouse maintain`: compaction, snapshot expiry and orphan removal."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError

app = typer.Typer()


@app.command()
def maintain(
    table: Annotated[str, typer.Option(help="One table, like bronze.plays.")] = "",
    namespace: Annotated[str, typer.Option(help="All tables of bronze, silver_audit or gold_audit.")] = "",
    all_tables: Annotated[bool, typer.Option("--all", help="All tables.")] = False,
    orphans: Annotated[
        bool, typer.Option(help="Look for files that no snapshot names; it lists all there are.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Merge small files, expire old snapshots and remove orphans. Safe while jobs write.

    Example: wavehouse maintain --namespace bronze
    """
    from lakehouse.adapters import maintenance

    if sum(map(bool, (table, namespace, all_tables))) != 1:
        raise FatalError("Say what to maintain.", hint="Give one of --table, --namespace and --all.")
    settings = load_settings()
    out = Output(as_json=as_json)
    retention = maintenance.ORPHAN_RETENTION if orphans else ""
    done = []
    for name in [table] if table else maintenance.tables(settings, namespace):
        done.append(maintenance.maintain(settings, name, orphans=retention))
        out.step(f"{name}: {done[-1].files_before} -> {done[-1].files_after} files")
    columns = ["table", "files before", "after", "snapshots before", "after"]
    out.table("Maintained", columns, [tuple(asdict(entry).values()) for entry in done])
    out.result([asdict(entry) for entry in done])
