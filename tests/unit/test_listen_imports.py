"""Exports of other services: what is taken, what is a duplicate, and what is refused with which reason at which row."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.adapters.listens import Counts, Index, _count, _Reading, files
from lakehouse.contracts import load
from lakehouse.domain.listening.imports import TOLERANCE_S, Heard, Listen, Owner, Row, Seen, check, read, wanted
from lakehouse.domain.listening.imports.formats import zone_of
from lakehouse.errors import FatalError, RejectedInputError

NOW = datetime(2026, 11, 1, tzinfo=UTC)
AT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
LISTEN = Listen("spotify", AT, "Björk", "Jóga")

SPOTIFY: dict[str, Any] = {
    "ts": "2024-03-01T12:03:20Z", "ms_played": 200_000, "conn_country": "SE", "ip_addr": "192.0.2.1",
    "master_metadata_track_name": "Jóga", "master_metadata_album_artist_name": "Björk",
    "master_metadata_album_album_name": "Homogenic", "spotify_track_uri": "spotify:track:6FJCJuV8iNbYDvE5BkWYvp",
    "episode_name": None, "episode_show_name": None, "spotify_episode_uri": None,
}  # fmt: skip
EPISODE = SPOTIFY | {
    "master_metadata_track_name": None, "master_metadata_album_artist_name": None, "spotify_track_uri": None,
    "episode_name": "Pilot", "episode_show_name": "Serial", "spotify_episode_uri": "spotify:episode:1",
}  # fmt: skip
BOOK = EPISODE | {
    "episode_name": None, "episode_show_name": None, "spotify_episode_uri": None, "audiobook_title": "Emma",
    "audiobook_chapter_title": "Chapter 1", "audiobook_chapter_uri": "spotify:chapter:1",
}  # fmt: skip
BRAINZ: dict[str, Any] = {
    "listened_at": 1_709_294_400,
    "user_name": "a",
    "track_metadata": {
        "artist_name": "Björk",
        "track_name": "Jóga",
        "release_name": "Homogenic",
        "additional_info": {"isrc": "GB-AYE-97-00001", "duration_played": 30, "recording_mbid": "not one"},
        "mbid_mapping": {"recording_mbid": "a5e4a8c7-1b5f-4b8e-9ae9-5b8bd0e6d1f0"},
    },
}
MALOJA: dict[str, Any] = {
    "time": 1_709_294_400,
    "track": {
        "artists": ["Björk", "Rosalía"],
        "title": "Oral",
        "album": {"albumtitle": "Oral", "artists": None},
        "length": None,
    },
    "duration": 100,
    "origin": "client:x",
}


def rows(format_name: str, content: bytes | str, name: str = "f", **options: Any) -> list[Row]:
    raw = content.encode() if isinstance(content, str) else content
    return list(read(format_name, io.BytesIO(raw), name=name, **options))


def listens(found: Sequence[Row]) -> list[Listen]:
    return [row.outcome for row in found if isinstance(row.outcome, Listen)]


def refusals(found: Sequence[Row]) -> list[tuple[int, str]]:
    return [(row.number, row.outcome.reason) for row in found if isinstance(row.outcome, RejectedInputError)]


def test_spotify_tracks_episodes_and_audiobooks_start_when_they_ended_less_what_was_heard() -> None:
    song, episode, book = listens(rows("spotify", "\ufeff" + json.dumps([SPOTIFY, EPISODE, BOOK])))
    assert (song.listened_at, song.kind, song.artist_name, song.title) == (AT, "track", "Björk", "Jóga")
    assert (song.release_title, song.ms_played) == ("Homogenic", 200_000)
    assert song.spotify_uri == "spotify:track:6FJCJuV8iNbYDvE5BkWYvp"
    assert (episode.kind, episode.artist_name, episode.title) == ("episode", "Serial", "Pilot")
    assert (book.kind, book.artist_name, book.title) == ("audiobook", "Emma", "Chapter 1")


def test_an_audiobook_without_a_chapter_uri_has_that_of_the_book() -> None:
    whole = BOOK | {"audiobook_chapter_uri": None, "audiobook_uri": "spotify:show:1"}
    assert [x.spotify_uri for x in listens(rows("spotify", json.dumps([whole, BOOK | whole])))] == [
        "spotify:show:1"
    ] * 2
    nameless = whole | {"audiobook_chapter_title": None}
    assert refusals(rows("spotify", json.dumps([nameless]))) == [(1, "missing_title")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ts": None}, "missing_time"),
        ({"ts": "yesterday"}, "bad_time"),
        ({"ms_played": None}, "missing_ms_played"),
        ({"ms_played": 10**30}, "bad_ms_played"),
        ({"master_metadata_track_name": None}, "missing_title"),
        ({"master_metadata_album_artist_name": ""}, "missing_artist_name"),
        ({"master_metadata_album_artist_name": " \t"}, "missing_artist_name"),
        ({"master_metadata_album_artist_name": ["Björk"]}, "bad_artist_name"),
    ],
)
def test_a_bad_row_of_spotify_is_named_and_the_others_are_kept(change: dict[str, Any], reason: str) -> None:
    found = rows("spotify", json.dumps([SPOTIFY, SPOTIFY | change, EPISODE]))
    assert refusals(found) == [(2, reason)]
    assert len(listens(found)) == 2


def test_rows_before_a_break_are_kept() -> None:
    whole = json.dumps([SPOTIFY, EPISODE, BOOK])
    cut = rows("spotify", whole[: whole.index("Emma")])
    assert (len(listens(cut)), refusals(cut)) == (2, [(3, "broken_json")])
    latin = rows(
        "spotify", json.dumps([SPOTIFY, EPISODE], ensure_ascii=False).replace("Pilot", "Pilöt").encode("latin-1")
    )
    assert refusals(latin)[-1][1] == "bad_encoding"
    assert refusals(rows("spotify", "")) == [(1, "broken_json")]
    assert refusals(rows("spotify", '{"a": 1}')) == [(1, "no_rows")]
    assert refusals(rows("spotify", "[1]")) == [(1, "bad_row")]


def spoiled(format_name: str, spoil: str) -> bytes:
    """A JSON export of 11 rows, called `0` to `10`, of which the sixth is broken in one way."""
    if format_name == "spotify":
        made = [json.dumps(SPOTIFY | {"master_metadata_track_name": str(n)}) for n in range(11)]
        head, tail = "[", "]"
    else:
        made = [json.dumps(MALOJA | {"track": MALOJA["track"] | {"title": str(n)}}) for n in range(11)]
        head, tail = '{"maloja": {"export_time": 1}, "scrobbles": [', "]}"
    row = made[5].encode()
    made[5] = "HERE"
    whole = (head + ", ".join(made) + tail).encode()
    change = {
        "comma": row.replace(b", ", b" ", 1),
        "cut": row[: len(row) // 2],
        "quote": row.replace(b'"5"', b'5"'),
        "end quote": row.replace(b'"5"', b'"5'),
        "brace": row[:-1],
        "byte": row.replace(b"Bj", b"Bj\xff"),
        "nan": row.replace(b": null", b": NaN", 1),
        "depth": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "length": row.replace(b"5", b"5" * 1_500_000),
        "inner objects": row[:-1] + b', "more": [{"a": 1}, {"b": 2}] x}',
        "looks like an end": row.replace(b'"5"', b'"}, {"').replace(b": null", b": nil", 1),
        "nothing": b"",
    }[spoil]
    return whole.replace(b"HERE", change)


@pytest.mark.parametrize("format_name", ["spotify", "maloja"])
@pytest.mark.parametrize(
    "spoil",
    ["comma", "cut", "quote", "end quote", "brace", "byte", "nan", "depth", "length", "inner objects", "nothing"],
)
def test_a_broken_row_of_a_list_costs_itself_alone(format_name: str, spoil: str) -> None:
    found = rows(format_name, spoiled(format_name, spoil))
    assert [listen.title for listen in listens(found)] == [str(n) for n in range(11) if n != 5]
    reason = "bad_encoding" if spoil == "byte" else "broken_json"
    assert refusals(found) == ([] if spoil == "nothing" else [(6, reason)])


def test_what_only_looks_like_a_row_costs_no_other() -> None:
    found = rows("spotify", spoiled("spotify", "looks like an end"))
    assert [listen.title for listen in listens(found)] == [str(n) for n in range(11) if n != 5]
    assert {reason for _, reason in refusals(found)} == {"broken_json"}


@pytest.mark.parametrize(
    ("document", "good", "refused"),
    [
        ("[A, A][A, A]", 4, ["broken_json"]),
        ("[A A,, A,]", 3, []),
        ("[A, {A, A", 2, ["broken_json", "broken_json"]),
        ("A, A]", 1, ["broken_json"]),
        ("[A, A", 2, ["broken_json"]),
        ("[A], x", 1, ["broken_json"]),
    ],
)
def test_lists_that_do_not_close_or_open(document: str, good: int, refused: list[str]) -> None:
    found = rows("spotify", document.replace("A", json.dumps(SPOTIFY)))
    assert (len(listens(found)), [reason for _, reason in refusals(found)]) == (good, refused)


@given(st.integers(0, 10), st.data())
def test_a_spoiled_list_of_any_kind_keeps_the_rows_around(bad: int, data: st.DataObject) -> None:
    made = [json.dumps(SPOTIFY | {"master_metadata_track_name": str(n)}) for n in range(11)]
    whole = made[bad]
    start = data.draw(st.integers(1, len(whole) - 1))
    made[bad] = whole[:start] + data.draw(st.text('{}[]",: x\\', max_size=5)) + whole[start + 1 :]
    found = rows("spotify", "[" + ",".join(made) + "]")
    titles = [listen.title for listen in listens(found)]
    # A brace or bracket that is lost may swallow the next row, never more.
    assert len([title for title in titles if title in {str(n) for n in range(11) if n != bad}]) >= 9
    assert [row.number for row in found] == list(range(1, len(found) + 1))
    assert len(found) >= 10


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_exports_in_other_encodings(encoding: str) -> None:
    mark = "\ufeff" if encoding.startswith("utf-16-") else ""
    texts = {
        "spotify": json.dumps([SPOTIFY], ensure_ascii=False),
        "listenbrainz": json.dumps(BRAINZ, ensure_ascii=False) + "\n",
        "lastfm": "artist\ttrack\tdate\nBjörk\tJóga\t2024-03-01 12:00\n",
        "maloja": json.dumps({"scrobbles": [MALOJA]}, ensure_ascii=False),
    }
    for format_name, content in texts.items():
        (row,) = rows(format_name, (mark + content).encode(encoding))
        assert isinstance(row.outcome, Listen), row.outcome
        assert row.outcome.artist_name.startswith("Björk")
    cut = rows("lastfm", (mark + texts["lastfm"]).encode(encoding) + b"\xc3")
    assert (len(listens(cut)), refusals(cut)) == (1, [(3, "bad_encoding")])


def test_an_unclosed_quote_costs_its_line_alone() -> None:
    lines = [f"A,B,{n},01 Mar 2024 12:0{n}" for n in range(6)]
    lines[1] = 'A,"B,1,01 Mar 2024 12:01'
    lines[3] = 'A,"B ""live""",3,"01 Mar 2024, 12:03"'
    found = rows("lastfm", "\r\n".join(lines))
    assert [listen.title for listen in listens(found)] == ["0", "2", "3", "4", "5"]
    assert (refusals(found), listens(found)[2].release_title) == ([(2, "bad_row")], 'B "live"')
    long = rows("lastfm", "A,B,C,01 Mar 2024 12:00\n" + "x" * 2_500_000 + "\nA,B,C,01 Mar 2024 12:02\n")
    assert (len(listens(long)), refusals(long)) == (2, [(2, "bad_row")])


