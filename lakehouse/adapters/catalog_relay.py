"""The relay of the catalogue's outbox: changes noted in PostgreSQL, to topic `catalog_changes`.

A trigger notes each change in the transaction that makes it: a change and its event are there together or not at all.
The relay sends what is not marked as sent, waits until Kafka has acknowledged all of it, and then marks it. Killed in
between, it sends the same events again under the same ids: at least once, and once for who drops known ids.

Order: the number of a change is taken while its row is locked, so changes of one item are numbered in the order of
their commits, and who sees one has seen all before it. One relay at a time (an advisory lock; with rows shared out by
SKIP LOCKED, two could pass each other) sends them in that order to one partition. What a failure has sent again may
stand behind newer changes: of an item, the change with the greatest `event_id` is the last one, wherever it stands.

Numbers of other items may become visible later than higher ones. So rows are marked one by one: a position ("sent up to
here") would lose them.

What Kafka can't take for its size is marked with that and passed over: those behind it go on, the relay says so and
`wavehouse verify` fails. Nothing that comes in today is so large (`ContentKind.check`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, Protocol

import sqlalchemy as sa

from lakehouse.adapters.catalog_db import CatalogDb, content_change
from lakehouse.adapters.kafka import EventProducer, MessageTooLargeError
from lakehouse.config.settings import Settings
from lakehouse.domain.ids import uuid7_numbered
from lakehouse.errors import WavehouseError
from lakehouse.failures import translate

TOPIC = "catalog_changes"
#: Changes that are sent and marked together; each may hold a megabyte.
BATCH = 100
#: Pause after an engine was away.
RETRY_S = 10.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Change:
    """One row of the outbox."""

    change_id: int
    content_id: int
    kind: str
    change: str
    attributes: str
    """JSON object, as of after the change; of a deleted item the last ones."""
    changed_at: datetime

    def record(self) -> dict[str, Any]:
        """The event, the same whenever it is asked for."""
        return {
            "event_id": event_id(self.change_id, self.changed_at),
            "content_id": self.content_id,
            "kind": self.kind,
            "change": self.change,
            "attributes": self.attributes,
            "changed_at": self.changed_at,
        }


def event_id(change_id: int, changed_at: datetime) -> str:
    """Identity of the event of a change."""
    return uuid7_numbered((changed_at - EPOCH) // MILLISECOND, change_id)


@dataclass
class Batch:
    """Unsent changes in order."""

    changes: list[Change]
    refusals: dict[int, str] = field(default_factory=dict)
    """Why some of them can never be sent, by `change_id`."""

    @property
    def sent(self) -> list[int]:
        """Numbers of those that were sent."""
        return [change.change_id for change in self.changes if change.change_id not in self.refusals]

    def complaints(self) -> list[str]:
        """A line for each that can never be sent."""
        return [
            f"Change {change.change_id} of item {change.content_id} is not sent: {self.refusals[change.change_id]}"
            for change in self.changes
            if change.change_id in self.refusals
        ]


class Producer(Protocol):
    """What is needed of `EventProducer`."""

    def send(self, topic: str, record: Mapping[str, Any]) -> None:
        """Queue a record under its partition key.

        Raises:
            MessageTooLargeError: it can't be sent, and nothing is queued.
        """

    def flush(self) -> None:
        """Wait until all that is queued is acknowledged."""


#: A batch of the outbox. Left without an exception, its changes are marked: as sent, or with their refusals.
Unsent = Callable[[], AbstractContextManager[Batch]]


def relay(unsent: Unsent, producer: Producer) -> Batch:
    """Send one batch; returns it.

    Raises:
        RetryableError: Kafka, the registry or PostgreSQL does not answer; nothing is marked.
    """
    with unsent() as batch:
        for change in batch.changes:
            try:
                producer.send(TOPIC, change.record())
            except MessageTooLargeError as error:
                batch.refusals[change.change_id] = error.message
        if batch.changes:
            producer.flush()
    return batch


@contextmanager
def outbox(db: CatalogDb) -> Iterator[Batch]:
    """The first `BATCH` changes that are neither sent nor refused, by number; other relays wait until they are left.

    Raises:
        RetryableError: PostgreSQL does not answer.
        FatalError: the catalogue has no outbox yet.
    """
    of = content_change.c
    columns = (of.change_id, of.content_id, of.kind, of.change, sa.cast(of.attributes, sa.Text), of.changed_at)
    with db.begin() as connection:
        connection.execute(sa.text("select pg_advisory_xact_lock(hashtext('catalog relay'))"))
        waiting = sa.and_(~of.is_sent, of.refusal.is_(None))
        rows = connection.execute(sa.select(*columns).where(waiting).order_by(of.change_id).limit(BATCH))
        batch = Batch([Change(*row) for row in rows])
        yield batch
        if batch.sent:
            connection.execute(sa.update(content_change).where(of.change_id.in_(batch.sent)).values(is_sent=True))
        for change_id, refusal in batch.refusals.items():
            connection.execute(sa.update(content_change).where(of.change_id == change_id).values(refusal=refusal))


@dataclass(frozen=True)
class Noted:
    """What the outbox holds, as ids of events. What is not marked as sent may have been sent all the same."""

    sent: frozenset[str]
    unsent: frozenset[str]
    refused: int


def noted(settings: Settings) -> Noted:
    """Every change in the outbox at this moment. It reads the whole table.

    Raises:
        RetryableError: PostgreSQL does not answer.
        FatalError: the catalogue has no outbox yet.
    """
    of = content_change.c
    sent, unsent, refused = set[str](), set[str](), 0
    with CatalogDb(settings) as db, db.begin() as connection:
        for row in connection.execute(sa.select(of.change_id, of.changed_at, of.is_sent, of.refusal)):
            (sent if row.is_sent else unsent).add(event_id(row.change_id, row.changed_at))
            refused += row.refusal is not None
    return Noted(frozenset(sent), frozenset(unsent), refused)


def run(settings: Settings, stop: Event, *, every_s: float, say: Callable[[str], None]) -> None:
    """Relay until `stop` is set, looking every `every_s` seconds; engines that are away are waited out."""
    said = ""
    while not stop.is_set():
        try:
            with CatalogDb(settings) as db, EventProducer(settings) as producer:
                while not stop.is_set():
                    batch = relay(lambda: outbox(db), producer)
                    said = ""  # the next outage is another one
                    for line in batch.complaints():
                        say(line)
                    if batch.sent:
                        say(f"{len(batch.sent)} changes sent")
                    if not batch.changes:
                        stop.wait(every_s)
        except Exception as error:  # an engine is away or has no tables yet; or a defect, which is logged
            shown = error if isinstance(error, WavehouseError) else translate(error)
            if shown.message != said:
                said = shown.message
                say(f"{shown.message} Trying again every {RETRY_S:g} s.")
            stop.wait(RETRY_S)


def drain(settings: Settings, say: Callable[[str], None]) -> int:
    """Send all that is unsent now; returns how many changes that were. `say` takes a line for each that can't be sent.

    Raises:
        RetryableError: Kafka, the registry or PostgreSQL does not answer.
        FatalError: the catalogue has no outbox yet.
    """
    total = 0
    with CatalogDb(settings) as db, EventProducer(settings) as producer:
        while (batch := relay(lambda: outbox(db), producer)).changes:
            total += len(batch.sent)
            for line in batch.complaints():
                say(line)
    return total
