"""The running scrobbling service, asked by a client library that others wrote for ListenBrainz."""

from __future__ import annotations

import liblistenbrainz
import pytest
from liblistenbrainz.errors import InvalidAuthTokenException, ListenBrainzAPIException

from lakehouse.adapters import lake
from lakehouse.adapters.listens import await_arrival
from lakehouse.config.settings import Settings
from tests.conftest import wavehouse_json

pytestmark = pytest.mark.stack
USER = 7_000_000_000_000_002
FIRST = 1_700_000_000


def track(number: int, *, at: int | None = None) -> liblistenbrainz.Listen:
    return liblistenbrainz.Listen(
        track_name=f"Song {number}",
        artist_name="Björk",
        release_name="Vespertine",
        listened_at=FIRST + 300 * number if at is None else at,
    )


def test_a_player_made_for_listenbrainz_sends_listens_that_count_once(stack: Settings) -> None:
    made = wavehouse_json("listens", "token", "create", str(USER), "--label", "test")
    client = liblistenbrainz.ListenBrainz(api_base_url=stack.scrobble_api.http)
    with pytest.raises(InvalidAuthTokenException):
        client.set_auth_token("0b5c1f3e-0000-4000-8000-000000000001")
    client.set_auth_token(made["token"])

    playing = liblistenbrainz.Listen(track_name="Song 1", artist_name="Björk")
    assert client.submit_playing_now(playing) == {"status": "ok"}
    assert client.submit_single_listen(track(1)) == {"status": "ok"}
    assert client.submit_multiple_listens([track(n) for n in range(1, 31)]) == {"status": "ok"}
    with pytest.raises(ListenBrainzAPIException) as refusal:
        client.submit_single_listen(track(99, at=1_000_000_000))
    assert refusal.value.status_code == 400

    await_arrival(stack)
    kept = lake.read(stack, "bronze.listens", where=f"user_id == {USER}").to_pylist()
    assert {row["event_id"] for row in kept} == {row["event_id"] for row in kept if row["source"] == "scrobble"}
    # One listen may lie there twice until silver: it was on its way to the lake when it was sent again.
    assert len({row["event_id"] for row in kept}) == 30
    assert {row["title"] for row in kept} == {f"Song {n}" for n in range(1, 31)}

    wavehouse_json("listens", "token", "revoke", str(made["token_id"]))
    with pytest.raises(ListenBrainzAPIException) as refusal:
        client.submit_single_listen(track(31))
    assert refusal.value.status_code == 401
