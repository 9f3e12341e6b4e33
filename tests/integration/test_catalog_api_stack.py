"""The catalogue service as the stack runs it, on the data of the main job."""

from __future__ import annotations

import os
import signal
import time

import httpx
import pytest

from lakehouse.adapters import trino
from lakehouse.config.settings import Settings
from tests.conftest import wavehouse_json

pytestmark = pytest.mark.stack


@pytest.fixture
def api(played: Settings) -> httpx.Client:
    return httpx.Client(base_url=played.catalog_api.http, timeout=30)


def test_is_ready_and_degrades_nothing(api: httpx.Client) -> None:
    body = api.get("/readyz").json()
    assert body["status"] == "ready"
    assert {check["name"] for check in body["checks"]} == {"catalog", "features", "live"}


def test_every_catalogue_track_is_found_by_its_title_and_has_features(api: httpx.Client, played: Settings) -> None:
    expected = {
        str(track_id): title
        for track_id, title in trino.query(played, "select track_id, title from silver.tracks", user="analyst").rows
    }
    found, cursor = {}, None
    while True:
        page = api.get("/v1/tracks", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        found |= {item["track_id"]: item["title"] for item in page["items"]}
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == expected
    for track_id, title in found.items():
        assert track_id in [
            t["track_id"] for t in api.get("/v1/tracks", params={"q": title[:3].upper()}).json()["items"]
        ]
        detail = api.get(f"/v1/tracks/{track_id}").json()
        assert detail["features"]["loudness_lufs"] < 0
        assert detail["unavailable"] == []
        assert api.get(f"/v1/artists/{detail['artist_id']}").json()["tracks"] >= 1


def test_the_live_ranking_equals_the_published_one(api: httpx.Client, played: Settings) -> None:
    """The stream path (Flink, ClickHouse) and the batch path (dbt, Iceberg) count alike."""
    day = trino.query(played, "select max(played_on) from gold.streams_daily where streams > 0", user="analyst").rows[
        0
    ][0]
    batch = trino.query(
        played,
        "select track_id, sum(streams) as streams, sum(plays) from gold.streams_daily where played_on = ? "
        "group by track_id order by streams desc, track_id limit 100",
        [day],
        user="analyst",
    ).rows
    params = {"from": f"{day}T00:00:00Z", "to": f"{day}T23:59:59.999999Z", "limit": "100"}
    live = api.get("/v1/live/top", params=params).json()
    assert [(int(i["track_id"]), i["streams"], i["plays"]) for i in live["items"]] == [tuple(row) for row in batch]

    best = live["items"][0]
    minutes = api.get(f"/v1/tracks/{best['track_id']}/live", params={k: params[k] for k in ("from", "to")}).json()
    assert (minutes["streams"], minutes["plays"]) == (best["streams"], best["plays"])
    assert minutes["streams"] == sum(minute["streams"] for minute in minutes["minutes"])


def test_while_clickhouse_is_away_answers_are_problems_and_then_the_same_counts(
    api: httpx.Client, played: Settings
) -> None:
    before = api.get("/v1/live/top").json()
    assert before["items"]
    service = next(s for s in wavehouse_json("status")["services"] if s["name"] == "clickhouse")
    os.kill(service["pid"], signal.SIGKILL)
    deadline, away = time.monotonic() + 60, 0
    while True:
        answer = api.get("/v1/live/top")
        if answer.status_code == 200:
            assert answer.json() == before
            if away:
                break
        else:
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert answer.headers["retry-after"]
            assert api.get("/v1/tracks").status_code == 200  # the catalogue does not depend on it
            away += 1
        assert time.monotonic() < deadline, "ClickHouse did not come back, or was never away"
        time.sleep(0.1)