def test_a_broken_row_group_says_how_many_rows_it_costs() -> None:
    sink = io.BytesIO()
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(30)]
    at = pa.array([AT] * 30, pa.timestamp("ms"))
    table = pa.table({"listened_at": at, "artist_name": names, "recording_name": names})
    pq.write_table(table, sink, row_group_size=10, use_dictionary=False, compression="gzip")
    content = bytearray(sink.getvalue())
    column = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(1).column(1)
    place = column.data_page_offset
    content[place : place + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    found = rows("listenbrainz", bytes(content), name="1.parquet")
    assert [listen.title for listen in listens(found)] == names[:10] + names[20:]
    (bad,) = (row for row in found if isinstance(row.outcome, RejectedInputError))
    assert (bad.number, bad.unread) == (11, 9)
    assert "30 rows" in str(bad.outcome)


def test_a_dump_of_many_is_read_for_one() -> None:
    def taken(owner: Owner, *users: dict[str, object], name: str = "1.listens") -> list[bool]:
        content = "\n".join(json.dumps(BRAINZ | {"user_name": None} | user) for user in users)
        return [isinstance(row.outcome, Listen) for row in rows("listenbrainz", content, name=name, owner=owner)]

    alice, bob = {"user_name": "alice", "user_id": 1}, {"user_name": "bob", "user_id": 2}
    first = Owner()
    assert taken(first, {}, alice, bob) == [True, True, False]
    assert taken(first, bob, alice, {"user_id": 1}, {"user_id": 2}, {}) == [False, True, True, False, True]
    assert taken(Owner("Bob"), alice, bob, {}, {"user_name": "bob"}) == [False, True, False, True]
    # Dumps in Parquet have numbers alone; of rows with a name, the name counts.
    assert taken(Owner("2"), alice, bob, {"user_id": 2}, {"user_name": "2", "user_id": 9}) == [False, False, True, True]
    assert taken(Owner(), {"user_name": "alice"}, {"user_id": 1}) == [True, False], "nobody says that 1 is alice"


def test_listenbrainz_lines() -> None:
    other = BRAINZ | {"user_name": "b"}
    lines = [
        json.dumps(BRAINZ).encode(),
        b"{",
        b"",
        b'"\xff"',
        json.dumps(other).encode(),
        b"[]",
        b'{"user_name": "a"}',
        json.dumps(BRAINZ | {"track_metadata": {"artist_name": "Björk", "track_name": "half a pair \ud83d"}}).encode(),
        b'{"listened_at": ' + b"[" * 900 + b"]" * 900 + b', "track_metadata": {}}',
    ]
    found = rows("listenbrainz", b"\n".join(lines))
    (listen,) = listens(found)
    assert (listen.listened_at, listen.isrc, listen.ms_played) == (AT, "GBAYE9700001", 30_000)
    assert listen.recording_mbid is None, "a wrong id costs the id only"
    assert [reason for _, reason in refusals(found)] == [
        "broken_json", "bad_encoding", "other_user", "bad_row", "missing_track_metadata", "bad_title", "bad_time",
    ]  # fmt: skip


def test_the_export_of_a_listenbrainz_user() -> None:
    """PostgreSQL writes its moments with six decimals; what the mapping does not know is null."""
    track = BRAINZ["track_metadata"] | {"mbid_mapping": None, "recording_msid": "x"}
    track["additional_info"] = {"spotify_id": "https://open.spotify.com/track/6FJCJuV8iNbYDvE5BkWYvp"}
    line = json.dumps({"listened_at": "AT", "inserted_at": "AT", "track_metadata": track})
    (listen,) = listens(rows("listenbrainz", line.replace('"AT"', "1709294400.000000")))
    assert (listen.listened_at, listen.spotify_uri) == (AT, "spotify:track:6FJCJuV8iNbYDvE5BkWYvp")
    belongs = (
        "user.json",
        "listens/2024/3.jsonl",
        "feedback.jsonl",
        "pinned_recording.jsonl",
        "listens/2005/1.listens",
    )
    assert [name for name in belongs if wanted("listenbrainz", name)] == [
        "listens/2024/3.jsonl",
        "listens/2005/1.listens",
    ]


@pytest.mark.parametrize("stored", [pa.timestamp("us", "UTC"), pa.timestamp("ms")])
def test_listenbrainz_parquet(stored: pa.DataType) -> None:
    sink = io.BytesIO()
    table = pa.table(
        {
            "listened_at": pa.array([AT, AT, None], pa.timestamp("us", "UTC")).cast(stored),
            "user_id": [7, 8, 7],
            "artist_name": ["Björk", "Björk", "Björk"],
            "release_name": ["Homogenic", None, None],
            "recording_name": ["Jóga", "Jóga", "Jóga"],
            "recording_mbid": ["a5e4a8c7-1b5f-4b8e-9ae9-5b8bd0e6d1f0", None, None],
        }
    )
    pq.write_table(table, sink)
    found = rows("listenbrainz", sink.getvalue(), name="1.parquet")
    (listen,) = listens(found)
    assert (listen.listened_at, listen.recording_mbid) == (AT, "a5e4a8c7-1b5f-4b8e-9ae9-5b8bd0e6d1f0")
    assert refusals(found) == [(2, "other_user"), (3, "missing_time")]
    assert refusals(rows("listenbrainz", sink.getvalue()[:-9], name="1.parquet")) == [(1, "broken_parquet")]


def test_lastfm_with_and_without_header() -> None:
    with_header = (
        "uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid\n"
        '1709294400,"01 Mar 2024, 12:00",Björk,,Homogenic,,Jóga,\n'
    )
    assert [(x.listened_at, x.title, x.release_title) for x in listens(rows("lastfm", with_header))] == [
        (AT, "Jóga", "Homogenic")
    ]
    # Summer time begins in Stockholm on 31 March 2024 at two o'clock.
    without = (
        "Björk,Homogenic,Jóga,30 Mar 2024 12:00\nBjörk,,Jóga,31 Mar 2024 12:00\n".encode()
        + b"A,B,\xff,31 Mar 2024 12:00\nA,B,C\nA,B,C,soon\n"
    )
    found = rows("lastfm", without, zone=zone_of("Europe/Stockholm"))
    assert [f"{x.listened_at:%d %H}" for x in listens(found)] == ["30 11", "31 10"]
    assert refusals(found) == [(3, "bad_encoding"), (4, "missing_time"), (5, "bad_time")]
    with pytest.raises(RejectedInputError, match="Mars/Olympus"):
        zone_of("Mars/Olympus")


@pytest.mark.parametrize(
    "content",
    [
        # lastfmstats.com: semicolons, milliseconds, the user's name in the header
        '\ufeffArtist;Album;AlbumId;Track;Date#somebody\n"Björk";"Homo;genic";"";"Jóga";"1709294400000"\n',
        "date\tartist\ttrack\talbum\n2024-03-01T13:00:00+01:00\tBjörk\tJóga\tHomo;genic\n",
        "utc_time,artist,album,track\n2024-03-01 12:00:00,Björk,Homo;genic,Jóga\n",
        'Björk,Homo;genic,Jóga,"01 Mar 2024, 13:00:00"\n',
        'time,artist,album,track\n"01 Mar 2024, 13:00",Björk,Homo;genic,Jóga\n',
        "timestamp,artist,album,track\n1709294400,Björk,Homo;genic,Jóga\n",
    ],
)
def test_exporters_of_lastfm_differ_in_separators_and_times(content: str) -> None:
    (listen,) = listens(rows("lastfm", content, zone=zone_of("Europe/Stockholm")))
    assert (listen.listened_at, listen.artist_name, listen.title) == (AT, "Björk", "Jóga")
    assert listen.release_title == "Homo;genic"


@pytest.mark.parametrize("time", ["2024-03-01", "2024-13-01 12:00", "9" * 30, "²" * 13])
def test_what_is_no_moment_is_refused(time: str) -> None:
    assert refusals(rows("lastfm", f"artist,track,date\nBjörk,Jóga,{time}\n")) == [(2, "bad_time")]


def test_maloja() -> None:
    good, track = MALOJA, MALOJA["track"]
    bad = [good | {"time": None}, good | {"track": None}, good | {"track": track | {"artists": []}}]
    found = rows("maloja", json.dumps({"maloja": {"export_time": 1}, "scrobbles": [good, *bad]}))
    assert [(x.artist_name, x.title, x.release_title, x.ms_played) for x in listens(found)] == [
        ("Björk, Rosalía", "Oral", "Oral", 100_000)
    ]
    assert refusals(found) == [(2, "missing_time"), (3, "missing_track"), (4, "missing_artist_name")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"listened_at": datetime(2002, 9, 30, tzinfo=UTC)}, "time_before_2002"),
        ({"listened_at": NOW + timedelta(minutes=6)}, "time_in_future"),
        ({"ms_played": -1}, "bad_ms_played"),
        ({"ms_played": 86_400_001}, "bad_ms_played"),
    ],
)
def test_what_cannot_have_happened_is_refused(change: dict[str, Any], reason: str) -> None:
    check(LISTEN, NOW)
    with pytest.raises(RejectedInputError) as caught:
        check(replace(LISTEN, **change), NOW)
    assert caught.value.reason == reason


