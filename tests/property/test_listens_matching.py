"""Listens and their recordings in the marts: matched as Python matches, and restated when a match changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from lakehouse.contracts import load
from lakehouse.domain.catalog.identifiers import name_key, recording_key, tidy
from lakehouse.domain.listening.imports import Listen
from tests import model_sql

AT = datetime(2026, 10, 1, 12, tzinfo=UTC)
#: Letters on which `lower`, `casefold` and the normal forms disagree: sharp s, sigmas, dotted i, ligatures, marks.
HARD = "ßẞSs ΣσςİIıiﬁﬀK\u212aÅ\u212b\u0345ᾳ\u1e9b\u0323ǅŉ\u200b\x85\x1c\u3000\t\x00"  # noqa: RUF001
NAMES = (st.text(st.sampled_from(HARD), max_size=4) | st.text(max_size=6)).map(lambda text: f"a{text}")
SPELLINGS = (str, str.upper, str.lower, str.casefold, str.swapcase, tidy, name_key, lambda name: f" {name}\t")


def contract_rows(name: str, *rows: dict[str, object]) -> pa.Table:
    """Rows of a contract's columns; what is not given is null."""
    schema = load(name).arrow_schema()
    return pa.Table.from_pylist(list(rows), schema=pa.schema([field.with_nullable(True) for field in schema]))


@given(NAMES, NAMES, st.sampled_from(SPELLINGS), st.sampled_from(SPELLINGS) | st.none())
@example("Straße", "ΟΔΟΣ", str.upper, str.lower)
def test_what_matches_in_python_matches_in_the_marts(artist, title, spelled, otherwise) -> None:  # type: ignore[no-untyped-def]
    listen = Listen("lastfm", AT, spelled(artist), otherwise(title) if otherwise else f"{title}b")
    tracks = contract_rows(
        "silver_audit.tracks",
        {"track_id": 1, "artist_name": artist, "title": title, "recording_key": recording_key(artist, title)},
        {"track_id": 2, "artist_name": "Another", "title": "One", "recording_key": recording_key("Another", "One")},
    )
    listens = contract_rows("silver_audit.listens", listen.record(7, AT))
    (matched,) = model_sql.rows("int_listens_matched", {"tracks": tracks, "listens": listens})
    same = recording_key(artist, title) == listen.recording_key
    assert matched["track_id"] == (1 if same else None)


#: ISRC, MusicBrainz id, artist and title, as a listen and an item of the catalogue have them.
Fields = tuple[str | None, str | None, str, str]
#: The catalogue by track_id.
Recordings = dict[int, Fields]
FIELDS = st.tuples(
    st.sampled_from(["I1", "I2", None]), st.sampled_from(["m1", "m2", None]), st.just("A"), st.sampled_from("abc")
)
#: What `int_tracks_before` has of a catalogue.
MATCHED_BY = ["track_id", "isrc", "recording_mbid", "recording_key"]
CATALOGUES = st.dictionaries(st.integers(1, 4), FIELDS, max_size=4)


def tracks_of(recordings: Recordings) -> pa.Table:
    return contract_rows(
        "silver_audit.tracks",
        *(
            {"track_id": id_, "isrc": isrc, "recording_mbid": mbid, "artist_name": a, "title": t}
            | {"recording_key": recording_key(a, t)}
            for id_, (isrc, mbid, a, t) in recordings.items()
        ),
    )


def heard_as(fields: Fields, at: datetime = AT) -> dict[str, object]:
    isrc, mbid, artist, title = fields
    return Listen("lastfm", at, artist, title, isrc=isrc, recording_mbid=mbid).record(7, AT)


