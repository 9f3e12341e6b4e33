"""`wavehouse live`: what is late and what is too late for the live counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from lakehouse.adapters import catalog_reader, clickhouse, trino, window_loader
from lakehouse.cli.live import app
from lakehouse.domain.listening.rules import LIVE_DAYS
from lakehouse.errors import FatalError, RetryableError
from tests.fakes.trino import DuckTrino

AT = datetime(2026, 10, 1, 12, tzinfo=UTC)
LIMIT = timedelta(days=LIVE_DAYS)


#: Countries that windows were asked of.
asked: list[Sequence[str] | None] = []


class Counts:
    """Live counts of one minute, of which three plays came late."""

    def __init__(self, _: Any) -> None:
        pass

    def late(self) -> dict[str, int]:
        return {"play_minutes": 3, "ad_minutes": 0}

    def windows(self, *_: datetime, countries: Sequence[str] | None, **__: object) -> list[clickhouse.WindowCounts]:
        asked.append(countries)
        return []

    def top(self, *_: datetime, **__: object) -> list[clickhouse.TrackCounts]:
        return [clickhouse.TrackCounts(1, 9, 7), clickhouse.TrackCounts(2, 3, 3)]

    def state(self, _: str = "play_minutes") -> clickhouse.WindowState:
        return clickhouse.WindowState(AT, 1, {0: 9})


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = [timedelta(0), LIMIT - timedelta(microseconds=1), LIMIT, LIMIT + timedelta(days=100)]
    tables = {
        "silver.plays": [{"played_at": AT, "received_at": AT + wait} for wait in waits],
        "silver.ad_impressions": [{"shown_at": AT, "received_at": AT + wait} for wait in waits[:3]],
    }
    monkeypatch.setattr(clickhouse, "LiveCounts", Counts)
    monkeypatch.setattr(trino, "query", DuckTrino(tables).query)
    nothing = SimpleNamespace(records=0, uncommitted=0)
    monkeypatch.setattr(window_loader, "pending", lambda _: dict.fromkeys(("play_minutes", "ad_minutes"), nothing))


def test_what_came_too_late_for_the_live_counts_is_counted_in_the_lake() -> None:
    done = CliRunner().invoke(app, ["freshness", "--with-lake", "--json"])
    assert done.exit_code == 0, done.output
    found = {row["table"]: (row["late_events"], row["too_late_events"]) for row in json.loads(done.stdout)}
    assert found == {"play_minutes": (3, 2), "ad_minutes": (0, 1)}
    assert "too late, in the lake alone" in CliRunner().invoke(app, ["freshness", "--with-lake"]).stdout


def test_without_the_lake_no_other_engine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trino, "query", None)
    done = CliRunner().invoke(app, ["freshness", "--json"])
    assert [row["late_events"] for row in json.loads(done.stdout)] == [3, 0]
    assert "too_late_events" not in done.stdout


def test_windows_of_a_region_are_those_of_its_countries() -> None:
    asked.clear()
    for chosen in (["--region", "018"], ["--region", "154", "--country", "SE"], ["--country", "SE"], []):
        assert CliRunner().invoke(app, ["windows", *chosen]).exit_code == 0
    assert asked == [["BW", "LS", "NA", "SZ", "ZA"], ["SE"], ["SE"], None]
    unknown = CliRunner().invoke(app, ["windows", "--region", "001"]).exception
    assert isinstance(unknown, FatalError)
    assert "154" in unknown.hint


class Catalogue:
    """Knows the first track alone, or is away."""

    away = False

    def __init__(self, _: Any) -> None:
        pass

    def many(self, track_ids: Sequence[int]) -> list[Any]:
        if self.away:
            raise RetryableError("PostgreSQL does not answer.")
        assert track_ids == [1, 2]
        return [SimpleNamespace(content_id=1, title="Jóga", artist_name="Björk")]


def test_a_ranking_of_tracks_has_the_names_the_catalogue_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_reader, "CatalogReader", Catalogue)
    done = CliRunner().invoke(app, ["top", "--json"])
    assert json.loads(done.stdout) == [
        {"track_id": 1, "title": "Jóga", "artist_name": "Björk", "plays": 9, "streams": 7},
        {"track_id": 2, "title": None, "artist_name": None, "plays": 3, "streams": 3},
    ]
    shown = CliRunner().invoke(app, ["top"]).stdout
    assert "Jóga" in shown and "Björk" in shown and "None" not in shown


def test_without_the_catalogue_tracks_are_ranked_without_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_reader, "CatalogReader", Catalogue)
    monkeypatch.setattr(Catalogue, "away", True)
    done = CliRunner().invoke(app, ["top", "--json"])
    assert [(row["track_id"], row["title"]) for row in json.loads(done.stdout)] == [(1, None), (2, None)]
    assert "Without titles and artists: PostgreSQL does not answer." in done.stderr
