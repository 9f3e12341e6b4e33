"""From a transaction on the catalogue to bronze: every change, in order, and none that was taken back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from lakehouse.adapters import catalog_relay, lake
from lakehouse.adapters.avro_registry import SchemaRegistry
from lakehouse.adapters.catalog_db import CatalogDb, content, content_change, content_kind
from lakehouse.adapters.kafka import MAX_MESSAGE_BYTES, EventProducer
from lakehouse.config.settings import Settings
from lakehouse.domain.catalog.content import MAX_ATTRIBUTES_BYTES, ContentKind, Item
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


def marks(db: CatalogDb, content_id: int) -> list[tuple[bool, str | None]]:
    """Of each change of an item in order: whether it is marked as sent, and why it can't be."""
    of = content_change.c
    with db.begin() as connection:
        query = sa.select(of.is_sent, of.refusal).where(of.content_id == content_id).order_by(of.change_id)
        return [(row.is_sent, row.refusal) for row in connection.execute(query)]


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
    with EventProducer(stack) as producer, pytest.raises(KeyboardInterrupt), catalog_relay.outbox(db) as batch:
        for change in batch.changes:
            producer.send(catalog_relay.TOPIC, change.record())
        producer.flush()
        raise KeyboardInterrupt
    catalog_relay.drain(stack, say=print)
    assert marks(db, content_id) == [(True, None)] * 3
    wavehouse("stream", "wait", "--timeout", "120")
    kept = lake.read(stack, "bronze.catalog_changes", where=f"content_id == {content_id}").to_pylist()
    by_id = {row["event_id"]: (row["change"], row["attributes"]) for row in kept}
    assert [by_id[key] for key in sorted(by_id)] == EXPECTED
    assert len(kept) in (3, 6)


def test_the_largest_item_is_sent_and_one_from_before_there_was_a_bound_holds_up_none(
    stack: Settings, db: CatalogDb
) -> None:
    largest = {"text": "x" * (MAX_ATTRIBUTES_BYTES - len('{"text": ""}'))}
    content_id = db.put_item(Item(KIND, f"Largest {RUN}", "Outbox Test", attributes=largest), at=AT)
    this = content.c.content_id == content_id
    with db.begin() as connection:
        too_large = {"text": "x" * MAX_MESSAGE_BYTES}
        connection.execute(sa.update(content).where(this).values(attributes=too_large))
        connection.execute(sa.update(content).where(this).values(attributes={"n": 1}))
    wavehouse_json("catalog", "relay", "--once")
    (first, _), (second, why), (third, _) = marks(db, content_id)
    assert (first, second, third) == (True, False, True)
    assert "too large" in str(why)
    wavehouse("stream", "wait", "--timeout", "120")
    kept = lake.read(stack, "bronze.catalog_changes", where=f"content_id == {content_id}").sort_by("event_id")
    assert [len(text) for text in kept["attributes"].to_pylist()] == [MAX_ATTRIBUTES_BYTES, len('{"n": 1}')]
    # Who has seen to it takes it away, or `wavehouse verify` goes on telling.
    with db.begin() as connection:
        of = content_change.c
        connection.execute(sa.delete(content_change).where(of.content_id == content_id, of.refusal.is_not(None)))


def test_a_clock_that_was_set_back_does_not_turn_the_order_round(db: CatalogDb) -> None:
    content_id = db.put_item(Item(KIND, f"Clock {RUN}", "Outbox Test", attributes={"n": 1}), at=AT)
    of = content_change.c
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with db.begin() as connection:
        # The relay must not have sent it under the other moment: the change is made and moved in one transaction.
        this = content.c.content_id == content_id
        connection.execute(sa.update(content).where(this).values(attributes={"n": 2}))
        last = sa.select(sa.func.max(of.change_id)).where(of.content_id == content_id).scalar_subquery()
        connection.execute(sa.update(content_change).where(of.change_id == last).values(changed_at=ahead))
        connection.execute(sa.update(content).where(this).values(attributes={"n": 3}))
        query = sa.select(of.change_id, of.changed_at).where(of.content_id == content_id).order_by(of.change_id)
        changes = [tuple(row) for row in connection.execute(query)]
    assert [at for _, at in changes[1:]] == [ahead, ahead]
    ids = [catalog_relay.event_id(*change) for change in changes]
    assert ids == sorted(ids)
