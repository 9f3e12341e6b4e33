"""The window loader against Kafka and the registry of the stack and a gateway of its own: exact whatever is killed."""

from __future__ import annotations

import json
import multiprocessing
import random
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from lakehouse.adapters.avro_registry import SchemaRegistry
from lakehouse.adapters.window_loader import WindowLoader, pending
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.errors import FatalError
from tests.integration.gateway import Gateway

pytestmark = pytest.mark.stack

CONTRACT = load("topics.play_minutes")
MINUTE = datetime(2026, 10, 30, 12, tzinfo=UTC)
Key = tuple[datetime, int, str, int]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    gateway.start()
    yield gateway
    if gateway.process is not None:
        gateway.stop()


class Topic:
    """A window topic of a test's own: upserts in transactions, some of them given up (stricter than Flink writes them).

    `truth` is what a reader of committed records must end with.
    """

    PARTITIONS = 4

    def __init__(self, stack: Settings) -> None:
        self.name = f"test_windows_{uuid.uuid4().hex[:12]}"
        self.stack = stack
        self.truth: dict[Key, dict[str, Any]] = {}
        self.admin = AdminClient({"bootstrap.servers": stack.kafka.address})
        new = NewTopic(self.name, num_partitions=self.PARTITIONS, config={"cleanup.policy": "compact"})
        self.admin.create_topics([new])[self.name].result(30)
        self.registry = SchemaRegistry(stack.registry.http)
        self.encode = self.registry.encoder(f"{self.name}-value", CONTRACT.avro_schema())
        self.producer = self._producer()
        self.chance = random.Random(11)

    @property
    def mapping(self) -> dict[str, str]:
        return {self.name: "play_minutes"}

    def write(self, updates: int, *, commit: bool = True) -> None:
        """One transaction of `updates` random updates, in which keys repeat; committed or aborted."""
        self.producer.begin_transaction()
        for _ in range(updates):
            key = (
                MINUTE + timedelta(minutes=self.chance.randrange(400)),
                self.chance.randrange(9),
                self.chance.choice(["SE", "US"]),
                self.chance.randrange(3),
            )
            plays = self.chance.randrange(1, 50)
            counts = {"plays": plays, "streams": plays // 2, "bot_plays": plays // 5, "late_plays": plays // 7}
            row = dict(zip(CONTRACT.key, key, strict=True)) | counts | {"ms_played": plays * 1000}
            self._send(key, row)
            if commit:
                self.truth[key] = row
        self.producer.flush(60)
        if commit:
            self.producer.commit_transaction(60)
        else:
            self.producer.abort_transaction(60)

    def remove(self, key: Key) -> None:
        """A tombstone."""
        self.producer.begin_transaction()
        self._send(key, None)
        self.producer.commit_transaction(60)
        self.truth.pop(key)

    def begin(self, updates: int) -> None:
        """A transaction that stays open."""
        self.producer.begin_transaction()
        for number in range(updates):
            key = (MINUTE, number, "XX", 1)
            counts = dict.fromkeys(("plays", "streams", "bot_plays", "late_plays", "ms_played"), 1)
            self._send(key, dict(zip(CONTRACT.key, key, strict=True)) | counts)
        self.producer.flush(60)

    def put(self, value: bytes) -> None:
        """A record of a stranger."""
        stranger = Producer({"bootstrap.servers": self.stack.kafka.address})
        stranger.produce(self.name, value, b"key")
        assert stranger.flush(60) == 0

    def close(self) -> None:
        self.admin.delete_topics([self.name])[self.name].result(30)
        self.registry.close()

    def _producer(self) -> Producer:
        producer = Producer({"bootstrap.servers": self.stack.kafka.address, "transactional.id": self.name})
        producer.init_transactions(60)
        return producer

    def _send(self, key: Key, row: dict[str, Any] | None) -> None:
        moment = key[0].strftime("%Y-%m-%dT%H:%M:%SZ")  # as Flink's JSON format writes it
        encoded = json.dumps(dict(zip(CONTRACT.key, (moment, *key[1:]), strict=True))).encode()
        self.producer.produce(self.name, None if row is None else self.encode(row), encoded)
        self.producer.poll(0)


@pytest.fixture
def topic(stack: Settings) -> Iterator[Topic]:
    topic = Topic(stack)
    yield topic
    topic.close()


def table(gateway: Gateway) -> dict[Key, dict[str, Any]]:
    """What a reader sees; windows without plays are those of tombstones."""
    columns = [c.name for c in CONTRACT.columns]
    rows = gateway.client("reader").query(
        f"SELECT {', '.join(columns)} FROM live.play_minutes FINAL WHERE plays > 0"  # noqa: S608
    )
    found = [dict(zip(columns, row, strict=True)) for row in rows.result_rows]
    for row in found:
        row["window_start"] = row["window_start"].replace(tzinfo=UTC)
    assert len(found) == len({tuple(row[k] for k in CONTRACT.key) for row in found})
    return {(row["window_start"], row["track_id"], row["country"], row["user_id"]): row for row in found}


def load_all(settings: Settings, topics: dict[str, str]) -> list[str]:
    """Run a loader until it has caught up; what it said."""
    said: list[str] = []
    WindowLoader(settings, topics=topics, say=said.append).run(threading.Event(), until_caught_up=True)
    return said


def serve(settings: Settings, topics: dict[str, str]) -> None:
    """A loader process, until it is killed."""
    WindowLoader(settings, topics=topics, say=lambda _: None).run(threading.Event())


def test_committed_updates_are_loaded_once_and_aborted_ones_never(topic: Topic, gateway: Gateway) -> None:
    settings = gateway.settings(topic.stack)
    topic.write(3000)
    topic.write(500, commit=False)
    topic.write(1000)
    load_all(settings, topic.mapping)
    assert table(gateway) == topic.truth
    topic.write(700)
    topic.remove(next(iter(topic.truth)))
    load_all(settings, topic.mapping)
    assert table(gateway) == topic.truth
    said = load_all(settings, topic.mapping)
    assert not [line for line in said if " rows in " in line], "a loader that has caught up loads nothing again"


def test_pending_counts_records_and_open_transactions(topic: Topic, gateway: Gateway) -> None:
    settings = gateway.settings(topic.stack)
    load_all(settings, topic.mapping)
    topic.write(250)
    topic.write(40, commit=False)
    before = pending(settings, topics=topic.mapping)[topic.name]
    assert (before.records, before.uncommitted) == (250, 0)
    assert pending(settings, topics=topic.mapping, limit=100)[topic.name].records == 100
    load_all(settings, topic.mapping)
    assert pending(settings, topics=topic.mapping)[topic.name].none
    topic.begin(30)
    assert pending(settings, topics=topic.mapping)[topic.name].uncommitted >= 30
    load_all(settings, topic.mapping)
    assert table(gateway) == topic.truth, "an open transaction is not loaded"
    topic.producer.abort_transaction(60)


@pytest.mark.chaos
def test_exact_although_loader_and_clickhouse_are_killed_again_and_again(topic: Topic, gateway: Gateway) -> None:
    settings = gateway.settings(topic.stack)
    context = multiprocessing.get_context("spawn")
    victims = 0
    for round_number in range(4):
        loader = context.Process(target=serve, args=(settings, topic.mapping))
        loader.start()
        try:
            for _ in range(3):
                topic.write(2000)
            await_rows(gateway, more_than=loaded_rows(gateway))
            if round_number % 2:
                gateway.kill()
                topic.write(2000)
                gateway.start()
                victims += 1
                await_rows(gateway, more_than=0)
        finally:
            loader.kill()
            loader.join(60)
            victims += 1
        topic.write(500, commit=False)
    load_all(settings, topic.mapping)
    assert victims == 6
    assert table(gateway) == topic.truth
    assert pending(settings, topics=topic.mapping)[topic.name].none


def loaded_rows(gateway: Gateway) -> int:
    response = gateway.post("SELECT sum(version + 1) FROM (SELECT max(version) AS version FROM live.play_minutes"
                            " GROUP BY kafka_partition)")  # fmt: skip
    return int(response.text) if response.status_code == 200 else 0


@retry(stop=stop_after_delay(120), wait=wait_fixed(0.05), retry=retry_if_exception_type(LookupError))
def await_rows(gateway: Gateway, *, more_than: int) -> None:
    """Until something has arrived, so that a kill hits a loader at work."""
    if loaded_rows(gateway) <= more_than:
        raise LookupError


def test_a_stranger_in_the_topic_stops_the_loader_with_a_reason(topic: Topic, gateway: Gateway) -> None:
    topic.write(10)
    topic.put(b'{"plays": 1}')
    with pytest.raises(FatalError, match=rf"{topic.name}-\d@\d+ is no window: .* \(malformed\)"):
        load_all(gateway.settings(topic.stack), topic.mapping)


def test_a_topic_made_anew_is_noticed_and_rebuilt(topic: Topic, gateway: Gateway, stack: Settings) -> None:
    settings = gateway.settings(stack)
    topic.write(2000)
    load_all(settings, topic.mapping)
    other = Topic(stack)
    try:
        other.write(20)
        with pytest.raises(FatalError, match="Kafka ends at") as caught:
            load_all(settings, other.mapping)
        assert "--rebuild" in caught.value.hint
        loader = WindowLoader(settings, topics=other.mapping, say=lambda _: None)
        loader.rebuild()
        loader.run(threading.Event(), until_caught_up=True)
        assert table(gateway) == other.truth
    finally:
        other.close()


def test_a_rebuild_under_a_running_loader_leaves_no_hole(topic: Topic, gateway: Gateway) -> None:
    settings = gateway.settings(topic.stack)
    topic.write(3000)
    stop, said = threading.Event(), list[str]()
    service = WindowLoader(settings, topics=topic.mapping, say=said.append)
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        await_rows(gateway, more_than=2999)
        WindowLoader(settings, topics=topic.mapping, say=said.append).rebuild()
        assert loaded_rows(gateway) == 0
        topic.write(10)  # the running loader stands behind the first 3000
        await_rows(gateway, more_than=3009)
    finally:
        stop.set()
        thread.join(60)
    assert table(gateway) == topic.truth
    assert any("made anew" in line for line in said)


def test_it_waits_for_what_is_away(topic: Topic, gateway: Gateway) -> None:
    """Started before ClickHouse, it says so and loads when ClickHouse comes."""
    topic.write(100)
    gateway.kill()
    said: list[str] = []
    waiting = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if "does not answer" in line:
            waiting.set()

    loader = WindowLoader(gateway.settings(topic.stack), topics=topic.mapping, say=say)
    thread = threading.Thread(target=loader.run, args=(threading.Event(),), kwargs={"until_caught_up": True})
    thread.start()
    assert waiting.wait(60)
    gateway.start()
    thread.join(90)
    assert not thread.is_alive()
    assert table(gateway) == topic.truth
