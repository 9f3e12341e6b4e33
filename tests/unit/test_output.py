"""What commands print for people: data stays data, and nothing of it is cut off."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lakehouse.cli.output import Output, duration


def test_a_table_shows_all_of_what_it_is_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    address = "s3://playback/" + "0123456789abcdef" * 4
    Output().table("01 Song [/live].ogg", ["age [s]", "address"], [("[live]", address)])
    shown = capsys.readouterr().out
    assert "01 Song [/live].ogg" in shown
    assert "age [s]" in shown
    assert "[live]" in shown
    cells = [line.split("│")[2].strip() for line in shown.splitlines() if line.startswith("│")]
    assert "".join(cells) == address


@pytest.mark.parametrize(
    ("span", "shown"),
    [
        (timedelta(milliseconds=999), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=1, seconds=1), "1 min 1 s"),
        (timedelta(hours=3, minutes=12, seconds=59), "3 h 12 min"),
        (timedelta(hours=23, seconds=5), "23 h"),
        (timedelta(days=7), "7 d"),
        (timedelta(days=1000, hours=2), "1,000 d 2 h"),
    ],
)
def test_a_span_of_time_is_shown_in_its_two_largest_units(span: timedelta, shown: str) -> None:
    assert duration(span) == shown
