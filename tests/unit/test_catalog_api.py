"""The catalogue service over HTTP, on readers that hold their rows in memory."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError, RejectedInputError
from serving.catalog.app import assemble
from serving.catalog.pages import bars, by_hour
from serving.catalog.service import CatalogService, decode_cursor, encode_cursor
from serving.kit.health import Probe
from tests.fakes.catalog import (
    FEATURES,
    FIRST_ID,
    KEY,
    LYRICS,
    T0,
    FakeCatalog,
    FakeFeatures,
    FakeLive,
    minute,
    podcast,
    released,
    row,
)  # fmt: skip

A, B, C = FIRST_ID, FIRST_ID + 1, FIRST_ID + 2
TITLES = ["Knolls", "knalla", "Zephyr", "100 %_\\ pure", "Ärger", "<script>alert(1)</script>"]


class Client:
    """Asks the application in this process."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)


class World:
    """The service, its client and the readers behind it."""

    def __init__(self) -> None:
        rows = [row(n, title) for n, title in enumerate(TITLES)]
        rows[2] = replace(rows[2], artist_id=8, artist_name="Knut")
        self.catalog = FakeCatalog(rows)
        self.features = FakeFeatures({A: FEATURES})
        self.live = FakeLive(
            [
                (A, "SE", minute(0, 5, 4)),
                (A, "SE", minute(-90, 3, 3)),
                (B, "SE", minute(-1, 4, 4)),
                (C, "US", minute(-2, 9, 9)),
                (A, "SE", minute(-60 * 25, 50, 50)),
            ]
        )
        service = CatalogService(catalog=self.catalog, features=self.features, live=self.live)
        probes = [Probe("catalog", self.catalog.ping), Probe("live", self.live.ping, required=False)]
        self.app: FastAPI = assemble(load_settings("test"), service, probes=probes)
        self.client = Client(self.app)


@pytest.fixture
def world() -> Iterator[World]:
    yield World()


def items(world: World, **params: object) -> list[str]:
    answer = world.client.get("/v1/tracks", params={k: str(v) for k, v in params.items()})
    assert answer.status_code == 200, answer.text
    return [item["title"] for item in answer.json()["items"]]


class TestSearch:
    def test_prefix_matches_title_and_artist_in_any_case(self, world: World) -> None:
        assert items(world, q="KN") == ["knalla", "Knolls", "Zephyr"]

    def test_wildcards_are_ordinary_characters(self, world: World) -> None:
        assert items(world, q="100 %_\\") == ["100 %_\\ pure"]
        assert items(world, q="%") == []

    def test_pages_join_to_the_whole_without_repeats(self, world: World) -> None:
        whole, cursor, pages = items(world), None, []
        while True:
            params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            answer = world.client.get("/v1/tracks", params=params).json()
            pages += [item["title"] for item in answer["items"]]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        assert pages == whole
        assert len(whole) == len(TITLES)

    def test_a_page_does_not_shift_when_a_track_is_added_before_it(self, world: World) -> None:
        first = world.client.get("/v1/tracks", params={"limit": 2}).json()
        world.catalog.rows.insert(0, row(50, "0 new"))
        second = world.client.get("/v1/tracks", params={"limit": 2, "cursor": first["next_cursor"]}).json()
        assert {t["title"] for t in first["items"]}.isdisjoint(t["title"] for t in second["items"])

    def test_of_one_artist(self, world: World) -> None:
        assert items(world, artist_id=8) == ["Zephyr"]

    def test_ids_are_strings_and_exact(self, world: World) -> None:
        item = world.client.get("/v1/tracks", params={"q": "knolls"}).json()["items"][0]
        assert item["track_id"] == str(FIRST_ID)
        assert int(item["track_id"]) != int(float(item["track_id"]))  # a double could not have carried it

    @pytest.mark.parametrize("cursor", ["x", "äö", "W10", "WyJhIiwtMV0", "WyJhIiwxLDJd", "bnVsbA", "W" * 1999, "%00"])
    def test_a_foreign_cursor_is_refused(self, world: World, cursor: str) -> None:
        answer = world.client.get("/v1/tracks", params={"cursor": cursor})
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:wavehouse:problem:invalid_cursor"

    def test_half_a_surrogate_pair_in_a_cursor_is_refused(self) -> None:
        with pytest.raises(RejectedInputError):
            decode_cursor(base64.urlsafe_b64encode(b'["\\ud800", 1]').decode())

    @pytest.mark.parametrize("title", ["\U0001d11e" * 500, "\x01" * 500, '"' * 500, "İ".lower() * 500, "a"])
    def test_the_cursor_of_the_longest_title_is_taken(self, world: World, title: str) -> None:
        cursor = encode_cursor(title, 2**63 - 1)
        assert decode_cursor(cursor) == (title, 2**63 - 1)
        for path in ("/v1/tracks", "/v1/podcasts"):
            assert world.client.get(path, params={"cursor": cursor}).status_code == 200


