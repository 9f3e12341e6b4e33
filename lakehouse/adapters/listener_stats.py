"""What a listener heard most, from `gold.listener_recordings_daily`: streams here and listens of other services."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from lakehouse.adapters import trino
from lakehouse.config.settings import Settings
from lakehouse.domain.listening.ranges import span
from lakehouse.errors import FatalError

TABLE = "lake.gold.listener_recordings_daily"
MEASURES = "sum(streams) as streams, sum(listens) as listens, sum(ms_played) as ms_played"
#: The columns of each ranking; rows without the last one are left out.
RANKINGS = {
    "artists": ("artist_name",),
    "recordings": ("artist_name", "title"),
    "releases": ("artist_name", "release_title"),
}


@dataclass(frozen=True)
class Stats:
    """Rankings and activity of one listener over dates (UTC, inclusive); `first` is None for all time."""

    user_id: int
    range: str
    first: date | None
    last: date
    rankings: dict[str, list[dict[str, Any]]]
    activity: list[dict[str, Any]]


def newest_day(settings: Settings) -> date:
    """The last UTC date on which anybody heard anything.

    Raises:
        FatalError: nothing is published yet.
        RetryableError: Trino does not answer.
    """
    found: date | None = trino.query(settings, f"select max(listened_on) from {TABLE}").rows[0][0]  # noqa: S608
    if found is None:
        raise FatalError("Nothing that was heard is published yet.", hint="Run the DAG transform_plays.")
    return found


def stats(settings: Settings, user_id: int, range_name: str, *, as_of: date | None, limit: int) -> Stats:
    """Statistics of `user_id` over `range_name` (see `lakehouse.domain.listening.ranges`), seen from `as_of`
    (default: the newest day of the data). What was heard more often comes first; ties by name.

    Raises:
        FatalError: nothing is published yet.
        RetryableError: Trino does not answer.
    """
    first, last = span(range_name, as_of or newest_day(settings))
    where = "where user_id = ? and listened_on between ? and ?"
    parameters = (user_id, first or date(1970, 1, 1), last)

    def ranking(columns: tuple[str, ...]) -> list[dict[str, Any]]:
        names = ", ".join(columns)
        # A release or an artist in two spellings stays two; recordings are one by their key.
        key = "recording_key" if columns[-1] == "title" else names
        shown = ", ".join(f"min({name}) as {name}" for name in columns)
        sql = (
            f"select * from (select {shown}, {MEASURES} from {TABLE} {where} and {columns[-1]} is not null "  # noqa: S608
            f"group by {key}) order by streams + listens desc, {', '.join(reversed(columns))} limit {limit:d}"
        )
        return trino.query(settings, sql, parameters).dicts()

    days = f"select listened_on, {MEASURES} from {TABLE} {where} group by listened_on order by listened_on"  # noqa: S608
    return Stats(
        user_id=user_id,
        range=range_name,
        first=first,
        last=last,
        rankings={name: ranking(columns) for name, columns in RANKINGS.items()},
        activity=trino.query(settings, days, parameters).dicts(),
    )
