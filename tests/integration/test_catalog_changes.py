"""From a transaction on the catalogue to bronze: every change, in order, and none that was taken back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import sqlalchemy as sa

from lakehouse.adapters import catalog_relay, lake
from lakehouse.adapters.avro_registry import SchemaRegistry
from lakehouse.adapters.catalog_db import CatalogDb, content, content_kind
from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import Settings
from lakehouse.domain.catalog.content import ContentKind, Item
from tests.conftest import wavehouse, wavehouse_json
from tests.stream_oracle import records

pytestmark = pytest.mark.stack

RUN = uuid4().hex
KIND = "outbox_test"
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def db(stack: Settings) -> Iterator[CatalogDb]:
    """The catalogue with a kind that needs no audio; its items go with the test."""
    with CatalogDb(stack) as db:
        db.put_kind(ContentKind(KIND, "For a test of the outbox", {"type": "object"}, needs_audio=False))
        yield db
        with db.begin() as connection:
            connection.execute(sa.delete(content).where(content.c.kind == KIND))
            connection.execute(sa.delete(content_kind).where(content_kind.c.kind == KIND))


def change_everything(db: CatalogDb, title: str) -> int:
    """Make, change and delete an item, with changes that change nothing and one that is rolled back."""
    item = Item(kind=KIND, title=title, artist="Outbox Test", attributes={"n": 1})
    content_id = db.put_item(item, at=AT)
    this = content.c.content_id == content_id
    assert db.put_item(item, at=AT) == content_id
    with db.begin() as connection:
        connection.execute(sa.update(content).where(this).values(attributes={"n": 1}))
    with pytest.raises(ZeroDivisionError), db.begin() as connection:
        connection.execute(sa.update(content).where(this).values(attributes={"n": 99}))
        raise ZeroDivisionError
    with db.begin() as connection:
        connection.execute(sa.update(content).where(this).values(attributes={"n": 2}))
    with db.begin() as connection:
        connection.execute(sa.delete(content).where(this))
    return content_id


EXPECTED = [("insert", '{"n": 1}'), ("update", '{"n": 2}'), ("delete", '{"n": 2}')]


def test_changes_of_an_item_arrive_in_order(stack: Settings, db: CatalogDb) -> None:
    content_id = change_everything(db, f"In order {RUN}")
    wavehouse_json("catalog", "relay", "--once")
    with SchemaRegistry(stack.registry.http) as registry:
        sent = [
            (message.partition(), registry.decode(message.value() or b"").record)
            for message in records(stack, catalog_relay.TOPIC)
            if message.key() == str(content_id).encode()
        ]
    assert len({partition for partition, _ in sent}) == 1
    assert [(record["change"], record["attributes"]) for _, record in sent] == EXPECTED
    ids = [str(record["event_id"]) for _, record in sent]
    assert ids == sorted(ids)

    wavehouse("stream", "wait", "--timeout", "120")
    kept = (
        lake.read(stack, "bronze.catalog_changes", where=f"content_id == {content_id}").sort_by("event_id").to_pylist()
    )
    assert [(row["change"], row["attributes"]) for row in kept] == EXPECTED
    assert [row["event_id"] for row in kept] == ids


def test_a_relay_that_dies_before_the_mark_sends_the_same_events_again(stack: Settings, db: CatalogDb) -> None:
    """The stack's own relay may be faster; then there is nothing to die with, and the promise is the same."""
    content_id = change_everything(db, f"Again {RUN}")
    with EventProducer(stack) as producer, pytest.raises(KeyboardInterrupt), catalog_relay.outbox(db) as changes:
        for change in changes:
            producer.send(catalog_relay.TOPIC, change.record())
        producer.flush()
        raise KeyboardInterrupt
    catalog_relay.drain(stack)
    with catalog_relay.outbox(db) as changes:
        assert not [change for change in changes if change.content_id == content_id]
    wavehouse("stream", "wait", "--timeout", "120")
    kept = lake.read(stack, "bronze.catalog_changes", where=f"content_id == {content_id}").to_pylist()
    by_id = {row["event_id"]: (row["change"], row["attributes"]) for row in kept}
    assert [by_id[key] for key in sorted(by_id)] == EXPECTED
    assert len(kept) in (3, 6)