class TestReleases:
    def test_a_release_with_what_belongs_to_it(self, world: World) -> None:
        world.catalog.releases[KEY] = released(world.catalog.rows[:2])
        body = world.client.get(f"/v1/releases/{KEY}").json()
        assert [track["title"] for track in body["tracks"]] == [r.title for r in world.catalog.rows[:2]]
        assert [(a["media_type"], a["width_px"]) for a in body["artwork"]] == [("image/jpeg", 3000)]
        assert body["merch"] == [{"title": "Shirt", "url": "https://shop.example/1"}]
        assert body["permissions"][0]["excluded"] == ["US"]

    @pytest.mark.parametrize("key", ["4006381333948", "4006381333932", "no-release"])
    def test_what_is_no_release_is_not_found(self, world: World, key: str) -> None:
        assert world.client.get(f"/v1/releases/{key}").status_code == 404

    @pytest.mark.parametrize(
        ("territory", "days", "model", "expected"),
        [
            ("FR", 0, "SubscriptionModel", True),
            ("FR", 0, None, True),
            ("FR", 0, "PayAsYouGoModel", False),
            ("US", 0, None, False),
            ("FR", -1, None, False),
            ("FR", 30, None, False),
        ],
    )
    def test_availability(self, world: World, territory: str, days: int, model: str | None, expected: bool) -> None:
        world.catalog.releases[KEY] = released([])
        at = (T0 + timedelta(days=days)).isoformat()
        params = {"territory": territory, "at": at} | ({"model": model} if model else {})
        body = world.client.get(f"/v1/releases/{KEY}/availability", params=params).json()
        assert (body["available"], len(body["permissions"])) == (expected, int(expected))

    def test_a_track_goes_by_its_own_deals(self, world: World) -> None:
        whole = released(world.catalog.rows[:3])
        ids = [track.content_id for track in whole.tracks]
        later = [replace(whole.windows[0], starts_at=T0 + timedelta(days=1))]
        world.catalog.releases[KEY] = replace(whole, own_windows={ids[1]: later, ids[2]: []})

        def available(days: int) -> list[bool]:
            params = {"territory": "FR", "at": (T0 + timedelta(days=days)).isoformat()}
            body = world.client.get(f"/v1/releases/{KEY}/availability", params=params).json()
            assert body["available"]
            assert [track["track_id"] for track in body["tracks"]] == [str(one) for one in ids]
            return [track["available"] for track in body["tracks"]]

        assert available(0) == [True, False, False]
        assert available(1) == [True, True, False]
        told = world.client.get(f"/v1/releases/{KEY}").json()["track_permissions"]
        assert {name: len(permissions) for name, permissions in told.items()} == {str(ids[1]): 1, str(ids[2]): 0}

    @pytest.mark.parametrize(("territory", "where"), [("UK", "GB"), ("fr", "FR"), ("worldwide", "Worldwide")])
    def test_territories_are_read_as_everywhere(self, world: World, territory: str, where: str) -> None:
        world.catalog.releases[KEY] = released([])
        params = {"territory": territory, "at": T0.isoformat()}
        assert world.client.get(f"/v1/releases/{KEY}/availability", params=params).json()["territory"] == where

    @pytest.mark.parametrize(
        ("territory", "at", "reason"),
        [
            ("XX", T0.isoformat(), "unknown_territory"),
            ("FR", "0001-01-01T00:00:00+14:00", "invalid_range"),
            ("FR", "9999-12-31T23:59:59-14:00", "invalid_range"),
        ],
    )
    def test_what_can_not_be_asked_is_refused(self, world: World, territory: str, at: str, reason: str) -> None:
        world.catalog.releases[KEY] = released([])
        answer = world.client.get(f"/v1/releases/{KEY}/availability", params={"territory": territory, "at": at})
        assert (answer.status_code, answer.json()["type"]) == (422, f"urn:wavehouse:problem:{reason}")

    def test_lyrics(self, world: World) -> None:
        world.catalog.belongings[A] = [LYRICS]
        body = world.client.get(f"/v1/tracks/{A}/lyrics").json()
        assert (body["synchronised"], body["lines"][0]) == (True, {"at_ms": 900, "text": "eins"})
        assert world.client.get(f"/v1/tracks/{A}").json()["has_lyrics"]
        assert world.client.get(f"/v1/tracks/{B}/lyrics").status_code == 404