def test_a_record_fits_the_contract_and_its_id_is_that_of_the_listen() -> None:
    assert list(LISTEN.record(7, NOW)) == [column.name for column in load("topics.listens").columns]
    elsewhere = Listen("lastfm", AT + timedelta(microseconds=5), "BJÖRK", " jóga ")
    assert elsewhere.event_id(7) == LISTEN.event_id(7)
    assert elsewhere.event_id(8) != LISTEN.event_id(7)


@pytest.fixture
def index(tmp_path: Path) -> Iterable[Index]:
    with Index(tmp_path) as made:
        yield made


def judged(index: Index, source: str, given: Iterable[Listen]) -> list[bool]:
    """Which listens of an import are new, beside what `index` has."""
    seen, given = Seen(index, source), list(given)
    for listen in given:
        seen.expect(listen)
    seen.settle()
    return [seen.is_new(listen) for listen in given]


def heard(source: str, seconds: int, title: str = "Jóga", isrc: str | None = None) -> Listen:
    return Listen(source, AT + timedelta(seconds=seconds), "Björk", title, isrc=isrc)


def know(index: Index, listens: Iterable[Listen]) -> None:
    for listen in listens:
        index.add(Heard.of(listen.listened_at, listen.source, listen.recording_key, listen.isrc))


