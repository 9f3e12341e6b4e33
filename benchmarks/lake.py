"""What ten thousand small commits leave behind: a month's aggregate over a table that a stream has filled and
maintenance has kept up, beside the same rows written ideally; and what that maintenance costs beside the commits.

Needs a running stack (`wavehouse up --only lake`); makes two tables of the shape of `bronze.plays` and drops them.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from benchmarks import kit
from benchmarks.stream import play
from infra.local import stack
from lakehouse.adapters import lake, maintenance, trino
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.errors import FatalError

if TYPE_CHECKING:
    from pyiceberg.table import Table

START, DAYS = datetime(2026, 10, 1, tzinfo=UTC), 31
GOALS = {"query_times_ideal": 1.15, "maintenance_of_ingest": 0.05}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Maintenance of what the stream writes runs once an hour (dags/maintain_tables.py), and a checkpoint every ten seconds
#: is a commit.
COMMITS_AN_HOUR = 3600 // 10
#: Looks for orphans once in so many runs: nightly.
HOURS_A_NIGHT = 24
QUERY_ROUNDS = 5


def run(settings: Settings, *, commits: int, rows: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Commit `commits` times `rows` plays over a month with maintenance every `COMMITS_AN_HOUR` commits and at the end,
    then ask both tables in turns. CPU is that of this process, Trino, MinIO and PostgreSQL together.

    Maintenance leaves one snapshot: time passes faster here than in a stream, and every snapshot that stays makes the
    next commits dearer (PyIceberg copies the list several times), which would flatter maintenance.

    Raises:
        FatalError: the engines don't run, or the two tables don't answer alike.
        RetryableError: an engine does not answer.
    """
    pids = [s.pid for s in stack.status(settings) if s.name in ("trino", "minio", "postgres") and s.pid]
    if len(pids) < 3:  # noqa: PLR2004 - the three above
        raise FatalError("Trino, MinIO and PostgreSQL don't all run.", hint="`wavehouse up --only lake`")
    catalog, mark = lake.catalog(settings), uuid.uuid4().hex[:8]
    contract = load("bronze.plays")
    names = [f"bronze.bench_{mark}_{kind}" for kind in ("small", "ideal")]
    made: list[str] = []
    try:
        tables: list[Table] = []
        for name in names:
            tables.append(lake.create(catalog, replace(contract, id=name)))
            made.append(name)
        small, ideal = tables
        schema = contract.arrow_schema()
        ingest, upkeep, kept = 0.0, 0.0, [0, 0]
        for number, first in enumerate(range(0, commits, COMMITS_AN_HOUR), start=1):
            last = min(first + COMMITS_AN_HOUR, commits)
            for commit in range(first, last):
                plays = batch(schema, commit, commits, rows)
                ingest += kit.measure(lambda plays=plays: small.append(plays), pids).cpu_s
            say(f"{last:,} of {commits:,} commits: {ingest:,.0f} CPU s")
            done: list[maintenance.Maintained] = []
            orphans = "" if number % HOURS_A_NIGHT else maintenance.ORPHAN_RETENTION
            upkeep += kit.measure(
                lambda done=done, orphans=orphans: done.append(
                    maintenance.maintain(settings, names[0], snapshots="0s", orphans=orphans)
                ),
                pids,
            ).cpu_s
            small.refresh()
            say(f"maintenance: {done[0].files_before:,} -> {done[0].files_after:,} files: {upkeep:,.0f} CPU s")
            kept = [done[0].files_before, done[0].files_after]
        for day in range(DAYS):  # a file a day, of all its rows
            days = range(math.ceil(day * commits / DAYS), math.ceil((day + 1) * commits / DAYS))
            ideal.append(pa.concat_tables(batch(schema, commit, commits, rows) for commit in days))
        answers = [month(settings, name) for name in names]  # also warms up whatever is kept warm
        if answers[0] != answers[1] or not answers[0]:
            raise FatalError("The two tables don't hold the same.", hint="This is a defect of the benchmark or of us.")
        costs = kit.interleaved(
            {name: (lambda name=name: month(settings, name)) for name in names}, rounds=QUERY_ROUNDS
        )  # fmt: skip
    finally:
        for name in made:
            catalog.purge_table(name)
    medians = [kit.median(costs[name]) for name in names]
    return {
        "commits": commits,
        "rows": commits * rows,
        "files": {"before_the_last_maintenance": kept[0], "after": kept[1]},
        "load": os.getloadavg()[1],
        "ingest_cpu_s": ingest,
        "maintenance_cpu_s": upkeep,
        "maintenance_of_ingest": upkeep / ingest,
        "query_cpu_s": {"small commits": medians[0].cpu_s, "ideal": medians[1].cpu_s},
        "query_times_ideal": medians[0].cpu_s / medians[1].cpu_s,
        "goals": GOALS,
    }


def batch(schema: pa.Schema, number: int, commits: int, rows: int) -> pa.Table:
    """The plays of one commit, all received within its share of the month."""
    share = timedelta(days=DAYS) / commits
    received = [START + share * number + share * n / rows for n in range(rows)]
    plays = [
        play(number * rows + n, moment - timedelta(minutes=4), n % 1_000)
        | {"received_at": (moment - EPOCH) // timedelta(microseconds=1)}
        | {"kafka_partition": n % 4, "kafka_offset": number * rows + n}
        for n, moment in enumerate(received)
    ]
    return pa.Table.from_pylist(plays, schema=schema)


def month(settings: Settings, name: str) -> list[tuple[Any, ...]]:
    """Plays and milliseconds of a month by country and tier."""
    return trino.query(
        settings,
        f"select country, tier, count(*), sum(ms_played) from lake.{name}"  # noqa: S608 - a name of ours
        " where received_at >= timestamp '2026-10-01 00:00:00 UTC'"
        " and received_at < timestamp '2026-11-01 00:00:00 UTC' group by 1, 2 order by 1, 2",
    ).rows
