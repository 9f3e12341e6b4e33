"""The feature views in the lake: joins at moments, what was published when, and the newest values.

A view is read as published (`silver.*`, `gold.*`). A join holds the spine and the part of each view's history that can
answer it in memory: rows available by the last moment and, where the view has a bound, no older than that before the
first one; of up to `FEW` entities theirs alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.adapters import lake, publish, trino
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.features.recorded import IDENTITY, unrecorded
from lakehouse.domain.features.views import AT, MOMENT, View, as_of, newest
from lakehouse.errors import FatalError, RejectedInputError

AUDIO, AUDIO_HISTORY = "silver_audit.audio_features", "silver_audit.audio_features_history"
#: Entities that are named in a filter rather than read all.
FEW = 1_000

#: Rows of a view that satisfy an Iceberg filter expression.
Reader = Callable[[View, str], pa.Table]


def reader(settings: Settings) -> Reader:
    """Reads views as published.

    Reading raises `FatalError` when a view was never published.
    """
    return lambda view, where: lake.read(settings, view.table, columns=view.read, where=where, tag=publish.PUBLISHED)


def read_spine(path: Path, views: list[View]) -> pa.Table:
    """The spine of a join: a CSV file with a header, or a Parquet file; see `checked`.

    Moments of a CSV file are ISO 8601 with Z or an offset.

    Raises:
        RejectedInputError: the file is neither, has a value that can't be read, or breaks a rule of `checked`.
    """
    from pyarrow import csv, parquet

    types = {AT: MOMENT} | {view.entity: pa.int64() for view in views}
    try:
        if path.suffix == ".csv":
            # Only one thread knows the row of a value that it can't read.
            one = csv.ReadOptions(use_threads=False)
            table = csv.read_csv(path, one, convert_options=csv.ConvertOptions(column_types=types))
        elif path.suffix == ".parquet":
            table = parquet.read_table(path)
        else:
            raise _refused(f"{path}: a spine is a .csv or a .parquet file.")
    except (pa.ArrowInvalid, OSError) as error:
        raise _refused(f"{path}: {error}") from error
    return checked(table, views, str(path))


def checked(spine: pa.Table, views: list[View], source: str = "spine") -> pa.Table:
    """`spine` with its ids as 64-bit integers and its moments as UTC microseconds (finer ones are cut off).

    It has a column `at` (a timestamp with a time zone) and the entity of each view; others, such as labels, are kept.

    Raises:
        RejectedInputError: a column is missing, of another type, null somewhere, or has a name that the join gives.
    """
    for name in dict.fromkeys([AT, *(view.entity for view in views)]):
        if spine.schema.names.count(name) != 1:
            raise _refused(f"{source}: column '{name}' is missing, or there are several.")
        values = spine[name]
        fits = pa.types.is_timestamp(values.type) and values.type.tz if name == AT else pa.types.is_integer(values.type)
        if not fits:
            what = "a timestamp with a time zone" if name == AT else "an integer"
            raise _refused(f"{source}: column '{name}' is {values.type}, not {what}.")
        if values.null_count:
            row = pc.index(values.is_null(), value=True).as_py() + 1
            raise _refused(f"{source}: column '{name}' is empty in data row {row}.")
        cast = values.cast(MOMENT, safe=False) if name == AT else values.cast(pa.int64())
        spine = spine.set_column(spine.schema.get_field_index(name), name, cast)
    given = {view.joined(column) for view in views for column in ("event_at", *view.columns)}
    if taken := sorted(given & set(spine.schema.names)):
        raise _refused(f"{source}: column '{taken[0]}' has the name of a feature; rename it.")
    return spine


def _refused(message: str) -> RejectedInputError:
    return RejectedInputError(
        message,
        reason="bad_spine",
        hint=f"A spine has the entity of each view and `{AT}`, a moment such as 2026-10-01T06:00:00Z.",
    )


def join(spine: pa.Table, views: list[View], read: Reader) -> pa.Table:
    """`spine` and, at its right, each view's values as they were known at each row's moment; its rows in their order.

    Columns are named `<view>__<column>`; `<view>__event_at` tells what moment they speak of. Null: there was no value,
    or it was older than the view's bound. In a notebook: `join(spine, named(["track_audio"]), reader(settings))`.

    Raises:
        RejectedInputError: see `checked`.
    """
    spine = checked(spine, views)
    joined = spine
    for view in views:
        values = as_of(spine, view, read(view, _where(view, spine)))
        for name in values.schema.names:
            joined = joined.append_column(name, values[name])
    return joined


def _where(view: View, spine: pa.Table) -> str:
    """The rows of a view that can answer a spine."""
    if not spine.num_rows:
        return f"{view.entity} is null"  # none
    span = pc.min_max(spine[AT]).as_py()
    conditions = [f"{view.available_at} <= '{span['max'].isoformat()}'"]
    if view.max_age is not None:
        conditions.append(f"{view.event_at} >= '{(span['min'] - view.max_age).isoformat()}'")
    entities = spine[view.entity].unique()
    if len(entities) <= FEW:
        conditions.append(f"{view.entity} in ({', '.join(map(str, entities.to_pylist()))})")
    return " and ".join(conditions)


def record(settings: Settings, at: datetime) -> int:
    """Add to the history the features of the tracks for which others are published than it says; returns their number.

    `at` is the moment from which they count as available: now, after the publication. Again it adds nothing.

    Raises:
        FatalError: `at` is not after what the history has already: the clock went back.
    """
    recorded = lake.read(settings, AUDIO_HISTORY, columns=("track_id", "available_at", *IDENTITY)).to_pylist()
    if recorded and (last := max(row["available_at"] for row in recorded)) >= at:
        raise FatalError(f"{AUDIO_HISTORY} has rows of {last}; now is {at}.", hint="Set the machine's clock.")
    published = lake.read(settings, AUDIO, tag=publish.PUBLISHED).to_pylist()
    rows: list[dict[str, Any]] = [row | {"available_at": at} for row in unrecorded(published, recorded)]
    if rows:
        lake.append(settings, AUDIO_HISTORY, pa.Table.from_pylist(rows, load(AUDIO_HISTORY).arrow_schema()))
    return len(rows)


def newest_values(settings: Settings, view: View, now: datetime) -> pa.Table:
    """Of each entity the newest published values that don't speak of after `now`, such as those of a day not yet over.

    They are no older than the view's bound before the last one of all became available: what is published counts as
    available, so a run that is done early is served early.
    """
    spoken_of = f"{view.event_at} <= '{now.isoformat()}'"
    table = publish.view_of(load(view.table))
    found = trino.query(
        settings,
        f"select max({view.available_at}) from lake.{table} where {view.event_at} <= ?",  # noqa: S608
        [now],
    )
    last: datetime | None = found.rows[0][0]
    if last is None:
        return load(view.table).arrow_schema().empty_table().select(view.read)
    where = f"{spoken_of} and {view.event_at} >= '{(last - view.max_age).isoformat()}'" if view.max_age else spoken_of
    return newest(view, reader(settings)(view, where), pa.scalar(last, MOMENT))
