"""The relay of the catalogue's outbox: whatever moment it is killed at, every change arrives, under one id."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.adapters import catalog_relay, kafka
from lakehouse.adapters.avro_registry import SchemaRegistry
from lakehouse.adapters.catalog_relay import Batch, Change, relay
from lakehouse.adapters.kafka import MessageTooLargeError
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.catalog.content import EPISODE, MAX_ATTRIBUTES_BYTES
from lakehouse.domain.ids import uuid7_numbered
from lakehouse.errors import FatalError, RetryableError

START = datetime(2026, 10, 1, tzinfo=UTC)
KINDS = ("insert", "update", "delete")
TOO_LARGE = 99


class KilledError(Exception):
    """The process ends here."""


class Outbox:
    """Rows and marks of a database whose transactions end with the process."""

    def __init__(self, changes: list[Change], batch: int) -> None:
        self.visible = changes
        self.sent: set[int] = set()
        self.refused: dict[int, str] = {}
        self.batch = batch
        self.die_before_mark = False

    @contextmanager
    def unsent(self) -> Iterator[Batch]:
        done = self.sent | self.refused.keys()
        rows = sorted((c for c in self.visible if c.change_id not in done), key=lambda c: c.change_id)
        batch = Batch(rows[: self.batch])
        yield batch
        if self.die_before_mark:
            raise KilledError
        self.sent |= set(batch.sent)
        self.refused |= batch.refusals


class Broker:
    """A topic, and a producer that hands over a part of what is queued before it is killed. It takes nothing of
    item `TOO_LARGE`.
    """

    def __init__(self) -> None:
        self.topic: list[dict[str, Any]] = []
        self.queue: list[dict[str, Any]] = []
        self.die_after: int | None = None

    def send(self, topic: str, record: Mapping[str, Any]) -> None:
        assert topic == "catalog_changes"
        if record["content_id"] == TOO_LARGE:
            raise MessageTooLargeError("It is too large.")
        self.queue.append(dict(record))

    def flush(self) -> None:
        self.topic += self.queue[: self.die_after]
        self.queue = []
        if self.die_after is not None:
            raise KilledError


def changes(items: list[int]) -> list[Change]:
    return [
        Change(n, item, "track", KINDS[n % 3], f'{{"n": {n}}}', START + timedelta(microseconds=300 * n))
        for n, item in enumerate(items, 1)
    ]


kills = st.lists(st.one_of(st.none(), st.integers(0, 6)), max_size=12)


@given(items=st.lists(st.integers(1, 4), max_size=40), batch=st.integers(1, 7), kills=kills)
def test_killed_anywhere_it_loses_nothing_and_each_change_keeps_its_id(
    items: list[int], batch: int, kills: list[int | None]
) -> None:
    """A kill is a number of records that Kafka took before, or None: between the acknowledgement and the mark."""
    outbox, broker = Outbox(changes(items), batch), Broker()
    for kill in kills:
        broker.die_after, outbox.die_before_mark = kill, kill is None
        try:
            relay(outbox.unsent, broker)
        except KilledError:
            broker.queue = []
        # What is marked is in the topic.
        assert {f'{{"n": {n}}}' for n in outbox.sent} <= {record["attributes"] for record in broker.topic}
    broker.die_after, outbox.die_before_mark = None, False
    while relay(outbox.unsent, broker).changes:
        pass

    by_id = {record["event_id"]: record for record in broker.topic}
    assert len(by_id) == len(items)
    assert all(by_id[record["event_id"]] == record for record in broker.topic)
    firsts: dict[str, dict[str, Any]] = {}
    for record in broker.topic:
        firsts.setdefault(record["event_id"], record)
    for item in set(items):
        expected = [f'{{"n": {n}}}' for n, of in enumerate(items, 1) if of == item]
        assert [record["attributes"] for record in firsts.values() if record["content_id"] == item] == expected
        # Who keeps the greatest id of an item has its last change, whatever was repeated after it.
        newest = max((r for r in broker.topic if r["content_id"] == item), key=lambda record: record["event_id"])
        assert newest["attributes"] == expected[-1]


def test_a_change_that_is_committed_late_under_a_lower_number_is_sent() -> None:
    first, second = changes([7, 8])
    outbox, broker = Outbox([second], 10), Broker()
    assert relay(outbox.unsent, broker).sent == [2]
    outbox.visible = [first, second]
    assert relay(outbox.unsent, broker).sent == [1]
    assert [record["content_id"] for record in broker.topic] == [8, 7]


def test_an_empty_outbox_asks_kafka_nothing() -> None:
    broker = Broker()
    broker.die_after = 0
    assert relay(Outbox([], 10).unsent, broker) == Batch([])


@pytest.mark.parametrize("batch", [1, 2, 10])
def test_what_is_too_large_is_said_and_holds_up_nothing(batch: int) -> None:
    outbox, broker = Outbox(changes([TOO_LARGE, 7, 7, TOO_LARGE, TOO_LARGE, 8]), batch), Broker()
    said: list[str] = []
    while (done := relay(outbox.unsent, broker)).changes:
        said += done.complaints()
    assert [record["content_id"] for record in broker.topic] == [7, 7, 8]
    assert (outbox.sent, set(outbox.refused)) == ({2, 3, 6}, {1, 4, 5})
    assert said == [f"Change {n} of item 99 is not sent: It is too large." for n in (1, 4, 5)]


def test_every_item_that_comes_in_is_a_message_that_kafka_takes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the client itself, which looks at the size before it looks for a broker; and the topic takes what it sends."""
    largest = {"guid": "g", "audio_url": "u", "description": ""}
    left = MAX_ATTRIBUTES_BYTES - len(json.dumps(largest))
    largest["description"] = '"ü' * (left // 4) + "x" * (left % 4)
    EPISODE.check(largest)
    attributes = json.dumps(largest, ensure_ascii=False)
    assert len(attributes.encode()) == MAX_ATTRIBUTES_BYTES
    monkeypatch.setattr(kafka, "_metadata", lambda *_: None)
    monkeypatch.setattr(SchemaRegistry, "register", lambda *_: 1)
    away = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"port": 9})})
    change = replace(changes([(1 << 63) - 1])[0], attributes=attributes)
    with pytest.raises(KilledError), kafka.EventProducer(away) as producer:
        producer.send("catalog_changes", change.record())
        with pytest.raises(MessageTooLargeError, match="catalog_changes is too large") as caught:
            producer.send("catalog_changes", replace(change, attributes=attributes * 2).record())
        assert caught.value.hint
        producer.send("catalog_changes", change.record())
        raise KilledError
    assert kafka.MAX_BATCH_BYTES > kafka.MAX_MESSAGE_BYTES


