"""The scrobbling service keeps to its own OpenAPI document and to ListenBrainz' form of errors, whatever is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx
import schemathesis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks

from lakehouse.config.settings import load_settings
from lakehouse.domain.listening.imports import Listen
from lakehouse.errors import RetryableError
from serving.scrobble.app import assemble
from serving.scrobble.service import Allowance, RateLimit, ScrobbleService

load_all_checks()
TOKEN = {"Authorization": "Token 0b5c1f3e-0000-4000-8000-000000000001"}


class Tokens:
    def user(self, token: str) -> int | None:
        return 42 if TOKEN["Authorization"].endswith(token) else None


class Sender:
    """Encodes, as the real one does; or is away."""

    def __init__(self, *, away: bool) -> None:
        self._away = away

    def send(self, user_id: int, listens: Sequence[Listen], received_at: datetime) -> int:
        if self._away:
            raise RetryableError("Kafka did not take the listens.")
        for listen in listens:
            json.dumps(listen.record(user_id, received_at), default=str, ensure_ascii=False).encode()
        return len(listens)


class Unlimited(RateLimit):
    def take(self, sender: str, at: datetime) -> Allowance:
        return Allowance(True, 1, int(at.timestamp()) + 1)


def service(*, away: bool = False) -> Any:
    app = assemble(load_settings("test"), ScrobbleService(tokens=Tokens(), sender=Sender(away=away)))
    app.state.limits = Unlimited()
    return app


up = schemathesis.openapi.from_asgi("/openapi.json", service())
down = schemathesis.openapi.from_asgi("/openapi.json", service(away=True))
app = service()

#: Rules that the document does not express (one listen of type single, names that are not blank), and texts where
#: numbers are documented, which ListenBrainz takes.
NOT_EXPRESSIBLE = [CHECKS.get_one("positive_data_acceptance"), CHECKS.get_one("negative_data_rejection")]


@up.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True)
def test_answers_as_documented(case: Case) -> None:
    case.call_and_validate(headers=TOKEN, excluded_checks=NOT_EXPRESSIBLE)


@down.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True)
def test_answers_as_documented_while_kafka_is_away(case: Case) -> None:
    response = case.call(headers=TOKEN)
    case.validate_response(response, excluded_checks=[*NOT_EXPRESSIBLE, CHECKS.get_one("not_a_server_error")])
    assert response.status_code != 500


async def post(body: bytes) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver") as client:
        return await client.post("/1/submit-listens", content=body, headers=TOKEN)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.just("Jóga") | st.text(st.characters(), max_size=5) | JSON
INFO = st.sampled_from(
    ["tags", "duration", "duration_ms", "duration_played", "isrc", "spotify_id", "recording_mbid", "artist_mbids"]
)
LISTENS = st.fixed_dictionaries(
    {},
    optional={
        "listened_at": st.just(1_700_000_000) | JSON,
        "track_metadata": st.fixed_dictionaries(
            {},
            optional={
                "artist_name": NAMES,
                "track_name": NAMES,
                "release_name": NAMES,
                "additional_info": st.dictionaries(INFO, JSON, max_size=3) | JSON,
            },
        )
        | JSON,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"listen_type": st.sampled_from(["single", "import", "playing_now"]) | JSON},
    optional={"payload": st.lists(LISTENS | JSON, min_size=1, max_size=2) | JSON},
)


def nested(depth: int, field: str) -> bytes:
    """A listen with lists `depth` deep in `field`."""
    track: dict[str, object] = {"artist_name": "A", "track_name": "B", "additional_info": {}}
    listen: dict[str, object] = {"listened_at": 1_700_000_000, "track_metadata": track}
    {"listened_at": listen, "artist_name": track}.get(field, track["additional_info"])[field] = "DEEP"  # type: ignore[index]
    text = json.dumps({"listen_type": "single", "payload": [listen]})
    return text.replace('"DEEP"', "[" * depth + "]" * depth).encode()


@given(DOCUMENTS.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=50))
@example(nested(900, "listened_at"))
@example(nested(900, "artist_name"))
@example(nested(900, "isrc"))
@example(nested(900, "recording_mbid"))
@example(nested(900, "anything"))
@example(nested(4000, "anything"))
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_is_taken_or_refused_with_a_code_and_a_reason(body: bytes) -> None:
    answer = asyncio.run(post(body))
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert answer.json() == {"status": "ok"}
    else:
        assert answer.json().keys() == {"code", "error"}
        assert answer.json()["code"] == 400 and answer.json()["error"]
    assert int(answer.headers["X-RateLimit-Reset-In"]) >= 1
