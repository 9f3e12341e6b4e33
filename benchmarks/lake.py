"""What ten thousand small commits leave behind: a month's aggregate over a table that a stream has filled and
maintenance has kept up, beside the same rows written ideally; and what that maintenance costs beside the commits.

Needs a running stack (`wavehouse up --only lake`); makes two tables of the shape of `bronze.plays` and drops them.
"""

from __future__ import annotations

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
#: Maintenance runs once a night (dags/maintain_tables.py), and a checkpoint every ten seconds is a commit.
COMMITS_A_NIGHT = 24 * 3600 // 10
QUERY_ROUNDS = 5


def run(settings: Settings, *, commits: int, rows: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Commit `commits` times `rows` plays over a month with maintenance every `COMMITS_A_NIGHT` commits and at the end;
    then ask both tables in turns. CPU is that of this process, Trino, MinIO and PostgreSQL together.

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
        for first in range(0, commits, COMMITS_A_NIGHT):
            night = range(first, min(first + COMMITS_A_NIGHT, commits))
            ingest += kit.measure(
                lambda night=night: [small.append(batch(schema, n, commits, rows)) for n in night], pids
            ).cpu_s
            say(f"{night.stop:,} of {commits:,} commits")
            done: list[maintenance.Maintained] = []
            upkeep += kit.measure(lambda done=done: done.append(maintenance.maintain(settings, names[0])), pids).cpu_s
            say(f"maintenance: {done[0].files_before:,} -> {done[0].files_after:,} files")
            kept = [done[0].files_before, done[0].files_after]
        ideal.append(pa.concat_tables(batch(schema, n, commits, rows) for n in range(commits)))
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
