"""A join of features at moments beside DuckDB's `ASOF JOIN`, on the same rows in memory: CPU seconds of one process."""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.kit import interleaved, summary
from lakehouse.domain.features.views import AT, MOMENT, as_of, views

VIEW = views()["track_popularity"]
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


def data(*, rows: int, tracks: int, days: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """A spine of `rows` in random order, and a history with a row for each track and day."""
    random = np.random.default_rng(seed)
    ids, ends = np.repeat(np.arange(tracks), days), np.tile(np.arange(days), tracks) * DAY_US
    history = {
        VIEW.entity: ids,
        VIEW.event_at: pa.array(ends).cast(MOMENT),
        VIEW.available_at: pa.array(ends + 6 * HOUR_US).cast(MOMENT),
    } | {name: random.random(len(ids)) for name in VIEW.columns}
    at = pa.array(random.integers(0, days * DAY_US, rows)).cast(MOMENT)
    return pa.table({VIEW.entity: random.integers(0, tracks, rows), AT: at}), pa.table(history)


def by_duckdb(spine: pa.Table, history: pa.Table) -> pa.Table:
    """The same join, of moments as integers. It may follow availability alone, because nothing is corrected later."""
    import duckdb

    fresh = f"spine.at - history.event_at <= {VIEW.max_age.total_seconds() * 1_000_000:.0f}" if VIEW.max_age else "true"
    columns = ", ".join(
        f"case when {fresh} then history.{name} end as {VIEW.joined(name)}" for name in ("event_at", *VIEW.columns)
    )
    numbered = spine.append_column("number", pa.array(np.arange(spine.num_rows)))
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("spine", numbered)
        connection.register("history", history)
        query = (
            f"select {columns} from spine asof left join history "  # noqa: S608
            "on spine.track_id = history.track_id and spine.at >= history.available_at order by spine.number"
        )
        return connection.sql(query).to_arrow_table()


def _plain(table: pa.Table) -> pa.Table:
    """The table with moments as integers: DuckDB reckons with time zones only by an extension."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table[place].cast(pa.int64()))
    return table


def run(*, rows: int, tracks: int, days: int, rounds: int, seed: int = 1) -> dict[str, Any]:
    """Costs of both, medians of `rounds`; whether they agree; the peak memory of a process that does ours alone."""
    spine, history = data(rows=rows, tracks=tracks, days=days, seed=seed)
    ours = as_of(spine, VIEW, history)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    plain = _plain(spine), _plain(history)
    theirs = by_duckdb(*plain)
    costs = interleaved(
        {"ours": lambda: as_of(spine, VIEW, history), "duckdb": lambda: by_duckdb(*plain)}, rounds=rounds
    )
    return {
        "spine_rows": rows,
        "history_rows": history.num_rows,
        "peak_gb": peak_gb,
        "equal": _plain(ours).equals(theirs),
        "without_value": ours[VIEW.joined("event_at")].null_count,
    } | summary(costs, ours="ours")
