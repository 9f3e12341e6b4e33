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
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, Protocol

import sqlalchemy as sa

from lakehouse.adapters.catalog_db import CatalogDb, content_change
from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import Settings
from lakehouse.domain.ids import uuid7_numbered
from lakehouse.errors import WavehouseError
from lakehouse.failures import translate

TOPIC = "catalog_changes"
#: Changes that are sent and marked together.
BATCH = 1000
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
            "event_id": uuid7_numbered((self.changed_at - EPOCH) // MILLISECOND, self.change_id),
            "content_id": self.content_id,
            "kind": self.kind,
            "change": self.change,
            "attributes": self.attributes,
            "changed_at": self.changed_at,
        }


class Producer(Protocol):
    """What is needed of `EventProducer`."""

    def send(self, topic: str, record: Mapping[str, Any]) -> None:
        """Queue a record under its partition key."""

    def flush(self) -> None:
        """Wait until all that is queued is acknowledged."""


#: A batch of unsent changes in order, marked as sent when it is left without an exception.
Unsent = Callable[[], AbstractContextManager[list[Change]]]


def relay(unsent: Unsent, producer: Producer) -> int:
    """Send one batch; returns its size.

    Raises:
        RetryableError: Kafka, the registry or PostgreSQL does not answer; nothing is marked.
    """
    with unsent() as changes:
        for change in changes:
            producer.send(TOPIC, change.record())
        if changes:
            producer.flush()
    return len(changes)


@contextmanager
def outbox(db: CatalogDb) -> Iterator[list[Change]]:
    """The first `BATCH` unsent changes, by number; other relays wait until they are left.

    Raises:
        RetryableError: PostgreSQL does not answer.
        FatalError: the catalogue has no outbox yet.
    """
    of = content_change.c
    columns = (of.change_id, of.content_id, of.kind, of.change, sa.cast(of.attributes, sa.Text), of.changed_at)
    with db.begin() as connection:
        connection.execute(sa.text("select pg_advisory_xact_lock(hashtext('catalog relay'))"))
        rows = connection.execute(sa.select(*columns).where(~of.is_sent).order_by(of.change_id).limit(BATCH))
        changes = [Change(*row) for row in rows]
        yield changes
        if changes:
            sent = of.change_id.in_([change.change_id for change in changes])
            connection.execute(sa.update(content_change).where(sent).values(is_sent=True))


def noted(settings: Settings) -> int:
    """Changes in the outbox, sent or not.

    Raises:
        RetryableError: PostgreSQL does not answer.
        FatalError: the catalogue has no outbox yet.
    """
    with CatalogDb(settings) as db, db.begin() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(content_change)) or 0)


def run(settings: Settings, stop: Event, *, every_s: float, say: Callable[[str], None]) -> None:
    """Relay until `stop` is set, looking every `every_s` seconds; engines that are away are waited out."""
    said = ""
    while not stop.is_set():
        try:
            with CatalogDb(settings) as db, EventProducer(settings) as producer:
                while not stop.is_set():
                    if sent := relay(lambda: outbox(db), producer):
                        said = ""
                        say(f"{sent} changes sent")
                    else:
                        stop.wait(every_s)
        except Exception as error:  # an engine is away or has no tables yet; or a defect, which is logged
            shown = error if isinstance(error, WavehouseError) else translate(error)
            if shown.message != said:
                said = shown.message
                say(f"{shown.message} Trying again every {RETRY_S:g} s.")
            stop.wait(RETRY_S)


def drain(settings: Settings) -> int:
    """Send all that is unsent now; returns how many changes that were.

    Raises:
        RetryableError: Kafka, the registry or PostgreSQL does not answer.
        FatalError: the catalogue has no outbox yet.
    """
    total = 0
    with CatalogDb(settings) as db, EventProducer(settings) as producer:
        while sent := relay(lambda: outbox(db), producer):
            total += sent
    return total
