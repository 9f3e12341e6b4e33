"""Loads the window topics into ClickHouse: each record once, whatever is killed.

The place to go on from is kept with the data: every row carries its partition and offset, an insert is all or nothing,
and loading starts behind the highest offset found. A batch whose outcome is unknown (the answer was lost) is found or
not found there, and repeating a row changes nothing, because a row replaces the row of its key with a lower offset and
a key is always in the same partition. What must not happen is a hole: rows in a table whose earlier rows are missing.
So a batch is one part, and a loader whose tables were made anew under it starts over.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakehouse.adapters import clickhouse
from lakehouse.adapters.avro_registry import SchemaRegistry
from lakehouse.adapters.kafka import HINT, client_config
from lakehouse.config.settings import Settings
from lakehouse.contracts import Contract, load
from lakehouse.errors import FatalError, RejectedInputError, RetryableError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

#: Window topics and the table of `live` that each goes to.
TOPICS = {"play_minutes": "play_minutes", "ad_minutes": "ad_minutes"}
#: A batch ends at this many rows or after this many seconds, whichever is first.
BATCH_ROWS = 50_000
BATCH_SECONDS = 0.5
#: Pauses between attempts while an engine is away, in seconds; the last one repeats.
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
METADATA_TIMEOUT_S = 10.0


@dataclass
class Counts:
    """What a loader has done. `tombstones` are among the `rows`; `repeats` are new starts from ClickHouse's offsets."""

    rows: int = 0
    tombstones: int = 0
    batches: int = 0
    repeats: int = 0


@dataclass(frozen=True)
class Pending:
    """What a window topic holds that ClickHouse does not, counted up to a limit.

    `records` are committed records that are not loaded; `uncommitted` are offsets of transactions still open.
    """

    records: int
    uncommitted: int

    @property
    def none(self) -> bool:
        """Whether everything is loaded."""
        return self.records == 0 and self.uncommitted == 0


@dataclass
class _Session:
    """One run from ClickHouse's offsets until something fails: connections, rows not inserted yet, ends reached."""

    tables: clickhouse.LiveTables
    registry: SchemaRegistry
    consumer: Consumer
    identity: dict[str, str]
    assigned: int
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tombstones: int = 0
    ends: set[tuple[str, int]] = field(default_factory=set)


