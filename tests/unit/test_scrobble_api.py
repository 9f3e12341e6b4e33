"""The submission API over HTTP, with tokens in memory and a broker that can be away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from lakehouse.adapters.scrobble_tokens import hashed
from lakehouse.config.settings import CHECKOUT, load_settings
from lakehouse.domain.listening.imports import Listen
from lakehouse.errors import RetryableError
from serving.scrobble.app import assemble
from serving.scrobble.service import REQUESTS, WINDOW_S, RateLimit, ScrobbleService

TOKEN = "0b5c1f3e-0000-4000-8000-000000000001"
T0 = datetime(2026, 11, 1, 12, 0, 3, tzinfo=UTC)
LISTEN = {"listened_at": 1_700_000_000, "track_metadata": {"artist_name": "Björk", "track_name": "Jóga"}}


class FakeTokens:
    away = False

    def user(self, token: str) -> int | None:
        if self.away:
            raise RetryableError("The tokens can't be read.")
        return 42 if token == TOKEN else None


class FakeSender:
    def __init__(self) -> None:
        self.away = False
        self.sent: list[tuple[int, Listen]] = []

    def send(self, user_id: int, listens: Sequence[Listen], received_at: datetime) -> int:
        if self.away:
            raise RetryableError("Kafka did not take the listens.")
        self.sent += [(user_id, listen) for listen in listens]
        return len(listens)


class Api:
    """Asks the application in this process."""

    def __init__(self) -> None:
        self.tokens, self.sender = FakeTokens(), FakeSender()
        self.app = assemble(load_settings("test"), ScrobbleService(tokens=self.tokens, sender=self.sender))

    def ask(self, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Token {token}"} if token else {}

        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
                return await client.request(method, path, headers=headers | options.pop("headers", {}), **options)

        return asyncio.run(once())

    def submit(self, payload: object, kind: str = "single", **options: Any) -> httpx.Response:
        return self.ask("POST", "/1/submit-listens", json={"listen_type": kind, "payload": payload}, **options)


@pytest.fixture
def api() -> Api:
    return Api()


def test_a_listen_is_taken_under_its_listener(api: Api) -> None:
    answer = api.submit([LISTEN])
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    ((user, listen),) = api.sender.sent
    assert (user, listen.source, listen.title) == (42, "scrobble", "Jóga")
    assert listen.listened_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert answer.headers["X-RateLimit-Limit"] == str(REQUESTS)
    assert int(answer.headers["X-RateLimit-Remaining"]) < REQUESTS
    assert 1 <= int(answer.headers["X-RateLimit-Reset-In"]) <= WINDOW_S


def test_what_plays_now_is_judged_and_not_kept(api: Api) -> None:
    track = {"track_metadata": LISTEN["track_metadata"]}
    assert api.submit([track], "playing_now").json() == {"status": "ok"}
    assert api.submit([LISTEN], "playing_now").status_code == 400
    assert api.submit([{"track_metadata": {"artist_name": "Björk"}}], "playing_now").status_code == 400
    assert api.sender.sent == []


def test_one_bad_listen_costs_the_submission_and_nothing_of_it_is_kept(api: Api) -> None:
    answer = api.submit([LISTEN, LISTEN | {"listened_at": "soon"}], "import")
    assert answer.status_code == 400
    assert answer.json()["code"] == 400 and "listened_at" in answer.json()["error"]
    assert api.sender.sent == []


@pytest.mark.parametrize("header", [None, "", "Token", "Token wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}"])
def test_without_a_valid_token_nothing_is_taken(api: Api, header: str | None) -> None:
    answer = api.submit([LISTEN], token=None, headers={"Authorization": header} if header is not None else {})
    assert (answer.status_code, answer.json()["code"]) == (401, 401)
    assert answer.json()["error"] and api.sender.sent == []


def test_an_engine_that_is_away_is_503_and_the_listen_can_be_sent_again(api: Api) -> None:
    api.sender.away = True
    answer = api.submit([LISTEN])
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, 503, "5")
    api.sender.away, api.tokens.away = False, True
    assert api.submit([LISTEN]).status_code == 503
    assert api.sender.sent == []
    api.tokens.away = False
    assert api.submit([LISTEN]).status_code == 200
    assert len(api.sender.sent) == 1


def test_a_token_is_validated_from_header_or_query(api: Api) -> None:
    valid = {"code": 200, "message": "Token valid.", "valid": True, "user_name": "42"}
    assert api.ask("GET", "/1/validate-token").json() == valid
    assert api.ask("GET", "/1/validate-token", token=None, params={"token": TOKEN}).json() == valid
    invalid = api.ask("GET", "/1/validate-token", token="wrong")
    assert (invalid.status_code, invalid.json()) == (200, {"code": 200, "message": "Token invalid.", "valid": False})
    missing = api.ask("GET", "/1/validate-token", token=None)
    assert (missing.status_code, missing.json()["code"]) == (400, 400)


def test_the_front_page_says_what_this_is_and_where_it_is_documented(api: Api) -> None:
    answer = api.ask("GET", "/", token=None)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    told = answer.json()
    assert told["service"] == "Wavehouse scrobbling" and "ListenBrainz" in told["about"]
    assert "wavehouse listens token create" in told["about"]
    assert (CHECKOUT / told["documentation"]).is_file()
    document = api.ask("GET", told["interface"]).json()
    assert all(method.lower() in document["paths"][path] for method, path in map(str.split, told["paths"]))


def test_other_errors_have_the_same_form(api: Api) -> None:
    for method, path, status in (("GET", "/1/submit-listens", 405), ("GET", "/1/nothing", 404)):
        answer = api.ask(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, status)


def test_a_body_without_end_is_cut_off(api: Api) -> None:
    answer = api.ask("POST", "/1/submit-listens", content=b"x" * 11_000_000)
    assert answer.status_code == 400 and "larger than" in answer.json()["error"]


def test_players_in_a_browser_may_send(api: Api) -> None:
    wish = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type"}  # fmt: skip
    answer = api.ask("OPTIONS", "/1/submit-listens", token=None, headers=wish)
    assert answer.status_code == 200 and answer.headers["Access-Control-Allow-Origin"] == "*"


def test_each_sender_has_an_allowance_for_each_window() -> None:
    limits = RateLimit()
    taken = [limits.take("a", T0) for _ in range(REQUESTS + 1)]
    assert [t.allowed for t in taken] == [True] * REQUESTS + [False]
    assert [t.remaining for t in taken][-3:] == [1, 0, 0]
    assert limits.take("b", T0).remaining == REQUESTS - 1
    later = datetime.fromtimestamp(taken[0].reset_at, UTC)
    assert limits.take("a", later).allowed


def test_too_many_requests_are_429(api: Api) -> None:
    api.app.state.limits = Spent()
    answer = api.submit([LISTEN])
    assert (answer.status_code, answer.json()["code"]) == (429, 429)
    assert answer.headers["X-RateLimit-Remaining"] == "0" and api.sender.sent == []


class Spent(RateLimit):
    def take(self, sender: str, at: datetime) -> Any:
        for _ in range(REQUESTS):
            super().take(sender, at)
        return super().take(sender, at)


def test_the_document_names_both_paths(api: Api) -> None:
    document = json.loads(api.ask("GET", "/openapi.json").text)
    assert {"/1/submit-listens", "/1/validate-token"} <= document["paths"].keys()


def test_only_the_hash_of_a_token_is_kept() -> None:
    assert hashed(TOKEN) == hashed(f" {TOKEN.upper()}\n")
    assert len(hashed(TOKEN)) == 64 and TOKEN not in hashed(TOKEN)