class TestPodcasts:
    def test_episodes_page_by_page_the_newest_first(self, world: World) -> None:
        show = FIRST_ID + 60
        dated = [podcast(61 + n, f"Folge {n}", show, f"2026-01-{n + 1:02}T00:00:00+00:00") for n in range(5)]
        world.catalog.feeds = [podcast(60, "Ünder"), podcast(59, "Ähm"), *dated, podcast(70, "Ohne Datum", show)]
        listed = world.client.get("/v1/podcasts").json()
        assert [p["title"] for p in listed["items"]] == ["Ähm", "Ünder"]
        titles, cursor = [], None
        while True:
            params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = world.client.get(f"/v1/podcasts/{show}/episodes", params=params).json()
            titles += [e["title"] for e in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert titles == ["Folge 4", "Folge 3", "Folge 2", "Folge 1", "Folge 0", "Ohne Datum"]

    def test_unknown(self, world: World) -> None:
        assert world.client.get("/v1/podcasts/42").status_code == 404
        assert world.client.get("/v1/podcasts/42/episodes").status_code == 404


class TestTrack:
    def test_with_features(self, world: World) -> None:
        body = world.client.get(f"/v1/tracks/{A}").json()
        assert body["features"]["tempo_bpm"] == 120.5
        assert body["unavailable"] == []

    def test_before_extraction_there_are_no_features(self, world: World) -> None:
        body = world.client.get(f"/v1/tracks/{B}").json()
        assert (body["features"], body["unavailable"]) == (None, [])

    def test_without_the_feature_store_the_track_is_answered_and_says_so(self, world: World) -> None:
        world.features.away = True
        answer = world.client.get(f"/v1/tracks/{A}")
        assert answer.status_code == 200
        assert (answer.json()["features"], answer.json()["unavailable"]) == (None, ["features"])

    def test_unknown(self, world: World) -> None:
        answer = world.client.get("/v1/tracks/42", headers={"X-Request-ID": "me-1"})
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": "There is no track 42.",
            "instance": "/v1/tracks/42",
            "request_id": "me-1",
            "hint": "/v1/tracks lists the tracks.",
        }

    def test_artist(self, world: World) -> None:
        assert world.client.get("/v1/artists/8").json() == {"artist_id": "8", "name": "Knut", "tracks": 1}
        assert world.client.get("/v1/artists/9").status_code == 404