@pytest.mark.parametrize(
    ("source", "seconds", "title", "new"),
    [
        ("spotify", 0, "JÓGA", False),
        ("lastfm", 0, "Jóga", False),
        ("lastfm", TOLERANCE_S, "Jóga", False),
        ("lastfm", -TOLERANCE_S, "Jóga", False),
        ("lastfm", TOLERANCE_S + 1, "Jóga", True),
        ("lastfm", 0, "Bachelorette", True),
        ("spotify", 1, "Jóga", True),
    ],
)
def test_the_same_listen_of_another_service_is_a_duplicate(
    index: Index, source: str, seconds: int, title: str, new: bool
) -> None:
    know(index, [LISTEN])
    assert judged(index, source, [heard(source, seconds, title)]) == [new]


def test_a_known_listen_explains_one_other(index: Index) -> None:
    """Three loops of a track at one service, four at another: which order the rows have does not matter."""
    know(index, [heard("spotify", second) for second in (0, 70, 140)])
    loops = [heard("lastfm", second) for second in (55, 125, 195, 265)]
    assert judged(index, "lastfm", reversed(loops)) == [True, False, False, False]


def test_the_same_second_goes_before_a_near_one(index: Index) -> None:
    know(index, [heard("spotify", 70)])
    assert judged(index, "lastfm", [heard("lastfm", 60), heard("lastfm", 70)]) == [True, False]


