"""A join of features at a moment against a reading of its definition, row by row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.domain.features.views import MOMENT, View, as_of, newest, rows_as_of
from lakehouse.errors import FatalError

START = datetime(2026, 10, 1, tzinfo=UTC)
VIEW = View("v", "gold_audit.v", "track_id", "event_at", "available_at", None, ("value",))
#: Few entities and few moments, so that rows meet: equal event times, equal availabilities, moments on a boundary.
ENTITIES, HOURS = st.integers(1, 3), st.integers(0, 8)
HISTORIES = st.lists(st.tuples(ENTITIES, HOURS, HOURS), max_size=25, unique=True)
SPINES = st.lists(st.tuples(st.integers(1, 4), HOURS), max_size=15)
AGES = st.none() | st.integers(0, 5)

History = list[tuple[int, int, int]]


def moments(hours: list[int]) -> pa.Array:
    return pa.array([START + timedelta(hours=hour) for hour in hours], MOMENT)


def table(rows: History) -> pa.Table:
    return pa.table(
        {
            "track_id": pa.array([row[0] for row in rows], pa.int64()),
            "event_at": moments([row[1] for row in rows]),
            "available_at": moments([row[2] for row in rows]),
            "value": pa.array([[float(number)] for number in range(len(rows))], pa.list_(pa.float64())),
        }
    )


def spine_of(rows: list[tuple[int, int]]) -> pa.Table:
    return pa.table(
        {"track_id": pa.array([row[0] for row in rows], pa.int64()), "at": moments([row[1] for row in rows])}
    )


def bounded(hours: int | None) -> View:
    return replace(VIEW, max_age=None if hours is None else timedelta(hours=hours))


def oracle(history: History, entity: int, at: int, max_age: int | None) -> int:
    """The definition: look at every row."""
    best = -1
    for number, (of, event, available) in enumerate(history):
        if of != entity or available > at or event > at:
            continue
        if max_age is not None and at - event > max_age:
            continue
        if best < 0 or (event, available) > history[best][1:]:
            best = number
    return best


@given(HISTORIES, SPINES, AGES)
def test_is_what_the_definition_says(history: History, spine: list[tuple[int, int]], max_age: int | None) -> None:
    asked = spine_of(spine)
    found = rows_as_of(bounded(max_age), asked["track_id"], asked["at"], table(history))
    assert found.tolist() == [oracle(history, entity, at, max_age) for entity, at in spine]


@given(HISTORIES, SPINES, AGES)
def test_every_row_of_the_spine_has_one_answer_in_its_place_and_none_from_later(
    history: History, spine: list[tuple[int, int]], max_age: int | None
) -> None:
    joined = as_of(spine_of(spine), bounded(max_age), table(history)).to_pylist()
    assert len(joined) == len(spine)
    for (entity, hour), answer in zip(spine, joined, strict=True):
        at = START + timedelta(hours=hour)
        if answer["v__event_at"] is None:
            assert answer["v__value"] is None
            continue
        assert answer["v__event_at"] <= at
        assert max_age is None or at - answer["v__event_at"] <= timedelta(hours=max_age)
        of, event, available = history[int(answer["v__value"][0])]
        assert of == entity
        assert START + timedelta(hours=event) == answer["v__event_at"]
        assert START + timedelta(hours=available) <= at


@given(HISTORIES, SPINES, AGES, HISTORIES)
def test_what_becomes_known_later_changes_no_answer(
    history: History, spine: list[tuple[int, int]], max_age: int | None, later: History
) -> None:
    asked, view = spine_of(spine), bounded(max_age)
    before = as_of(asked, view, table(history))
    arrived = [(entity, event, available + 9) for entity, event, available in later]  # after the last moment asked
    assert as_of(asked, view, table(history + arrived)).equals(before)


@given(HISTORIES, HOURS, AGES)
def test_the_newest_rows_are_a_join_of_every_entity(history: History, hour: int, max_age: int | None) -> None:
    entities = sorted({entity for entity, _, _ in history})
    expected = [row for entity in entities if (row := oracle(history, entity, hour, max_age)) >= 0]
    found = newest(bounded(max_age), table(history), moments([hour])[0])
    assert [int(value[0]) for value in found["value"].to_pylist()] == expected


def test_two_rows_with_the_same_moments_are_refused() -> None:
    with pytest.raises(FatalError, match="two rows of track_id 2"):
        rows_as_of(VIEW, pa.array([1]), moments([1]), table([(1, 1, 1), (2, 1, 1), (2, 1, 1)]))
