"""Ranges of statistics: whole ones before a day, and the ones it is in."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.domain.listening.ranges import NAMES, span

DAY = date(2026, 11, 25)  # a Wednesday


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("week", date(2026, 11, 16), date(2026, 11, 22)),
        ("month", date(2026, 10, 1), date(2026, 10, 31)),
        ("quarter", date(2026, 7, 1), date(2026, 9, 30)),
        ("half_yearly", date(2026, 1, 1), date(2026, 6, 30)),
        ("year", date(2025, 1, 1), date(2025, 12, 31)),
        ("all_time", None, DAY),
        ("this_week", date(2026, 11, 23), DAY),
        ("this_month", date(2026, 11, 1), DAY),
        ("this_year", date(2026, 1, 1), DAY),
    ],
)
def test_ranges_seen_from_a_day(name: str, first: date | None, last: date) -> None:
    assert span(name, DAY) == (first, last)


def test_unknown_ranges_are_refused() -> None:
    for name in ("decade", "this_all_time", "this_quarter"):
        with pytest.raises(KeyError):
            span(name, DAY)


@given(st.dates(date(2003, 1, 1), date(2100, 1, 1)), st.sampled_from([n for n in NAMES if n != "all_time"]))
def test_a_whole_range_ends_where_the_present_one_starts(day: date, name: str) -> None:
    first, last = span(name, day)
    assert first is not None
    assert first <= last <= day
    if f"this_{name}" in NAMES:
        assert span(f"this_{name}", day)[0] == last + timedelta(days=1)