def test_settling_tells_how_far_it_is(index: Index) -> None:
    know(index, [heard("spotify", 70)])
    seen, told = Seen(index, "lastfm"), []
    for second in (60, 70, 400):
        seen.expect(heard("lastfm", second))
    seen.settle(lambda *step: told.append(step))
    # One of three is judged when it is compared.
    assert told == [*(("compared", done, 3) for done in (1, 2, 3)), ("judged", 2, 3), ("judged", 3, 3)]


def test_the_same_isrc_is_the_same_recording(index: Index) -> None:
    know(index, [heard("spotify", 0, isrc="GBAYE9700001"), heard("spotify", 900)])
    given = [
        heard("listenbrainz", 30, "Jóga (Remastered)", "GBAYE9700001"),
        heard("listenbrainz", 30, "Jóga - Live", "GBAYE9700002"),
        heard("listenbrainz", 930, "Jóga", "GBAYE9700001"),
        heard("listenbrainz", 500, "One", "GBAYE9700003"),
        heard("listenbrainz", 500, "One (Remastered)", "GBAYE9700003"),
    ]
    *others, one, remastered = judged(index, "listenbrainz", given)
    assert (others, one + remastered) == ([False, True, False], 1)


def test_files_of_a_folder_and_of_a_zip_are_the_same(tmp_path: Path, index: Index) -> None:
    folder = tmp_path / "export" / "Spotify Extended Streaming History"
    folder.mkdir(parents=True)
    (folder / "Streaming_History_Audio_2024_1.json").write_text(json.dumps([SPOTIFY, SPOTIFY]))
    (folder / "endsong_0.json").write_text(json.dumps([EPISODE | {"ts": "1999-01-01T00:00:00Z"}, SPOTIFY]))
    (folder / "ReadMeFirst.json").write_text("no listens")
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for file in folder.iterdir():
            made.write(file, file.relative_to(tmp_path / "export"))
    in_folder, in_zip = files(tmp_path / "export", "spotify"), files(archive, "spotify")
    assert [(name, size) for name, _, size in in_folder] == [(name, size) for name, _, size in in_zip]
    reading = _Reading(in_zip, "spotify", UTC, None, NOW)
    seen, counts = Seen(index, "spotify"), Counts()
    for row in reading.rows(Counts(), lambda *_: None):
        if isinstance(row.outcome, Listen):
            seen.expect(row.outcome)
    seen.settle()
    for row in reading.rows(counts, lambda *_: None):
        _count(counts, row, seen)
    assert (counts.rows, counts.imported, counts.duplicates) == (4, 1, 2)
    assert counts.rejected == Counter(time_before_2002=1)
    (bad,) = counts.first_rejected
    assert (bad["file"], bad["row"]) == ("Spotify Extended Streaming History/endsong_0.json", 1)
    for path, words in ((tmp_path / "nothing", "no file or folder"), (folder, "no listens of lastfm")):
        with pytest.raises(FatalError, match=words):
            files(path, "lastfm")


