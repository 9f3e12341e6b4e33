"""What of a listing the ledger knows, on SQLite: its queries are about the listing, however long the history is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from lakehouse.adapters import catalog_db
from lakehouse.adapters.catalog_db import CatalogDb, Landed
from lakehouse.config.settings import Settings
from lakehouse.domain.catalog.ids import EPOCH


@pytest.fixture
def db(settings: Settings) -> Iterator[CatalogDb]:
    """A catalogue with nothing but keys."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.begin() as connection:
        connection.execute(sa.text("attach ':memory:' as catalog"))
        connection.execute(sa.text("create table catalog.ingest_ledger (object_key text, etag text)"))
        connection.execute(sa.text("create table catalog.asset (source text, place int)"))
        rows = [{"key": key} for key in ("1.ogg", "4.ogg", *(f"old/{number}.ogg" for number in range(5000)))]
        connection.execute(sa.text("insert into catalog.ingest_ledger values (:key, 'a')"), rows)
        connection.execute(sa.text("insert into catalog.asset values ('file:a/cover.jpg', 1), ('file:a/cover.jpg', 2)"))
    with CatalogDb(settings) as db:
        db._engine.dispose()
        db._engine = engine
        yield db


def test_the_ledger_is_asked_about_what_is_listed(db: CatalogDb, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def note(_connection: object, _cursor: object, _statement: str, parameters: tuple[object, ...], *_: object) -> None:
        asked.append(len(parameters))

    sa.event.listen(db._engine, "before_cursor_execute", note)
    monkeypatch.setattr(catalog_db, "_CHUNK", 2)
    listed = [Landed(f"{number}.ogg", "b" if number == 4 else "a", 1, EPOCH) for number in range(5)]
    # The fourth is another file under a known name.
    assert [one.object_key for one in db.unprocessed(iter(listed))] == ["0.ogg", "2.ogg", "3.ogg", "4.ogg"]
    assert asked == [2, 2, 1]
    assert db.unprocessed([]) == []


def test_what_was_attached_is_known(db: CatalogDb) -> None:
    assert db.attached(["file:a/cover.jpg", "file:b/cover.jpg"]) == {"file:a/cover.jpg"}
