"""The file of labels: what is used, and what is said of every other row."""

from __future__ import annotations

import pytest

from lakehouse.domain.audio.labels import Known, Labelled, parse
from lakehouse.errors import RejectedInputError

TRACKS = [
    Known(1, "SE6XX2600001", True),
    Known(2, "SE6XX2600002", True),
    Known(3, "SE6XX2600003", False),
    Known(4, "SE6XX2600004", True),
    Known(5, "SE6XX2600004", True),
    Known(6, None, True),
]


def read(text: str) -> tuple[list[Labelled], list[RejectedInputError]]:
    return parse(text, name="moods.csv", tracks=TRACKS)


def test_rows_by_track_id() -> None:
    assert read("track_id,label\n1,Ambient\n2, Metal \n\n6,Ambient\n") == (
        [Labelled(1, "Ambient"), Labelled(2, "Metal"), Labelled(6, "Ambient")],
        [],
    )


def test_rows_by_isrc_with_other_columns_and_a_byte_order_mark() -> None:
    used, rejected = read('\ufefftitle,label,isrc\n"Rain, again",Ambient,se-6xx-26-00001\nNight,Metal,SE6XX2600002\n')
    assert used == [Labelled(1, "Ambient"), Labelled(2, "Metal")]
    assert rejected == []


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ("2,Metal,more", "row", "bad_row"),
        ("2", "row", "bad_row"),
        ("two,Metal", "track_id", "bad_track_id"),
        ("-2,Metal", "track_id", "bad_track_id"),
        ("2,", "label", "empty_label"),
        (f"2,{'x' * 65}", "label", "bad_label"),
        ("2,Me\x07tal", "label", "bad_label"),
        ("99,Metal", "track_id", "unknown_track"),
        ("3,Metal", "track_id", "no_features"),
        ("1,Ambient", "label", "duplicate_row"),
        ("1,Metal", "label", "contradiction"),
        ("2,AMBIENT", "label", "label_spelling"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_used(row: str, field: str, reason: str) -> None:
    used, [bad] = read(f"track_id,label\n1,Ambient\n{row}\n6,Ambient\n")
    assert used == [Labelled(1, "Ambient"), Labelled(6, "Ambient")]
    assert bad.reason == reason
    assert bad.message.startswith(f"moods.csv, row 3, {field}: ")
    assert bad.hint


@pytest.mark.parametrize(("isrc", "reason"), [("SE6", "bad_isrc"), ("SE6XX2600004", "ambiguous_isrc")])
def test_an_isrc_names_one_track(isrc: str, reason: str) -> None:
    used, [bad] = read(f"isrc,label\n{isrc},Metal\n")
    assert (used, bad.reason, bad.value) == ([], reason, isrc)


def test_an_accent_may_be_written_either_way() -> None:
    used, rejected = read("track_id,label\n1,Musique conc\u00e8te\n2,Musique conce\u0300te\n")
    assert {labelled.label for labelled in used} == {"Musique conc\u00e8te"}
    assert rejected == []


@pytest.mark.parametrize(
    "text",
    ["", "1,Ambient\n", "track_id\n1\n", "isrc,track_id,label\n", "track_id,label,label\n", "track_id;label\n1;A\n"],
)
def test_a_file_without_its_columns_is_refused(text: str) -> None:
    with pytest.raises(RejectedInputError, match=r"moods\.csv, row 1, header") as caught:
        read(text)
    assert caught.value.reason == "bad_header"


def test_a_file_with_an_open_quote_is_refused() -> None:
    with pytest.raises(RejectedInputError, match=r"moods\.csv, row 3") as caught:
        read('track_id,label\n1,Ambient\n2,"Metal\n')
    assert caught.value.reason == "bad_csv"