MOMENTS = st.lists(st.integers(0, 500), max_size=7)


def most_explained(known: set[int], given: set[int]) -> int:
    """How many of `given` can be explained by one of `known` each, those of the same second by that."""
    left = known - given
    explained: dict[int, int] = {}

    def find(second: int, tried: set[int]) -> bool:
        for other in sorted(left):
            if abs(other - second) <= TOLERANCE_S and other not in tried:
                tried.add(other)
                if other not in explained or find(explained[other], tried):
                    explained[other] = second
                    return True
        return False

    return len(known & given) + sum(find(second, set()) for second in given - known)


@given(MOMENTS, MOMENTS, st.data())
def test_as_many_listens_as_can_be_are_explained_and_importing_again_adds_nothing(
    known_at: list[int], given_at: list[int], data: st.DataObject
) -> None:
    known = [heard("spotify", second) for second in known_at]
    given = [heard("lastfm", second) for second in given_at]
    with Index(None) as index:
        know(index, known)
        first = judged(index, "lastfm", given)
    sent = [listen for listen, is_new in zip(given, first, strict=True) if is_new]
    assert len(sent) == len(set(given_at)) - most_explained(set(known_at), set(given_at))
    assert len({listen.event_id(1) for listen in [*known, *sent]}) == len(set(known_at)) + len(sent)
    # In another order, and after an import that was killed when it had sent some: the rest is sent, and nothing else.
    arrived = data.draw(st.sets(st.sampled_from(sent))) if sent else set()
    with Index(None) as index:
        know(index, [*known, *arrived])
        again = data.draw(st.permutations(given))
        second = {x for x, is_new in zip(again, judged(index, "lastfm", again), strict=True) if is_new}
    assert second == set(sent) - arrived