@given(FIELDS, CATALOGUES)
@example(("I1", "m1", "A", "a"), {1: (None, None, "A", "a"), 2: (None, "m1", "A", "b"), 3: ("I1", None, "A", "c")})
@example(("I1", "m1", "A", "a"), {1: (None, None, "A", "a"), 3: (None, "m1", "A", "b"), 2: ("I2", "m1", "A", "c")})
def test_a_listen_is_matched_by_isrc_then_musicbrainz_id_then_names(fields: Fields, recordings: Recordings) -> None:
    """Of several recordings that one of them names it is the one with the least track_id."""
    isrc, mbid, *names = fields
    expected = next(
        (
            min(found)
            for found in (
                [id_ for id_, known in recordings.items() if known[0] == isrc is not None],
                [id_ for id_, known in recordings.items() if known[1] == mbid is not None],
                [id_ for id_, known in recordings.items() if [*known[2:]] == names],
            )
            if found
        ),
        None,
    )
    listens = contract_rows("silver_audit.listens", heard_as(fields))
    (matched,) = model_sql.rows("int_listens_matched", {"tracks": tracks_of(recordings), "listens": listens})
    assert matched["track_id"] == expected


def mart(listens: pa.Table, recordings: Recordings, condition: str = "true") -> list[Any]:
    """Rows of listener_recordings_daily on the days that fulfil `condition`."""
    plays = contract_rows("silver_audit.plays")
    tables = {"tracks": tracks_of(recordings), "listens": listens, "plays": plays}
    views = ("int_listens_matched", "int_listening")
    return model_sql.rows("listener_recordings_daily", tables, views=views, touched=lambda _: condition)


@given(st.lists(FIELDS, max_size=6), st.lists(CATALOGUES, min_size=2, max_size=4))
@example([("I1", None, "A", "b")], [{}, {1: ("I1", None, "A", "c")}])
@example([(None, "m1", "A", "b")], [{1: (None, None, "A", "c")}, {1: (None, "m1", "A", "c")}])
# a run whose audit failed has filled the mart by a catalogue that was then taken back
@example([("I1", None, "A", "b")], [{}, {1: ("I1", None, "A", "c")}, {}])
def test_a_run_restates_the_days_of_listens_whose_recording_came_or_went(
    heard: list[Fields], catalogues: list[Recordings]
) -> None:
    records = []
    for number, fields in enumerate(heard):
        at = AT + timedelta(days=number)
        records.append(heard_as(fields, at) | {"listened_on": at.date()})
    listens = contract_rows("silver_audit.listens", *records)
    built = mart(listens, catalogues[0])
    for run in range(1, len(catalogues)):
        before = pa.concat_tables([tracks_of(recordings).select(MATCHED_BY) for recordings in catalogues[:run]])
        tables = {"tracks": tracks_of(catalogues[run]), "int_tracks_before": before, "listens": listens}
        found = model_sql.rows("int_listens_rematched", tables, var=lambda name, run=run: [0] * run)
        days: set[date] = {row["listened_on"] for row in found}
        restated = ", ".join(f"date '{day}'" for day in days) or "null"
        built = [row for row in built if row["listened_on"] not in days]
        built += mart(listens, catalogues[run], f"listened_on in ({restated})")
    anew = mart(listens, catalogues[-1])
    assert sorted(built, key=str) == sorted(anew, key=str)


def test_a_day_without_a_change_of_its_recordings_is_left_alone() -> None:
    records = [
        Listen("lastfm", AT + timedelta(days=day), "A", title).record(7, AT) | {"listened_on": date(2026, 10, 1 + day)}
        for day, title in enumerate(("known", "late", "never"))
    ]
    known: Recordings = {1: (None, None, "A", "known")}
    tables = {
        "listens": contract_rows("silver_audit.listens", *records),
        "tracks": tracks_of(known | {2: (None, None, "A", "late")}),
        "int_tracks_before": tracks_of(known).select(MATCHED_BY),
    }
    rows = model_sql.rows("int_listens_rematched", tables, var=lambda name: [0])
    assert [row["listened_on"] for row in rows] == [date(2026, 10, 2)]
    unknown = model_sql.rows("int_listens_rematched", tables, var=lambda name: [])
    assert len(unknown) == len(records)
