"""Ranges of dates that statistics are asked for, named as ListenBrainz names them.

https://listenbrainz.readthedocs.io/en/latest/users/api/statistics.html: `week`, `month`, `quarter`, `half_yearly` and
`year` are the last whole ones before a day, `this_*` the ones the day is in, up to and with that day.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal, get_args

Range = Literal["week", "month", "quarter", "half_yearly", "year", "all_time", "this_week", "this_month", "this_year"]
NAMES: tuple[str, ...] = get_args(Range)
#: Months of the spans that are made of months.
MONTHS = {"month": 1, "quarter": 3, "half_yearly": 6, "year": 12}


def span(name: str, as_of: date) -> tuple[date | None, date]:
    """First and last date (inclusive) of range `name` seen from `as_of`; no first date is from the beginning.

    Raises:
        KeyError: there is no such range.
    """
    if name == "all_time":
        return None, as_of
    kind = name.removeprefix("this_")
    if name not in NAMES:
        raise KeyError(f"no range '{name}'")
    if kind == "week":
        start = as_of - timedelta(days=as_of.weekday())
        before = start - timedelta(days=7)
    else:
        months = MONTHS[kind]
        start = as_of.replace(month=(as_of.month - 1) // months * months + 1, day=1)
        back = start.year * 12 + start.month - 1 - months
        before = date(back // 12, back % 12 + 1, 1)
    return (start, as_of) if name.startswith("this_") else (before, start - timedelta(days=1))