RECORDINGS = st.tuples(st.integers(0, 300), st.sampled_from("ab"), st.sampled_from(["GBAYE9700001", None]))


@given(st.lists(RECORDINGS, max_size=5), st.lists(RECORDINGS, max_size=5), st.data())
def test_importing_again_adds_nothing_whatever_is_the_same_recording(
    known: list[tuple[int, str, str | None]], given_rows: list[tuple[int, str, str | None]], data: st.DataObject
) -> None:
    given = [heard("lastfm", *row) for row in given_rows]
    with Index(None) as index:
        know(index, [heard("spotify", *row) for row in known])
        first = judged(index, "lastfm", given)
    sent = [listen for listen, is_new in zip(given, first, strict=True) if is_new]
    arrived = data.draw(st.sets(st.sampled_from(sent))) if sent else set()
    with Index(None) as index:
        know(index, [*(heard("spotify", *row) for row in known), *arrived])
        second = [x for x, is_new in zip(given, judged(index, "lastfm", given), strict=True) if is_new]
    assert {x.event_id(1) for x in second} == {x.event_id(1) for x in sent} - {x.event_id(1) for x in arrived}


@given(st.binary(max_size=300), st.sampled_from(["spotify", "listenbrainz", "lastfm", "maloja"]))
def test_no_file_whatever_it_holds_stops_an_import(content: bytes, format_name: str) -> None:
    for name in ("f", "f.parquet"):
        for row in rows(format_name, content, name=name):
            assert isinstance(row.outcome, Listen | RejectedInputError)


