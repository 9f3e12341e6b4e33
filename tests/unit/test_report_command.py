"""`wavehouse report`: what people read, and what a program gets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from typer.testing import CliRunner

from lakehouse.adapters import catalog_db, clickhouse, trino, window_loader
from lakehouse.adapters.trino import Result
from lakehouse.cli import report
from lakehouse.cli.report import app

WRAPPED = {
    "user_id": 42,
    "year": 2026,
    "minutes_played": 12_345,
    "plays": 4_000,
    "listening_days": 90,
    "top_track_titles": ["Jóga", "Oral, live"],
    "top_artist_names": ["Björk"],
    "top_genre": None,
}


class Catalogue:
    """A catalogue of one file."""

    def __init__(self, _: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def counts(self) -> dict[str, Any]:
        return {"accepted": 1, "duplicate": 0, "rejected": 0, "rejected_by_reason": {}}


@pytest.fixture(autouse=True)
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        report.TOTALS: Result(("a", "b", "c", "d"), [(3, 2, 1, 0.1)]),
        report.TOP_TRACKS: Result(("title",), [("Jóga",)]),
        report.ROYALTIES: Result(("period",), [("2026-10",)]),
        report.WRAPPED: Result(tuple(WRAPPED), [tuple(WRAPPED.values())]),
    }
    state = clickhouse.WindowState(datetime(2026, 10, 31, tzinfo=UTC), 5, {})
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))
    monkeypatch.setattr(trino, "query", lambda settings, sql, user: answers[sql])
    monkeypatch.setattr(catalog_db, "CatalogDb", Catalogue)
    monkeypatch.setattr(clickhouse, "LiveCounts", lambda _: SimpleNamespace(state=lambda: state))
    monkeypatch.setattr(window_loader, "updates_pending", lambda _: 0)


def test_wrapped_is_a_page_for_people_and_lists_for_programs() -> None:
    shown = CliRunner().invoke(app, [])
    assert shown.exit_code == 0, shown.output
    page = shown.stdout.split("Wrapped 2026 of listener 42")[1].split("Live counts")[0]
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in page.splitlines() if line.startswith("│")]
    assert rows == [
        ["minutes played", "12,345"],
        ["plays", "4,000"],
        ["listening days", "90"],
        ["top track titles", "1. Jóga"],
        ["", "2. Oral, live"],
        ["top artist names", "1. Björk"],
        ["top genre", ""],
    ]
    done = CliRunner().invoke(app, ["--json"])
    assert json.loads(done.stdout)["wrapped"] == [WRAPPED]