class TestLive:
    def test_minutes_of_a_range_are_half_open(self, world: World) -> None:
        params = {"from": (T0 - timedelta(minutes=90)).isoformat(), "to": T0.isoformat()}
        body = world.client.get(f"/v1/tracks/{A}/live", params=params).json()
        assert [m["window_start"] for m in body["minutes"]] == ["2026-10-31T10:30:00Z"]
        assert (body["plays"], body["streams"]) == (3, 3)

    def test_a_range_left_open_ends_with_the_data_and_lasts_a_day(self, world: World) -> None:
        body = world.client.get(f"/v1/tracks/{A}/live").json()
        assert (body["from"], body["to"]) == ("2026-10-30T12:01:00Z", "2026-10-31T12:01:00Z")
        assert body["plays"] == 8

    def test_other_offsets_mean_the_same_moment(self, world: World) -> None:
        body = world.client.get(
            f"/v1/tracks/{A}/live", params={"from": "2026-10-31T14:00:00+02:00", "to": "2026-10-31T14:01:00+02:00"}
        ).json()
        assert (body["from"], body["plays"]) == ("2026-10-31T12:00:00Z", 5)

    @pytest.mark.parametrize(
        ("params", "kind"),
        [
            ({"from": "2026-10-31T12:00:00Z", "to": "2026-10-31T12:00:00Z"}, "invalid_range"),
            ({"from": "2026-10-30T12:00:00Z", "to": "2026-10-31T12:00:01Z"}, "range_too_long"),
            ({"from": "0001-01-01T00:00:00+05:00"}, "invalid_range"),
            ({"to": "9999-12-31T23:59:59-05:00"}, "invalid_range"),
            ({"from": "2026-10-31T12:00:00"}, "invalid_request"),  # no offset
            ({"to": "1793448000"}, "invalid_request"),  # seconds since 1970
        ],
    )
    def test_ranges_that_make_no_sense(self, world: World, params: dict[str, str], kind: str) -> None:
        answer = world.client.get(f"/v1/tracks/{A}/live", params=params)
        assert answer.status_code == 422
        assert answer.json()["type"] == f"urn:wavehouse:problem:{kind}"

    def test_windows_of_a_track_an_artist_and_a_country(self, world: World) -> None:
        whole = {"from": "2026-10-31T10:00:00Z", "to": "2026-10-31T13:00:00Z"}
        hours = world.client.get("/v1/live/windows", params=whole | {"width": "1h", "track_id": A}).json()
        assert (hours["width_minutes"], hours["step_minutes"]) == (60, 60)
        assert [(w["window_start"], w["plays"]) for w in hours["windows"]] == [
            ("2026-10-31T10:00:00Z", 3),
            ("2026-10-31T12:00:00Z", 5),
        ]
        sliding = world.client.get(
            "/v1/live/windows", params=whole | {"width": "5m", "sliding": True, "track_id": A}
        ).json()
        assert [w["window_start"][11:16] for w in sliding["windows"]][:5] == [
            "10:26", "10:27", "10:28", "10:29", "10:30",
        ]  # fmt: skip
        everyone = {"width": "1h", "country": "SE"}
        assert world.client.get("/v1/live/windows", params=whole | everyone).json()["windows"]
        north = {"width": "1h", "region": "154"}
        found = world.client.get("/v1/live/windows", params=whole | north).json()
        assert found["windows"]
        assert found == world.client.get("/v1/live/windows", params=whole | everyone).json()
        assert world.client.get("/v1/live/windows", params=whole | north | {"country": "US"}).json()["windows"] == []
        assert world.client.get("/v1/live/windows", params={"region": "999"}).status_code == 422
        nobody = {"artist_id": 8, "track_id": A}
        assert world.client.get("/v1/live/windows", params=whole | nobody).json()["windows"] == []
        assert world.client.get("/v1/live/windows", params={"artist_id": 9}).status_code == 404
        assert world.client.get("/v1/live/windows", params={"width": "2h"}).status_code == 422

    def test_sessions(self, world: World) -> None:
        body = world.client.get("/v1/live/sessions").json()
        assert body["sessions"] == body["plays"] > 0
        swedish = world.client.get("/v1/live/sessions", params={"country": "SE"}).json()
        assert 0 < swedish["sessions"] < body["sessions"]
        world.live.counts = []
        assert world.client.get("/v1/live/sessions").json()["sessions"] == 0

    def test_top(self, world: World) -> None:
        body = world.client.get("/v1/live/top", params={"limit": 2}).json()
        assert [(i["position"], i["title"], i["streams"]) for i in body["items"]] == [
            (1, "Zephyr", 9),
            (2, "Knolls", 7),
        ]
        body = world.client.get("/v1/live/top", params={"country": "SE"}).json()
        assert [i["title"] for i in body["items"]] == ["Knolls", "knalla"]

    def test_top_artists_add_up_their_tracks_and_leave_out_unknown_ones(self, world: World) -> None:
        world.live.counts = [*world.live.counts, (5, "SE", minute(0, 99, 99))]
        body = world.client.get("/v1/live/top/artists").json()
        found = [(i["position"], i["artist_name"], i["streams"], i["plays"]) for i in body["items"]]
        others = world.catalog.rows[0].artist_name
        assert found == [(1, others, 11, 12), (2, "Knut", 9, 9)]
        swedish = world.client.get("/v1/live/top/artists", params={"country": "SE", "limit": 1}).json()
        assert [i["artist_name"] for i in swedish["items"]] == [others]
        world.catalog.away = True
        assert world.client.get("/v1/live/top/artists").status_code == 503

    def test_top_countries(self, world: World) -> None:
        body = world.client.get("/v1/live/top/countries").json()
        assert [(i["position"], i["country"], i["streams"]) for i in body["items"]] == [(1, "SE", 11), (2, "US", 9)]
        assert len(world.client.get("/v1/live/top/countries", params={"limit": 1}).json()["items"]) == 1

    def test_campaigns(self, world: World) -> None:
        whole = {"from": "2026-10-31T00:00:00Z", "to": "2026-11-01T00:00:00Z"}
        body = world.client.get("/v1/live/top/campaigns", params=whole).json()
        assert [(i["campaign_id"], i["impressions"]) for i in body["items"]] == [(str(C), 9), (str(A), 8), (str(B), 4)]
        params = whole | {"width": "1h", "campaign_id": A}
        windows = world.client.get("/v1/live/campaigns/windows", params=params).json()["windows"]
        assert sum(w["impressions"] for w in windows) == 8
        north = world.client.get("/v1/live/campaigns/windows", params=whole | {"width": "1h", "region": "150"}).json()
        assert 0 < sum(w["impressions"] for w in north["windows"]) < 21
        everyone = world.client.get("/v1/live/campaigns/windows", params=whole | {"width": "1h"}).json()["windows"]
        assert sum(w["impressions"] for w in everyone) == 21
        world.live.counts = []
        assert world.client.get("/v1/live/campaigns/windows").json()["windows"] == []
        assert world.client.get("/v1/live/top/campaigns").json()["items"] == []

    def test_top_without_the_catalogue_has_no_names_and_says_so(self, world: World) -> None:
        world.catalog.away = True
        body = world.client.get("/v1/live/top").json()
        assert body["items"][0]["title"] is None
        assert body["unavailable"] == ["title", "artist_name"]

    def test_a_play_of_an_unknown_track_is_ranked_without_a_name(self, world: World) -> None:
        world.live.counts = [(5, "SE", minute(0, 1, 1))]
        body = world.client.get("/v1/live/top").json()
        assert (body["items"][0]["track_id"], body["items"][0]["title"], body["unavailable"]) == ("5", None, [])

    def test_the_page_shows_an_unknown_track_without_a_chart_of_it(self, world: World) -> None:
        world.live.counts = [(5, "SE", minute(0, 1, 1))]
        answer = world.client.get("/")
        assert answer.status_code == 200
        assert "unknown track 5" in answer.text
        assert 'href="?track=5' not in answer.text

    def test_without_any_play(self, world: World) -> None:
        world.live.counts = []
        assert world.client.get("/v1/live/top").json()["items"] == []
        assert world.client.get(f"/v1/tracks/{A}/live").json()["from"] is None
        assert world.client.get("/v1/live/freshness").json()["newest_window_start"] is None

    def test_an_engine_away_is_503_with_what_to_do(self, world: World) -> None:
        world.live.away = True
        answer = world.client.get("/v1/live/top")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["hint"] == "Wait."