class Endless(io.RawIOBase):
    """A file made while it is read, of a head, `rows` times a row, and a tail."""

    def __init__(self, head: str, row: str, rows: int, tail: str) -> None:
        self._left = itertools.chain([head.encode()], itertools.repeat(row.encode(), rows), [tail.encode()])
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while len(self._rest) < len(target) and (piece := next(self._left, None)) is not None:
            self._rest += piece
        given, self._rest = self._rest[: len(target)], self._rest[len(target) :]
        target[: len(given)] = given
        return len(given)


@pytest.mark.parametrize(
    ("format_name", "head", "row", "tail"),
    [
        ("spotify", "[" + json.dumps(SPOTIFY), "," + json.dumps(SPOTIFY), "]"),
        ("listenbrainz", "", json.dumps(BRAINZ) + "\n", ""),
        ("lastfm", "uts,artist,track\n", "1709294400,Björk,Jóga\n", ""),
        ("maloja", '{"scrobbles": [' + json.dumps(MALOJA), "," + json.dumps(MALOJA), "]}"),
    ],
)
def test_ten_times_the_rows_take_no_more_memory(format_name: str, head: str, row: str, tail: str) -> None:
    def peak(count: int) -> int:
        stream = io.BufferedReader(Endless(head, row, count, tail))
        tracemalloc.start()
        try:
            good = sum(isinstance(found.outcome, Listen) for found in read(format_name, stream, name="f"))
            assert good >= count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # what is made once: compiled patterns, imports
    assert peak(40_000) < 1.2 * peak(4_000)


def test_a_row_group_of_parquet_is_not_held_whole(tmp_path: Path) -> None:
    """Of one row group, four times as long, neither Python nor Arrow holds more at a time."""

    def peak(count: int) -> int:
        names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
        path = tmp_path / f"{count}.parquet"
        at = pa.array([AT] * count, pa.timestamp("ms"))
        pq.write_table(pa.table({"listened_at": at, "artist_name": names, "recording_name": names}), path)
        del at
        held, before = [], pa.total_allocated_bytes()
        tracemalloc.start()
        try:
            with path.open("rb") as stream:
                for row in read("listenbrainz", stream, name=path.name):
                    assert isinstance(row.outcome, Listen)
                    if row.number % 1000 == 0:
                        held.append(pa.total_allocated_bytes() - before)
            return max(held) + tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(100_000) < 1.2 * peak(25_000)
