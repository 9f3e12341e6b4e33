"""Submissions of ListenBrainz' form: limits, rules, and that no document whatever breaks the reader."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.domain.listening.imports.submission import (
    MAX_BYTES,
    MAX_LISTEN_BYTES,
    MAX_LISTENS,
    SOURCE,
    submission,
)
from lakehouse.errors import RejectedInputError

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MBID = "e225fb84-dc9a-419e-adcd-9890f59ec432"
TRACK = {"artist_name": "Dool", "track_name": "Vantablack"}


def listen(more: dict[str, Any] | None = None, at: object = 1_700_000_000, **track: Any) -> dict[str, Any]:
    metadata = TRACK | track | ({} if more is None else {"additional_info": more})
    return {"listened_at": at, "track_metadata": metadata}


def body(*payload: object, kind: str = "import") -> bytes:
    return json.dumps({"listen_type": kind, "payload": payload}).encode()


def refused(document: bytes) -> str:
    with pytest.raises(RejectedInputError) as refusal:
        submission(document, NOW)
    assert refusal.value.message
    return refusal.value.reason


def test_what_players_send_is_understood() -> None:
    assert submission(body(listen(release_name=None)), NOW).listens
    more = {"isrc": "NLA401800001", "recording_mbid": MBID, "release_mbid": "", "artist_mbids": [MBID, None],
            "duration_ms": "215000", "tags": ["doom"], "duration_played": 200, "tracknumber": 1}  # fmt: skip
    found = submission(body(listen(more, release_name="Here Now, There Then"), kind="single"), NOW)
    (one,) = found.listens
    assert (found.kind, one.source, one.artist_name, one.title) == ("single", SOURCE, "Dool", "Vantablack")
    assert (one.isrc, one.recording_mbid, one.release_mbid) == ("NLA401800001", MBID, None)
    assert (one.ms_played, one.release_title) == (200_000, "Here Now, There Then")


def test_as_many_as_allowed_and_one_more() -> None:
    assert len(submission(body(*[listen(at=1_700_000_000 + n) for n in range(MAX_LISTENS)]), NOW).listens) == 1000
    assert refused(body(*[listen()] * (MAX_LISTENS + 1))) == "too_many_listens"


def test_the_largest_listen_and_one_byte_more() -> None:
    frame = len(body(listen({"x": ""})))
    assert submission(body(listen({"x": "a" * (MAX_LISTEN_BYTES - frame)})), NOW).listens
    assert refused(body(listen({"x": "a" * (MAX_LISTEN_BYTES - frame + 1)}))) == "too_large"
    assert refused(b" " * (MAX_BYTES + 1)) == "too_large"


@pytest.mark.parametrize("at", [1_033_430_400, 1_793_494_800, "1700000000", 1_700_000_000.9])
def test_the_first_and_the_last_moment(at: int) -> None:
    """2002-10-01, an hour ahead of our clock; as text and with a fraction, as some players send it."""
    assert submission(body(listen(at=at)), NOW).listens


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "broken_json"),
        (b"\xff\xfe", "broken_json"),
        (b"[" * 100_000, "broken_json"),
        (b"[]", "bad_document"),
        (b"{}", "bad_document"),
        (body(), "bad_document"),
        (body(listen(), kind="love"), "bad_document"),
        (body(listen(), listen(), kind="single"), "bad_document"),
        (body(None), "bad_document"),
        (body(listen() | {"user_name": "x"}), "bad_document"),
        (body({"track_metadata": TRACK}), "bad_document"),
        (body({"listened_at": 1_700_000_000, "track_metadata": None}), "bad_document"),
        (body(listen(at=1_033_430_399)), "time_before_2002"),
        (body(listen(at=1_793_494_801)), "time_in_future"),
        (body(listen(at=10**30)), "bad_time"),
        (body(listen(at=None)), "missing_time"),
        (body(listen(at=[[1]])), "bad_time"),
        (body(listen(at=True)), "bad_time"),
        (body(listen(at=float("inf"))), "bad_time"),
        (body(listen(track_name="half a pair \ud83d")), "bad_title"),
        (body(listen(track_name=" ")), "missing_title"),
        (body(listen(artist_name=["Dool"])), "bad_artist_name"),
        (body(listen(release_name=7)), "bad_document"),
        (body(listen(track_name="a\0b")), "bad_document"),
        (body(listen({"deep": [{"er": "\0"}]})), "bad_document"),
        (body(listen({"tags": ["x"] * 51})), "bad_document"),
        (body(listen({"tags": ["x" * 65]})), "bad_document"),
        (body(listen({"duration": 1, "duration_ms": 1000})), "bad_document"),
        (body(listen({"duration": 0})), "bad_document"),
        (body(listen({"duration_ms": "long"})), "bad_document"),
        (body(listen({"duration": 24 * 86_400 + 1})), "bad_document"),
        (body(listen({"recording_mbid": "42"})), "bad_document"),
        (body(listen({"artist_mbids": [MBID, 42]})), "bad_document"),
        (body(listen({"artist_mbids": MBID})), "bad_document"),
        (body(listen({"duration_played": 86_401})), "bad_ms_played"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_reason(document: bytes, reason: str) -> None:
    assert refused(document) == reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from(["tags", "duration", "duration_ms", "duration_played", "isrc", "recording_mbid", "artist_mbids"])
MORE = st.dictionaries(KEYS | st.text(max_size=5), JSON, max_size=4)


@given(JSON | MORE.map(listen), st.sampled_from(["single", "import", "playing_now"]))
def test_any_document_is_taken_or_refused(row: object, kind: str) -> None:
    document = body(row, kind=kind)
    try:
        found = submission(document, NOW)
    except RejectedInputError as refusal:
        assert refusal.reason and refusal.message
    else:
        assert len(found.listens) == (kind != "playing_now")
