"""Reconciliation of topics that are written to at any time: a delivery meanwhile is none of its business, a loss is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from lakehouse.adapters import catalog_relay, kafka, reconcile, trino
from lakehouse.adapters.catalog_relay import Noted, event_id
from lakehouse.config.settings import Settings
from lakehouse.contracts import EVENT_TOPICS, SIMULATED_TOPICS

TOPIC = "catalog_changes"
START = datetime(2026, 10, 1, tzinfo=UTC)
Row = tuple[int, int, str]
"""Partition, offset, event_id."""


def event(number: int) -> str:
    return event_id(number, START + timedelta(seconds=number))


@dataclass
class World:
    """The outbox, one topic and its bronze table, whose commits come at the pauses of who waits for them."""

    database: duckdb.DuckDBPyConnection
    sent: set[str] = field(default_factory=set)
    unsent: set[str] = field(default_factory=set)
    refused: int = 0
    ends: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    commits: list[list[Row]] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def send(self, number: int, *, partition: int = 0) -> Row:
        """Deliver a change to the end of a partition; the row that it becomes."""
        self.sent.add(event(number))
        self.ends[partition] += 1
        return partition, self.ends[partition] - 1, event(number)

    def keep(self, *rows: Row) -> None:
        for row in rows:
            self.database.execute(f"insert into lake.bronze.{TOPIC} values (?, ?, ?)", row)  # noqa: S608

    def noted(self, _: Settings) -> Noted:
        return Noted(frozenset(self.sent), frozenset(self.unsent), self.refused)

    def end_offsets(self, _: Settings, topic: str) -> dict[int, int]:
        if topic != TOPIC:
            return {0: 0}
        ends = dict(self.ends)
        self.meanwhile()
        return ends

    def query(self, _: Settings, statement: str) -> trino.Result:
        return trino.Result((), self.database.execute(statement).fetchall())

    def event_ids(self, _: Settings, table: str) -> set[str]:
        return {name for (name,) in self.database.execute(f"select event_id from lake.{table}").fetchall()}  # noqa: S608

    def pause(self, _: float) -> None:
        if self.commits:
            self.keep(*self.commits.pop(0))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with duckdb.connect() as database:
        database.execute("attach ':memory:' as lake")
        database.execute("create schema lake.bronze")
        for topic in EVENT_TOPICS:
            columns = "kafka_partition bigint, kafka_offset bigint, event_id text"
            database.execute(f"create table lake.bronze.{topic} ({columns})")
        database.execute(
            "create table lake.bronze.dead_letters (topic text, kafka_partition bigint, kafka_offset bigint)"
        )
        world = World(database)
        monkeypatch.setattr(catalog_relay, "noted", world.noted)
        monkeypatch.setattr(kafka, "end_offsets", world.end_offsets)
        monkeypatch.setattr(trino, "query", world.query)
        monkeypatch.setattr(reconcile, "_event_ids", world.event_ids)
        monkeypatch.setattr(time, "sleep", world.pause)
        monkeypatch.setattr(reconcile, "ARRIVAL_S", 0.3)
        yield world


def wrong(settings: Settings) -> dict[str, int]:
    """Differences of the checks that do not hold, by name."""
    checks = list(reconcile._intake_of_others(settings))
    others = {topic for topic in EVENT_TOPICS if topic not in SIMULATED_TOPICS}
    assert {check.name.split(":")[0] for check in checks} == others >= {TOPIC, "listens"}
    return {check.name.split(": ")[1]: check.difference for check in checks if not check.equal}


def test_nothing_sent_yet_agrees(world: World, settings: Settings) -> None:
    assert wrong(settings) == {}


def test_what_is_under_way_is_waited_for_and_what_comes_meanwhile_is_left_alone(
    world: World, settings: Settings
) -> None:
    world.keep(world.send(1))
    world.commits = [[], [world.send(2, partition=1)]]
    # Sent by a relay that has not marked it yet.
    world.sent -= {event(2)}
    world.unsent = {event(2), event(3)}

    def deliver() -> None:
        world.meanwhile = lambda: None
        world.commits[0].append(world.send(4))
        world.send(5)

    world.meanwhile = deliver
    assert wrong(settings) == {}
    assert not world.commits


def test_a_lost_event_is_found(world: World, settings: Settings) -> None:
    world.keep(world.send(1))
    world.send(2)
    assert wrong(settings) == {"records": 1, "changes sent and not in bronze": 1}


def test_an_event_that_was_marked_and_never_sent_is_found(world: World, settings: Settings) -> None:
    world.sent.add(event(1))
    assert wrong(settings) == {"changes sent and not in bronze": 1}


def test_a_record_kept_twice_is_found_also_where_another_is_lost(world: World, settings: Settings) -> None:
    row = world.send(1)
    world.send(2)
    world.keep(row, row)
    assert wrong(settings) == {
        "bronze holds each Kafka record once": 1,
        "records": 1,
        "changes sent and not in bronze": 1,
    }


def test_a_change_sent_twice_is_one_event_and_under_two_ids_is_none(world: World, settings: Settings) -> None:
    world.keep(world.send(1), world.send(1))
    assert wrong(settings) == {}
    world.keep(world.send(2))
    world.sent.remove(event(2))
    assert wrong(settings) == {"events of no change in the outbox": 1}


def test_dead_letters_count_as_kept_and_a_change_too_large_is_a_difference(world: World, settings: Settings) -> None:
    world.ends[1] = 1
    world.database.execute("insert into lake.bronze.dead_letters values (?, 1, 0)", [TOPIC])
    assert wrong(settings) == {}
    world.refused = 1
    assert wrong(settings) == {"changes too large to be sent": 1}
