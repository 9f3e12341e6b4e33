"""A listen is matched in the marts exactly when Python says that it is of the same recording."""

from __future__ import annotations

from datetime import UTC, datetime

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
