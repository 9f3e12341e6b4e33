"""An import into the running stack: what is new arrives once, and finds its recording when that comes later."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from lakehouse.adapters import lake, listens, trino
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.catalog.identifiers import recording_key
from tests.conftest import wavehouse, wavehouse_json

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


#: What the mart of listens is made with, and no more of the project.
MODELS = (
    "stg_catalog_content tracks stg_listens listens int_tracks_before int_listens_matched int_listens_rematched "
    "int_listening listener_recordings_daily"
)


@pytest.fixture
def catalogue(played: Settings) -> Iterator[Callable[..., None]]:
    """Puts recordings (artist, title and, if there is one, MusicBrainz id, by track_id) into the catalogue's copy in
    the lake, beside what is there.
    """
    contract = load("bronze.catalog_content")
    present = lake.read(played, contract.id)
    whole = present.select(contract.arrow_schema().names).cast(contract.arrow_schema())

    def hold(recordings: dict[int, tuple[str, ...]]) -> None:
        rows = [
            dict.fromkeys(contract.arrow_schema().names)
            | {"content_id": id_, "kind": "track", "title": title, "artist_id": 1, "artist_name": artist}
            | {"duration_ms": 1, "sample_rate_hz": 1, "channels": 1, "audio_format": "flac", "size_bytes": 1}
            | {"sha256": "0" * 64, "attributes": "{}", "created_at": datetime(2026, 10, 1, tzinfo=UTC)}
            | {"recording_key": recording_key(artist, title), "recording_mbid": mbid[0] if mbid else None}
            for id_, (artist, title, *mbid) in recordings.items()
        ]
        more = pa.Table.from_pylist(rows, schema=contract.arrow_schema())
        lake.overwrite(played, contract.id, pa.concat_tables([whole, more]))

    yield hold
    lake.overwrite(played, contract.id, whole)
    # Other tests settle from what is published, which must be what was built last.
    made = ("silver_audit.tracks", "silver_audit.listens", "gold_audit.listener_recordings_daily")
    wavehouse("dbt", "run", "--select", MODELS)
    wavehouse("audit", *made)
    wavehouse("publish", *made)


def test_a_recording_that_comes_later_restates_the_days_of_its_listens_alone(
    stack: Settings, tmp_path: Path, catalogue: Callable[..., None]
) -> None:
    user = USER + 100
    mbid = str(uuid4())
    days = [datetime(2023, 11, day, 12, tzinfo=UTC) for day in (14, 15, 16, 17)]
    lines: list[dict[str, Any]] = [
        {"listened_at": int(day.timestamp()), "track_metadata": {"artist_name": "Straße", "track_name": title}}
        for day, title in zip(days, ("known", "late", "never", "tagged"), strict=True)
    ]
    lines[3]["track_metadata"]["additional_info"] = {"recording_mbid": mbid}
    path = tmp_path / "listens.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    wavehouse_json("import", "listens", str(path), "--format", "listenbrainz", "--user", str(user))
    listens.await_arrival(stack)

    def transform(**variables: object) -> dict[str, int | None]:
        """The listener's tracks by title, after a run."""
        wavehouse("dbt", "run", "--select", MODELS, "--vars", json.dumps(variables))
        sql = "select title, track_id from lake.gold_audit.listener_recordings_daily where user_id = ?"
        return {title.lower(): track_id for title, track_id in trino.query(stack, sql, (user,)).rows}

    def snapshot() -> int:
        made = lake.catalog(stack).load_table("silver_audit.tracks").current_snapshot()
        assert made is not None
        return made.snapshot_id

    catalogue({-1: ("STRASSE", "Known")})
    assert transform() == {"known": -1, "late": None, "never": None, "tagged": None}
    # In the window of the next runs nothing is received; only what the catalogue has won can restate a day.
    nothing_received = {"from": "2100-01-01", "to": "2100-01-01"}
    before = [snapshot()]
    catalogue({-1: ("STRASSE", "Known"), -2: ("STRASSE", "Late")})
    found = {"known": -1, "late": -2, "never": None, "tagged": None}
    assert transform(**nothing_received, tracks_before=before) == found
    restated = "select distinct listened_on from lake.staging.int_listens_rematched"
    assert [day for (day,) in trino.query(stack, restated).rows] == [days[1].date()]
    before = [snapshot()]
    transform(**nothing_received, tracks_before=before)
    assert trino.query(stack, restated).rows == []
    catalogue({-1: ("STRASSE", "Known"), -2: ("STRASSE", "Late"), -3: ("Other", "Spelling", mbid)})
    # What is heard is named as the catalogue names it.
    del found["tagged"]
    assert transform(**nothing_received, tracks_before=before) == found | {"spelling": -3}
    assert [day for (day,) in trino.query(stack, restated).rows] == [days[3].date()]
