"""Royalties of a month at scale: the dbt models on Trino beside DuckDB computing the same amounts from the same files.

Needs a running stack (its lake alone). Everything is in namespaces and a folder of its own; the models are the real
ones, told so by dbt variables. Measured are CPU seconds of Trino and of the driver (dbt, this process), not those of
MinIO and PostgreSQL; DuckDB reads the files from the disk. The most memory is that of the same processes together.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import royalties_duckdb
from benchmarks.kit import Cost, measure, median, watched
from benchmarks.royalties_data import COLUMNS, DAYS, FIRST, PERIOD, Scale, write
from infra.local.supervise import Supervisor
from lakehouse.adapters import dbt, lake, trino
from lakehouse.config.settings import CHECKOUT, Settings
from lakehouse.contracts import load
from lakehouse.domain.royalties import terms
from lakehouse.domain.simulation.world import MARKETS
from lakehouse.errors import FatalError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

PREFIX = "bench_"
DAILY = ("int_plays_judged", "streams_daily")
CLOSE = (
    "streams_by_market_monthly", "int_streams_matched", "royalty_pools", "royalties", "royalties_unmatched",
    "royalty_statements",
)  # fmt: skip
VIEWS = [name for name in (*DAILY, *CLOSE) if name.startswith("int_")]
GOLD = [name for name in (*DAILY, *CLOSE) if name not in VIEWS]
GOALS = {"increment_of_full": 1 / 20, "close_of_duckdb": 1.0, "peak_gb": 6.0}
#: What a statement of Trino (900 MB a query) may have to group: plays of daily models, streams of monthly ones; and
#: tracks in markets, which are all that a close groups (markets as a whole: several may fall into one statement). Each
#: statement reads the whole month: the fewer, the better.
PLAYS_A_STATEMENT, STREAMS_A_STATEMENT, TRACKS_A_STATEMENT = 4_000_000, 5_000_000, 2_500_000


def run(settings: Settings, scale: Scale, *, rounds: int, keep: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Generate, lay out, and let the contenders run in turns.

    Raises:
        FatalError: dbt failed, or the contenders' amounts are not the same.
    """
    folder = settings.home / "bench" / "royalties"
    files = write(scale, folder / scale.name)
    say(f"{sum(path.stat().st_size for paths in files.values() for path in paths) / 1e6:,.0f} MB of Parquet files")
    try:
        lay_out(settings, scale, files, say=say)
        costs: dict[str, list[tuple[Cost, int]]] = {}
        for _ in range(rounds):
            for name, found in _round(settings, scale, folder / scale.name, say=say).items():
                costs.setdefault(name, []).append(found)
        return _report(settings, scale, costs)
    finally:
        if not keep:
            clear(settings)
            shutil.rmtree(folder)


def _round(
    settings: Settings, scale: Scale, folder: Path, *, say: Callable[[str], None]
) -> dict[str, tuple[Cost, int]]:
    """Cost and peak memory [bytes] by contender."""
    trino_pid = Supervisor(settings).processes()["trino"].pid
    last = FIRST + timedelta(days=DAYS - 1)
    parts = math.ceil(min(scale.streams / STREAMS_A_STATEMENT, scale.tracks * len(MARKETS) / TRACKS_A_STATEMENT))
    month = {"from": str(FIRST), "to": str(last), "period": PERIOD, "parts": parts}
    result = folder / "duckdb.parquet"
    found: dict[str, tuple[Cost, int]] = {}

    def contend(name: str, work: Callable[[], object], pids: Iterable[int]) -> None:
        with watched(pids) as peak:
            cost = measure(work, pids)
        found[name] = cost, peak.rss_bytes
        say(f"{name}: {cost.cpu_s:,.1f} CPU s, {cost.wall_s:,.0f} s, {peak.rss_bytes / 1e9:.2f} GB")

    def ours(models: Iterable[str], variables: dict[str, Any]) -> Callable[[], None]:
        return lambda: build(settings, scale, models, variables)

    _empty_gold(settings)
    contend("full month", ours((*DAILY, *CLOSE), month), [trino_pid])
    contend("DuckDB, full month", lambda: _duckdb(folder, result), [])
    _must_equal(settings, result)
    # Now as it comes day by day: the last day is not there yet, then it arrives, then the month is closed.
    _empty_gold(settings, keep=DAILY)
    trino.query(settings, f"delete from {PREFIX}gold_audit.streams_daily where played_on = date '{last}'")  # noqa: S608
    contend("daily increment", ours(DAILY, {"from": str(last), "to": str(last)}), [trino_pid])
    contend("monthly close", ours(CLOSE, month), [trino_pid])
    _must_equal(settings, result)
    return found


def _report(settings: Settings, scale: Scale, costs: dict[str, list[tuple[Cost, int]]]) -> dict[str, Any]:
    medians = {name: median(cost for cost, _ in found) for name, found in costs.items()}
    peaks = {name: max(peak for _, peak in found) for name, found in costs.items()}
    rows, paid = trino.query(
        settings,
        f"select count(*), count(distinct payee_id) from {PREFIX}gold_audit.royalties",  # noqa: S608
    ).rows[0]
    return {
        **asdict(scale),
        "amounts": rows,
        "paid": paid,
        "rounds": len(next(iter(costs.values()))),
        "median": {name: asdict(cost) for name, cost in medians.items()},
        "peak_gb": {name: peak / 1e9 for name, peak in peaks.items()},
        "increment_of_full": medians["daily increment"].cpu_s / medians["full month"].cpu_s,
        "close_of_duckdb": medians["monthly close"].cpu_s / medians["DuckDB, full month"].cpu_s,
        "full_of_duckdb": medians["full month"].cpu_s / medians["DuckDB, full month"].cpu_s,
        "goals": GOALS,
    }


