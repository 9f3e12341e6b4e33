"""Feature views: declared in `views.yaml`, joined at a moment without a look into the future. Pure.

A value has two moments (Snodgrass 1999, "Developing Time-Oriented Database Applications in SQL": valid and transaction
time): `event_at`, which it speaks of, and `available_at`, from when readers could have it. A late correction is a
second row of the same event time with a later availability; a join that asks before it sees the first row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from lakehouse.errors import FatalError

#: Column of a spine that holds the moment asked for.
AT = "at"
MOMENT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class View:
    """A feature view; the comment in views.yaml says what its parts mean."""

    name: str
    table: str
    entity: str
    event_at: str
    available_at: str
    max_age: timedelta | None
    columns: tuple[str, ...]

    @property
    def read(self) -> tuple[str, ...]:
        """Columns of the table that a join reads, each once."""
        return tuple(dict.fromkeys((self.entity, self.event_at, self.available_at, *self.columns)))

    def joined(self, column: str) -> str:
        """Name of `column` in a join, where several views stand side by side."""
        return f"{self.name}__{column}"


@cache
def views() -> dict[str, View]:
    """Every view by name, in the order of `views.yaml`."""
    raw: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("views.yaml").read_text())
    made = {}
    for name, spec in raw.items():
        hours = spec.pop("max_age_hours")
        age = None if hours is None else timedelta(hours=hours)
        made[name] = View(name=name, max_age=age, **spec | {"columns": tuple(spec["columns"])})
    return made


def named(names: Sequence[str]) -> list[View]:
    """The views called so; without names all.

    Raises:
        FatalError: there is no such view, or one is named twice.
    """
    for name in names:
        if name not in views():
            raise FatalError(f"There is no feature view '{name}'.", hint=f"Views: {', '.join(views())}.")
    if len(set(names)) < len(names):
        raise FatalError("A feature view is named twice.", hint="Name each view once.")
    return [views()[name] for name in names or views()]


def rows_as_of(view: View, entities: pa.Array, moments: pa.Array, history: pa.Table) -> NDArray[np.int64]:
    """For each entity and moment the number of the row of `history` that was the newest then; -1 where there was none.

    That is, of the rows of the entity that were available (`available_at` <= moment) and do not speak of later
    (`event_at` <= moment) the one with the highest event time, of several the one that became available last; none when
    it is older than the view's bound (moment - `event_at` > `max_age`).

    Args:
        view: names the columns of `history`.
        entities: ids, 64-bit integers without null.
        moments: UTC microseconds without null, as many.
        history: rows of the view in any order, with at least its entity and moments.

    Raises:
        FatalError: two rows of an entity have the same moments, so that neither is the newest.
    """
    rows = pd.DataFrame(
        {
            "entity": _integers(history[view.entity]),
            "event": _integers(history[view.event_at]),
            "available": _integers(history[view.available_at]),
            "row": np.arange(history.num_rows),
        }
    )
    twice = rows[rows.duplicated(["entity", "event", "available"])]
    if len(twice):
        raise FatalError(
            f"{view.table} has two rows of {view.entity} {twice['entity'].iloc[0]} with the same moments.",
            hint=f"Run `wavehouse audit {view.table}`, and mend the table.",
        )
    # Nothing is known before the moment it speaks of.
    rows["known"] = np.maximum(rows["event"], rows["available"])
    rows = rows.iloc[np.lexsort([rows["available"], rows["event"], rows["known"]])]
    # A row that becomes known after a newer one never is the newest; without those, the last one known is.
    rows = rows[rows["event"] >= rows.groupby("entity")["event"].cummax()]
    asked = pd.DataFrame({"entity": _integers(entities), "at": _integers(moments)})
    asked["place"] = np.arange(len(asked))
    found = pd.merge_asof(asked.sort_values("at"), rows, left_on="at", right_on="known", by="entity")
    if view.max_age is not None:
        found.loc[found["at"] - found["event"] > view.max_age // timedelta(microseconds=1), "row"] = np.nan
    return found.sort_values("place")["row"].fillna(-1).to_numpy(dtype=np.int64)


def as_of(spine: pa.Table, view: View, history: pa.Table) -> pa.Table:
    """The values of `view` at each row of `spine`: one row each, in its order; null where there was none.

    Columns are named `<view>__<column>`; `<view>__event_at` is the moment that the values speak of. See `rows_as_of`.

    Raises:
        FatalError: see `rows_as_of`.
    """
    rows = rows_as_of(view, spine[view.entity], spine[AT], history)
    taken = history.take(pa.array(rows, mask=rows < 0))
    return pa.table({view.joined("event_at"): taken[view.event_at]} | {view.joined(c): taken[c] for c in view.columns})


def newest(view: View, history: pa.Table, at: pa.TimestampScalar) -> pa.Table:
    """Of each entity in `history` the row that was the newest at the moment `at`, by entity. See `rows_as_of`."""
    entities = history[view.entity].unique().sort()
    rows = rows_as_of(view, entities, pa.array([at.as_py()] * len(entities), MOMENT), history)
    return history.take(pa.array(rows[rows >= 0]))


def _integers(values: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    if pa.types.is_timestamp(values.type):
        values = values.cast(MOMENT)
    return np.asarray(values.cast(pa.int64()), dtype=np.int64)