class WindowLoader:
    """The loader service. One at a time is enough; a second one by mistake does no harm."""

    def __init__(self, settings: Settings, *, topics: Mapping[str, str] = TOPICS, say: Callable[[str], None]) -> None:
        """`topics` as TOPICS; `say` takes lines about what passes: engines that are away, batches loaded."""
        self._settings = settings
        self._contracts = {topic: load(f"live.{table}") for topic, table in topics.items()}
        self._say = say
        self.counts = Counts()

    def run(self, stop: threading.Event, *, until_caught_up: bool = False) -> Counts:
        """Load until `stop` is set or, with `until_caught_up`, until all that is committed in the topics is loaded.

        Waits for engines that are away, however long that takes.

        Raises:
            FatalError: a topic holds what no window can be, or ClickHouse is ahead of Kafka.
        """
        failures = 0
        while not stop.is_set():
            before = self.counts.batches
            try:
                self._session(stop, until_caught_up=until_caught_up)
                break
            except RetryableError as error:
                failures = 0 if self.counts.batches > before else failures
                pause = PAUSES[min(failures, len(PAUSES) - 1)]
                self._say(f"{error.message} Trying again in {pause:g} s.")
                failures += 1
                self.counts.repeats += 1
                stop.wait(pause)
        return self.counts

    def rebuild(self) -> None:
        """Make the tables anew, so that they are loaded from the topics' beginning, also by a loader that is running.

        Raises:
            RetryableError: ClickHouse does not answer.
        """
        tables = clickhouse.LiveTables(self._settings)
        try:
            with self._one_at_a_time():
                tables.drop()
                tables.create()
        finally:
            tables.close()

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Keeps the tables from being made anew between a look at them and an insert. It ends with the process."""
        self._settings.run.mkdir(parents=True, exist_ok=True)
        with (self._settings.run / "window-loader.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _session(self, stop: threading.Event, *, until_caught_up: bool) -> None:
        tables = clickhouse.LiveTables(self._settings)
        registry = SchemaRegistry(self._settings.registry.http)
        consumer = _consumer(self._settings)
        try:
            tables.create()
            identity = tables.identity()
            places = {
                topic: start_places(consumer, topic, tables.offsets(contract.name))
                for topic, contract in self._contracts.items()
            }
            self._say("loading from " + ", ".join(f"{t} {_spelled(p)}" for t, p in places.items()))
            session = _Session(tables, registry, consumer, identity, _assign(consumer, places))
            self._load(session, stop, until_caught_up=until_caught_up)
        finally:
            consumer.close()
            registry.close()
            tables.close()

    def _load(self, session: _Session, stop: threading.Event, *, until_caught_up: bool) -> None:
        deadline = None
        while not stop.is_set():
            wait = BATCH_SECONDS if deadline is None else max(deadline - time.monotonic(), 0.0)
            for message in _consume(session.consumer, BATCH_ROWS, wait):
                self._take(session, message)
            waiting = sum(map(len, session.rows.values()))
            if waiting and deadline is None:
                deadline = time.monotonic() + BATCH_SECONDS
            at_end = len(session.ends) == session.assigned
            if waiting and (waiting >= BATCH_ROWS or at_end or (deadline and time.monotonic() >= deadline)):
                self._flush(session)
                deadline = None
            if until_caught_up and at_end and not any(session.rows.values()):
                return

    def _take(self, session: _Session, message: Message) -> None:
        """Note the end of a partition, or keep the row of a record."""
        from confluent_kafka import KafkaError

        topic, partition = str(message.topic()), int(message.partition() or 0)
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                raise RetryableError(f"Kafka: {error.str()}.", hint=HINT)
            session.ends.add((topic, partition))
            return
        session.ends.discard((topic, partition))
        try:
            row = window_row(self._contracts[topic], session.registry, message.key(), message.value())
        except RejectedInputError as rejected:
            raise FatalError(
                f"{topic}-{partition}@{message.offset()} is no window: {rejected.message} ({rejected.reason})",
                hint="Only the Flink job writes this topic. Stop what else does, and make the topic anew.",
            ) from rejected
        row["kafka_partition"], row["version"] = partition, message.offset()
        session.rows.setdefault(topic, []).append(row)
        session.tombstones += message.value() is None

    def _flush(self, session: _Session) -> None:
        """Insert what is waiting. A failure leaves this session; the next one sees in ClickHouse what arrived."""
        for topic, rows in session.rows.items():
            if not rows:
                continue
            started = time.monotonic()
            contract = self._contracts[topic]
            batch = pa.Table.from_pylist(rows, schema=contract.arrow_schema())
            with self._one_at_a_time():
                # Rows of the middle of a topic in a table that was emptied would hide that its beginning is missing.
                if session.tables.identity() != session.identity:
                    raise RetryableError("The live tables were made anew; loading them from the start.")
                session.tables.insert(contract.name, batch)
            self.counts.rows += len(rows)
            self.counts.batches += 1
            self._say(f"{topic}: {len(rows)} rows in {time.monotonic() - started:.2f} s")
            session.rows[topic] = []
        self.counts.tombstones += session.tombstones
        session.tombstones = 0


def window_row(contract: Contract, registry: SchemaRegistry, key: bytes | None, value: bytes | None) -> dict[str, Any]:
    """The columns of a window from its record, without partition and version.

    A tombstone (no value) says that the window has nothing any more: its key with every count zero.

    Raises:
        RejectedInputError: reason `malformed`, `unknown_schema` or `incompatible_schema` (a column is missing).
        RetryableError: the registry does not answer.
    """
    columns = [c.name for c in contract.columns if c.name not in ("kafka_partition", "version")]
    if value is not None:
        record, needed = registry.decode(value).record, tuple(columns)
    elif key is not None:
        record, needed = key_record(contract, key), contract.key
    else:
        raise RejectedInputError("It has neither key nor value.", reason="malformed")
    if missing := [name for name in needed if record.get(name) is None]:
        raise RejectedInputError(f"It has no {', '.join(missing)}.", reason="incompatible_schema", value=record)
    return {name: record[name] if name in needed else 0 for name in columns}


def key_record(contract: Contract, key: bytes) -> dict[str, Any]:
    """The key columns of a window from a record's key, which the stream job writes as JSON.

    Raises:
        RejectedInputError: reason `malformed`.
    """
    try:
        record = json.loads(key)
        if not isinstance(record, dict):
            raise ValueError("not an object")
        return {
            name: datetime.fromisoformat(value) if contract.column(name).type == "timestamp" else value
            for name, value in record.items()
            if name in contract.key
        }
    except (ValueError, TypeError) as error:
        raise RejectedInputError(
            f"Its key is not the JSON of a window's: {error}.", reason="malformed", value=key
        ) from error


def start_places(consumer: Consumer, topic: str, loaded: dict[int, int]) -> dict[int, int]:
    """Offset to start at, for each partition of `topic`: behind what is loaded, else at the beginning.

    Raises:
        RetryableError: Kafka does not answer, or the topic does not exist yet.
        FatalError: more is loaded than the topic has, so that it must be another topic of the same name.
    """
    from confluent_kafka import KafkaException, TopicPartition

    try:
        metadata = consumer.list_topics(topic, timeout=METADATA_TIMEOUT_S).topics[topic]
        if metadata.error is not None or not metadata.partitions:
            raise RetryableError(f"There is no topic {topic} yet.", hint="`wavehouse events init` makes it.")
        places = {}
        for partition in sorted(metadata.partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=METADATA_TIMEOUT_S)
            places[partition] = max(loaded.get(partition, -1) + 1, low)
            if places[partition] > max(high, low):
                raise FatalError(
                    f"ClickHouse has offset {loaded[partition]} of {topic}-{partition}, Kafka ends at {high}.",
                    hint="The topic was made anew. `wavehouse stream load-windows --rebuild` loads it from the start.",
                )
    except KafkaException as error:
        raise RetryableError(f"Kafka does not answer: {error.args[0].str()}.", hint=HINT) from error
    return places


def pending(settings: Settings, *, topics: Mapping[str, str] = TOPICS, limit: int = 10_000) -> dict[str, Pending]:
    """What is still to be loaded, by topic; `records` counts no further than `limit`.

    The difference of two offsets would not do: a transaction's own markers take offsets that never become rows.

    Raises:
        RetryableError: Kafka or ClickHouse does not answer, or a topic does not exist yet.
        FatalError: ClickHouse is ahead of Kafka.
    """
    from confluent_kafka import KafkaError, TopicPartition

    counts = clickhouse.LiveCounts(settings)
    committed, all_records = _consumer(settings), _consumer(settings, isolation="read_uncommitted")
    result = {}
    try:
        for topic, table in topics.items():
            places = start_places(committed, topic, counts.state(table).offsets)
            uncommitted = 0
            for partition in places:
                place = TopicPartition(topic, partition)
                # In this order, so that what is written meanwhile does not look uncommitted.
                end = all_records.get_watermark_offsets(place, timeout=METADATA_TIMEOUT_S)[1]
                uncommitted += max(end - committed.get_watermark_offsets(place, timeout=METADATA_TIMEOUT_S)[1], 0)
            assigned, ends, records = _assign(committed, {topic: places}), 0, 0
            deadline = time.monotonic() + METADATA_TIMEOUT_S
            while ends < assigned and records < limit:
                for message in _consume(committed, 1_000, 0.5):
                    error = message.error()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        raise RetryableError(f"Kafka: {error.str()}.", hint=HINT)
                    ends, records = ends + (error is not None), records + (error is None)
                    deadline = time.monotonic() + METADATA_TIMEOUT_S
                if time.monotonic() > deadline:
                    raise RetryableError(f"Kafka gives nothing of {topic}.", hint=HINT)
            result[topic] = Pending(records=min(records, limit), uncommitted=uncommitted)
    finally:
        committed.close()
        all_records.close()
        counts.close()
    return result


def updates_pending(settings: Settings) -> int:
    """Updates of all window topics that are not live yet, open transactions among them.

    Raises:
        RetryableError, FatalError: as `pending`.
    """
    return sum(p.records + p.uncommitted for p in pending(settings).values())


def _consumer(settings: Settings, *, isolation: str = "read_committed") -> Consumer:
    from confluent_kafka import Consumer

    return Consumer(
        client_config(settings)
        | {
            "group.id": "window-loader",  # demanded by the client; nothing is committed to Kafka
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 100,
        }
    )


def _assign(consumer: Consumer, places: dict[str, dict[int, int]]) -> int:
    """Read these partitions from these offsets; returns how many they are."""
    from confluent_kafka import TopicPartition

    partitions = [TopicPartition(t, p, offset) for t, offsets in places.items() for p, offset in offsets.items()]
    consumer.assign(partitions)
    return len(partitions)


def _consume(consumer: Consumer, limit: int, wait_seconds: float) -> list[Message]:
    """Up to `limit` messages; fewer as soon as any have come and the wait is over."""
    from confluent_kafka import KafkaException

    try:
        messages: list[Message] = consumer.consume(num_messages=limit, timeout=wait_seconds)
    except KafkaException as error:
        raise RetryableError(f"Kafka does not answer: {error.args[0].str()}.", hint=HINT) from error
    return messages


def _spelled(places: dict[int, int]) -> str:
    return "[" + " ".join(f"{partition}:{offset}" for partition, offset in places.items()) + "]"