class TestKit:
    def test_readiness_tells_degraded_from_unready(self, world: World) -> None:
        assert world.client.get("/readyz").json()["status"] == "ready"
        world.live.away = True
        answer = world.client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        world.catalog.away = True
        answer = world.client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "unready")
        assert world.client.get("/healthz").status_code == 200

    def test_invalid_request_names_each_part(self, world: World) -> None:
        answer = world.client.get("/v1/tracks", params={"limit": "0", "artist_id": "x"})
        assert answer.status_code == 422
        assert {e["location"] for e in answer.json()["errors"]} == {"query.limit", "query.artist_id"}

    @pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/v1/tracks", 405)])
    def test_the_router_answers_with_problems_too(self, world: World, method: str, path: str, status: int) -> None:
        answer = world.client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")

    @pytest.mark.parametrize("error", [ValueError("secret detail"), FatalError("secret detail")])
    def test_what_breaks_inside_is_logged_and_not_told(
        self, world: World, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(artist_id: int) -> None:
            raise error

        monkeypatch.setattr(world.catalog, "artist", broken)
        with caplog.at_level(logging.INFO, logger="serving"):
            answer = world.client.get("/v1/artists/8")
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert "secret" not in answer.text
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "secret detail" in caplog.text

    @pytest.mark.parametrize("offered", ["", "a b", "x" * 65, 'a"b', "ä".encode()])
    def test_a_request_id_that_could_break_a_log_is_replaced(self, world: World, offered: str | bytes) -> None:
        answer = world.client.get("/healthz", headers={"X-Request-ID": offered})
        assert answer.headers["x-request-id"].isalnum()
        assert len(answer.headers["x-request-id"]) == 32

    def test_one_log_line_a_request(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, logger="serving"):
            world.client.get("/v1/tracks/42", headers={"X-Request-ID": "r1"})
        lines = [json.loads(record.message) for record in caplog.records]
        assert [(line["request_id"], line["path"], line["status"]) for line in lines] == [("r1", "/v1/tracks/42", 404)]


class TestOpenApi:
    def test_is_complete(self, world: World) -> None:
        document = world.client.get("/openapi.json").json()
        operations = [op for path in document["paths"].values() for op in path.values()]
        assert len({op["operationId"] for op in operations}) == len(operations)
        for operation in operations:
            assert operation["summary"]
            assert operation["description"]
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), (operation["operationId"], parameter["name"])
        for name, schema in document["components"]["schemas"].items():
            if name in {"ValidationError", "HTTPValidationError"}:
                continue
            for field, spec in schema["properties"].items():
                nothing_to_say = spec.get("const") or spec.get("type") == "array" or "$ref" in spec
                assert spec.get("description") or nothing_to_say, f"{name}.{field} has no description"

    def test_errors_are_documented_as_problems(self, world: World) -> None:
        document = world.client.get("/openapi.json").json()
        answers = document["paths"]["/v1/tracks/{track_id}"]["get"]["responses"]
        assert set(answers) == {"200", "404", "422", "500", "503"}
        for status in ("404", "422", "500", "503"):
            assert set(answers[status]["content"]) == {"application/problem+json"}
        assert {"Problem", "Violation"} <= set(document["components"]["schemas"])

    def test_no_page_loads_anything_from_elsewhere(self, world: World) -> None:
        assert world.client.get("/docs").status_code == 404
        page = world.client.get("/").text
        assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in page


