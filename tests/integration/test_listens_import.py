"""An import into the running stack: what is new arrives once, whichever service it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lakehouse.adapters import lake
from lakehouse.config.settings import Settings
from tests.conftest import wavehouse_json

pytestmark = pytest.mark.stack
USER = 7_000_000_000_000_001


def test_importing_twice_or_from_another_service_adds_nothing(stack: Settings, tmp_path: Path) -> None:
    lines = [
        {"listened_at": 1_700_000_000 + 300 * n, "track_metadata": {"artist_name": "Björk", "track_name": f"Song {n}"}}
        for n in range(50)
    ]
    first = tmp_path / "listens.jsonl"
    first.write_text("\n".join(map(json.dumps, [*lines, lines[0]])) + "\n{broken\n")
    other = tmp_path / "maloja.json"
    scrobbles = [
        {
            "time": line["listened_at"] + 30,
            "track": {"artists": ["BJÖRK"], "title": line["track_metadata"]["track_name"]},
        }
        for line in lines
    ]
    other.write_text(json.dumps({"scrobbles": scrobbles}))
    report = tmp_path / "report.jsonl"

    def run(path: Path, service: str) -> tuple[int, int, int, int]:
        done = wavehouse_json(
            "import", "listens", str(path), "--format", service, "--user", str(USER), "--report", str(report)
        )
        assert len(report.read_text().splitlines()) == done["rows"] + 1
        return done["rows"], done["imported"], done["duplicates"], done["rejected"]

    assert run(first, "listenbrainz") == (52, 50, 1, 1)
    assert run(first, "listenbrainz") == (52, 0, 51, 1)
    assert run(other, "maloja") == (50, 0, 50, 0)
    kept = lake.read(stack, "bronze.listens", where=f"user_id == {USER}")
    assert kept.num_rows == 50
    assert set(kept["title"].to_pylist()) == {f"Song {n}" for n in range(50)}
