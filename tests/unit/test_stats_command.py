"""`wavehouse stats`: what it asks of the mart, as JSON and as tables."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from typer.testing import CliRunner

from lakehouse.adapters import trino
from lakehouse.cli.stats import app
from lakehouse.errors import FatalError
from tests.fakes.trino import DuckTrino

MART = "gold.listener_recordings_daily"


def row(day: int, artist: str, title: str, streams: int, listens: int = 0, **others: Any) -> dict[str, Any]:
    known = {"user_id": 42, "listened_on": date(2026, 10, day), "release_title": None, "ms_played": 1000}
    known |= {"recording_key": f"{artist} {title}".lower(), "artist_name": artist, "title": title}
    return known | {"streams": streams, "listens": listens} | others


ROWS = [
    row(1, "Ásta", "Fjall", 2, release_title="Land"),
    row(2, "Ásta", "FJALL", 1, recording_key="ásta fjall"),  # the same recording in another spelling
    row(2, "Ásta", "Haf", 0, 4, release_title="Land"),
    row(3, "Bo", "One", 3),
    row(3, "Bo", "Two", 1, release_title="B-sides", listened_on=date(2026, 9, 30)),
    row(3, "Bo", "One", 99, user_id=43),
    row(4, "Cy", "Zero", 0, user_id=43),
]


@pytest.fixture
def mart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trino, "query", DuckTrino({MART: ROWS}).query)


def document(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_rankings_of_all_time(mart: None) -> None:
    found = document("42")
    assert (found["user_id"], found["range"], found["first"], found["last"]) == (42, "all_time", None, "2026-10-04")
    rankings = found["rankings"]
    assert [(r["artist_name"], r["streams"], r["listens"], r["ms_played"]) for r in rankings["artists"]] == [
        ("Ásta", 3, 4, 3000),
        ("Bo", 4, 0, 2000),
    ]
    assert [(r["title"], r["streams"], r["listens"]) for r in rankings["recordings"]] == [
        ("Haf", 0, 4),
        ("FJALL", 3, 0),  # of equals the first by title
        ("One", 3, 0),
        ("Two", 1, 0),
    ]
    assert [(r["release_title"], r["streams"] + r["listens"]) for r in rankings["releases"]] == [
        ("Land", 6),
        ("B-sides", 1),
    ]
    days = [(r["listened_on"], r["streams"], r["listens"]) for r in found["activity"]]
    assert days == [("2026-09-30", 1, 0), ("2026-10-01", 2, 0), ("2026-10-02", 1, 4), ("2026-10-03", 3, 0)]


def test_a_range_and_a_limit(mart: None) -> None:
    found = document("42", "--range", "this_month", "--as-of", "2026-10-02", "--limit", "1")
    assert (found["first"], found["last"]) == ("2026-10-01", "2026-10-02")
    assert [r["artist_name"] for r in found["rankings"]["artists"]] == ["Ásta"]
    assert [r["title"] for r in found["rankings"]["recordings"]] == ["Haf"]
    assert [r["listened_on"] for r in found["activity"]] == ["2026-10-01", "2026-10-02"]


def test_tables(mart: None) -> None:
    shown = CliRunner().invoke(app, ["42", "--as-of", "2026-10-31"]).stdout
    for text in ("artists, the beginning to 2026-10-31", "recordings, ", "releases, ", "days, ", "Ásta", "B-sides"):
        assert text in shown
    nobody = CliRunner().invoke(app, ["41"])
    assert nobody.exit_code == 0
    assert "nothing" in nobody.stdout


def test_before_the_first_publication(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trino, "query", DuckTrino({MART: []}).query)
    assert isinstance(CliRunner().invoke(app, ["42"]).exception, FatalError)