class TestPage:
    def test_titles_are_escaped(self, world: World) -> None:
        bad = FIRST_ID + TITLES.index("<script>alert(1)</script>")
        world.live.counts = [(bad, "SE", minute(0, 1, 1))]
        page = world.client.get("/").text
        assert "<script>" not in page
        assert "&lt;script&gt;" in page

    def test_says_what_is_away(self, world: World) -> None:
        world.live.away = True
        answer = world.client.get("/")
        assert answer.status_code == 503
        assert "FakeLive is away." in answer.text

    def test_without_any_play(self, world: World) -> None:
        world.live.counts = []
        answer = world.client.get("/")
        assert answer.status_code == 200
        assert "Nothing has been played yet" in answer.text

    def test_a_market_without_plays_says_so(self, world: World) -> None:
        assert "Nothing was played in KW in this range" in world.client.get("/", params={"country": "KW"}).text

    def test_an_unknown_track_is_not_found(self, world: World) -> None:
        assert world.client.get("/", params={"track": "42"}).status_code == 404

    def test_bars_cover_every_hour_and_reach_the_top_once(self) -> None:
        hour = datetime(2026, 10, 31, 9, tzinfo=UTC)
        counts = by_hour([])
        assert bars(counts) == []
        drawn = bars([(hour, 2), (hour + timedelta(hours=1), 0), (hour + timedelta(hours=2), 4)], width=300, height=100)
        assert [(b.x, b.y, b.width, b.height) for b in drawn] == [
            (10, 50, 80, 50),
            (110, 100, 80, 0),
            (210, 0, 80, 100),
        ]
