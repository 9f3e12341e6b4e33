"""A month at scale settled by the real commands: contracts of every kind, audits, lines, and the auditor's checklist.

What `royalties.py` measures is the volume of pro-rata amounts; here it is `wavehouse royalties run` and what follows.
The month of `royalties_data` is put into the real tables of a stack that nothing else uses (profile `bench`), its
contracts are those of `royalties_book`. Measured are CPU seconds of Trino and of this process (with dbt), and the most
memory that these held together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import royalties as volume
from benchmarks.kit import Cost, measure, watched
from benchmarks.royalties_book import CURRENCIES, book
from benchmarks.royalties_data import DAYS, FIRST, PERIOD, Scale, write
from infra.local.supervise import Supervisor
from lakehouse.adapters import lake, publish, royalties, royalties_checklist, royalties_demo, royalties_ledger
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.simulation.world import MARKETS
from lakehouse.errors import FatalError

#: What dbt makes of the month before it is settled.
MODELS = (
    "int_plays_judged", "streams_daily", "listener_track_monthly", "streams_monthly",
    "int_royalty_streams", "int_royalty_listeners", "int_royalty_tracks", "int_royalty_units",
)  # fmt: skip
#: The last of them that is a table: where it says that it holds a scale, all of them have been built for it.
LAST_MODEL = "gold_audit.streams_monthly"
GOALS = {"peak_gb": 6.0}


def run(settings: Settings, scale: Scale, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Lay the month out, settle it, compute it again, and ask the auditor's questions.

    Raises:
        FatalError: the stack is not the benchmark's own, dbt failed, or an answer of the checklist is wrong.
    """
    if settings.profile != "bench":
        raise FatalError(
            "This fills the real tables, so it runs on a stack of its own.",
            hint="export WAVEHOUSE_PROFILE=bench; wavehouse up --only lake",
        )
    trino_pid = Supervisor(settings).processes()["trino"].pid
    found: dict[str, dict[str, float]] = {}

    def step(name: str, work: Callable[[], object]) -> None:
        with watched([trino_pid]) as peak:
            cost: Cost = measure(work, [trino_pid])
        found[name] = asdict(cost) | {"peak_gb": peak.rss_bytes / 1e9}
        say(f"{name}: {cost.cpu_s:,.0f} CPU s, {cost.wall_s:,.0f} s, {peak.rss_bytes / 1e9:.2f} GB")

    lake.init(settings)
    royalties_ledger.migrate(settings)
    lay_out(settings, write(scale, settings.home / "files" / scale.name), scale, say=say)
    if volume.holds(settings, LAST_MODEL, scale):
        say("month of plays to gold: there already, of an earlier run")
    else:
        step("month of plays to gold", lambda: _models(settings, scale))
    mark_published(settings)
    rates = royalties_demo.rates([PERIOD], {market.currency for market in MARKETS} | set(CURRENCIES))
    step("royalties run", lambda: royalties.run(settings, PERIOD, by="bench", book=book(scale), rates=rates, say=say))
    kept = royalties.kept(settings, PERIOD)
    answers: list[royalties_checklist.Item] = []
    step("checklist, computed again", lambda: answers.extend(royalties_checklist.checklist(settings, PERIOD, say=say)))
    if wrong := [item for item in answers if item.wrong]:
        raise FatalError(
            f"{wrong[0].question}: {wrong[0].wrong} of {wrong[0].looked_at}.", hint="The run is not sound."
        )
    return {
        **asdict(scale),
        "lines": kept.settlement.line_count,
        "pools": len(kept.settlement.pools),
        "payable_entries": sum(entry.kind == "payable" for entry in kept.settlement.entries),
        "digest": kept.state.digest,
        "checklist": [asdict(item) for item in answers],
        "steps": found,
        "goals": GOALS,
    }


def lay_out(settings: Settings, files: dict[str, list[Path]], scale: Scale, *, say: Callable[[str], None]) -> None:
    """Fill the silver tables, a file a commit; one that says it holds this scale already is left.

    Columns that the files lack are filled with the same value in every row; nothing that is measured reads them.
    """
    for name, paths in files.items():
        table_id = f"silver_audit.{name}"
        if not volume.holds(settings, table_id, scale):
            volume.note(settings, table_id, None)
            table = lake.catalog(settings).load_table(table_id)
            lake.overwrite(settings, table_id, load(table_id).arrow_schema().empty_table(), where="")
            table.refresh()
            for path in paths:
                table.append(_widened(pq.read_table(path), load(table_id).arrow_schema()))
            volume.note(settings, table_id, scale)
        say(f"{table_id}: {lake.row_count(settings, table_id):,} rows")


def _widened(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    def column(field: pa.Field) -> pa.ChunkedArray | pa.Array:
        if field.name in rows.column_names:
            return rows[field.name].cast(field.type)
        value = None if field.nullable else _constant(field.type)
        return pa.repeat(pa.scalar(value, field.type), len(rows))

    return pa.table([column(field) for field in schema], schema=schema)


def _constant(kind: pa.DataType) -> object:
    if pa.types.is_timestamp(kind):
        return datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    if pa.types.is_date(kind):
        return FIRST
    if pa.types.is_boolean(kind):
        return False
    return "" if pa.types.is_string(kind) else 0


def _models(settings: Settings, scale: Scale) -> None:
    volume.note(settings, LAST_MODEL, None)
    window = {"from": str(FIRST), "to": str(FIRST.replace(day=DAYS)), "period": PERIOD}
    volume.build(settings, scale, MODELS, window | {"namespace_prefix": ""})
    volume.note(settings, LAST_MODEL, scale)


def mark_published(settings: Settings) -> None:
    """Show the sources as they are; their own audits are not what is measured here."""
    catalog = lake.catalog(settings)
    for name in royalties.SOURCES:
        snapshot = catalog.load_table(name).current_snapshot()
        if snapshot is None:
            raise FatalError(f"{name} is empty.", hint="See what dbt printed.")
        publish.move_tag(settings, name, publish.AUDITED, snapshot.snapshot_id)
    publish.publish(settings, royalties.SOURCES)