def test_a_record_is_what_the_contract_says() -> None:
    record = changes([5])[0].record()
    contract = load("topics.catalog_changes")
    assert list(record) == [column.name for column in contract.columns]
    assert record[contract.properties["partitionKey"]] == 5


@given(
    st.lists(
        st.tuples(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 62) - 1)), min_size=2, max_size=2, unique=True
    )
)
def test_numbered_ids_are_uuids_that_sort_by_moment_and_number(pairs: list[tuple[int, int]]) -> None:
    made = [uuid7_numbered(*pair) for pair in pairs]
    for (moment, _), text in zip(pairs, made, strict=True):
        assert (UUID(text).version, UUID(text).variant) == (7, "specified in RFC 4122")
        assert UUID(text).int >> 80 == moment
    assert (made[0] < made[1]) == (pairs[0] < pairs[1])


@pytest.mark.parametrize(("moment", "number"), [(-1, 0), (1 << 48, 0), (0, -1), (0, 1 << 62)])
def test_what_does_not_fit_into_an_id_is_refused(moment: int, number: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        uuid7_numbered(moment, number)


def test_the_service_waits_out_what_is_away_and_says_it_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, said = Event(), list[str]()
    away, large = RetryableError("Kafka is away."), Batch(changes([5])[:1], {1: "Too large."})
    answers: Iterator[int | Batch | Exception | None] = iter(
        [away, away, FatalError("No tables."), 3, away, 0, away, 0, away, large, 0, None]
    )

    class Producer:
        def __init__(self, _: Settings) -> None: ...
        def __enter__(self) -> Producer:
            return self

        def __exit__(self, *_: object) -> None: ...

    def step(*_: object) -> Batch:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            stop.set()
        return answer if isinstance(answer, Batch) else Batch(changes([7] * (answer or 0)))

    monkeypatch.setattr(catalog_relay, "EventProducer", Producer)
    monkeypatch.setattr(catalog_relay, "relay", step)
    monkeypatch.setattr(catalog_relay, "RETRY_S", 0)
    catalog_relay.run(settings, stop, every_s=0, say=said.append)
    assert said == [
        "Kafka is away. Trying again every 0 s.",
        "No tables. Trying again every 0 s.",
        "3 changes sent",
        # An outage after one that ended is another one, whether there was anything to send in between or not.
        *["Kafka is away. Trying again every 0 s."] * 3,
        "Change 1 of item 5 is not sent: Too large.",
    ]