def holds(settings: Settings, table_id: str, scale: Scale) -> bool:
    """Whether a table says that it is of this scale."""
    return lake.catalog(settings).load_table(table_id).properties.get("scale") == scale.name


def note(settings: Settings, table_id: str, scale: Scale | None) -> None:
    """Have a table say which scale it is of; None, before it is filled anew: a run that is killed leaves it so."""
    with lake.catalog(settings).load_table(table_id).transaction() as change:
        change.set_properties(scale=scale.name if scale else "")


def lay_out(settings: Settings, scale: Scale, files: dict[str, list[Path]], *, say: Callable[[str], None]) -> None:
    """Put the files into silver tables of the benchmark's namespaces; those that are there already stay."""
    catalog = lake.catalog(settings)
    for layer in ("silver_audit", "gold_audit"):
        catalog.create_namespace_if_not_exists(PREFIX + layer)
    for name, paths in files.items():
        table_id = f"{PREFIX}silver_audit.{name}"
        if catalog.table_exists(table_id) and not holds(settings, table_id, scale):
            catalog.purge_table(table_id)
        if not catalog.table_exists(table_id):
            contract = load(f"silver_audit.{name}")
            columns = tuple(contract.column(column) for column in COLUMNS[name])
            lake.create(catalog, replace(contract, id=table_id, columns=columns))
            note(settings, table_id, scale)
        table = catalog.load_table(table_id)
        present = {Path(row).name for row in table.inspect.files()["file_path"].to_pylist()}
        # Files of a lake never change: engines keep what they have read by name.
        names = {path: f"{scale.name}-{path.name}" for path in paths}
        targets = {path: f"{table.location()}/data/{name}" for path, name in names.items() if name not in present}
        for path, target in targets.items():
            with path.open("rb") as source, table.io.new_output(target).create(overwrite=True) as sink:
                shutil.copyfileobj(source, sink, 8 << 20)
        if targets:
            table.add_files(list(targets.values()))
        say(f"{table_id}: {lake.row_count(settings, table_id):,} rows")
    _empty_gold(settings)


def _empty_gold(settings: Settings, *, keep: Iterable[str] = ()) -> None:
    catalog = lake.catalog(settings)
    for name in GOLD:
        table_id = f"{PREFIX}gold_audit.{name}"
        if name not in keep:
            _drop(catalog, table_id)
            lake.create(catalog, replace(load(f"gold_audit.{name}"), id=table_id))


def _drop(catalog: Catalog, table_id: str) -> None:
    if catalog.table_exists(table_id):
        catalog.purge_table(table_id)


def clear(settings: Settings) -> None:
    """Drop all that the benchmark has put into the lake."""
    catalog = lake.catalog(settings)
    for name in VIEWS:
        trino.query(settings, f"drop view if exists {PREFIX}staging.{name}")
    trino.query(settings, f"drop schema if exists {PREFIX}staging")
    for layer, names in (("silver_audit", COLUMNS), ("gold_audit", GOLD)):
        for name in names:
            _drop(catalog, f"{PREFIX}{layer}.{name}")
        catalog.drop_namespace(PREFIX + layer)


def build(settings: Settings, scale: Scale, models: Iterable[str], variables: dict[str, Any]) -> None:
    """Run `models` with dbt, a statement no larger than Trino's memory; `variables` go before the benchmark's own.

    Raises:
        FatalError: dbt failed.
    """
    a_day = scale.streams / DAYS
    known = {
        "namespace_prefix": PREFIX,
        "parts": math.ceil(scale.streams / STREAMS_A_STATEMENT),
        "days_a_statement": max(1, int(PLAYS_A_STATEMENT / a_day)),
        **variables,
    }
    work = settings.run / "dbt-bench"
    done = subprocess.run(
        # One model at a time: two statements at once, each as large as may be, are more than Trino's heap.
        [dbt.EXECUTABLE, "run", "--threads", "1", "--select", *models, "--vars", json.dumps(known)],
        env=dbt.environment(
            settings, {**os.environ, "DBT_TARGET_PATH": str(work / "target"), "DBT_LOG_PATH": str(work / "logs")}
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FatalError(f"dbt failed: {done.stdout[-1500:]}{done.stderr[-500:]}", hint=f"See {work / 'logs'}.")


def _duckdb(folder: Path, result: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", royalties_duckdb.__name__, folder, result, str(terms.share_bps(PERIOD))],
        cwd=CHECKOUT,
        check=True,
    )


def _must_equal(settings: Settings, result: Path) -> None:
    """Row by row, to the minor unit."""
    table = lake.catalog(settings).load_table(f"{PREFIX}gold_audit.royalties")
    columns = ("country", "track_id", "payee_id", "streams", "currency", "amount_minor")
    ours = table.scan(selected_fields=columns).to_arrow().select(columns)
    different = royalties_duckdb.differences(ours, result)
    if different:
        raise FatalError(f"{different} amounts are not those of DuckDB.", hint="One of the two is wrong.")
