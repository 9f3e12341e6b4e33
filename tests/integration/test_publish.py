"""Publishing: views are made where they are missing or lack a column, and left alone otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from lakehouse.adapters import publish, trino
from lakehouse.config.settings import Settings

TABLES = ("silver_audit.tracks", "gold_audit.royalty_pools")


def views_made(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Publish the tables again; the views that were created for it."""
    asked: list[str] = []
    query = trino.query

    def listening(on: Settings, sql: str, *values: Any, **which: Any) -> trino.Result:
        asked.append(sql)
        return query(on, sql, *values, **which)

    with monkeypatch.context() as patch:
        patch.setattr(trino, "query", listening)
        done = publish.publish(settings, TABLES)
    assert [made.snapshot_id for made in done] == [made.previous_snapshot_id for made in done]
    return [sql.split()[4] for sql in asked if sql.startswith("create or replace view")]


def test_a_view_is_made_again_when_it_lacks_a_column_and_only_then(
    played: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert views_made(played, monkeypatch) == []
    whole = trino.query(played, "select * from lake.gold.royalty_pools order by period, country")
    trino.query(
        played,
        "create or replace view lake.gold.royalty_pools security definer as "
        "select period from lake.gold_audit.royalty_pools",
    )
    assert views_made(played, monkeypatch) == ["lake.gold.royalty_pools"]
    assert trino.query(played, "select * from lake.gold.royalty_pools order by period, country") == whole
