"""ClickHouse, database `live`: the newest totals of every minute, written by the window loader, read by everyone.

A row holds what one listener did with one track (or saw of one campaign) in one minute. Every longer window is made of
such rows at the time of the query, so that its distinct listeners are exact whatever its width, its step and what it
is about (docs/adr/0006-windows-are-queries.md).

A row is replaced by the row of the same key with a higher `version` (the Kafka offset). Every read says FINAL, so that
it counts each window once, merged or not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pyarrow as pa

from lakehouse.config.settings import Settings
from lakehouse.contracts import Contract, all_ids, load
from lakehouse.errors import FatalError, RetryableError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DATABASE = "live"
User = Literal["loader", "reader"]
HINT = "`wavehouse status` shows whether it runs; `wavehouse logs clickhouse` says why not."
#: Server errors that pass: can't write or close a file, too many queries, timeout, network, memory, no space on the
#: disk, too many parts, cancelled at a stop.
PASSING_CODES = frozenset({75, 77, 159, 202, 209, 210, 241, 243, 252, 394})
#: Half an hour without anything heard ends a session, the convention of web analytics (Google Analytics' default).
SESSION_GAP = timedelta(minutes=30)
#: Longer ones are rejected (lakehouse/domain/listening/rules.yaml), so what began earlier than that is over.
LONGEST_PLAY = timedelta(days=1)
#: Of rows in a ranking, where none is asked for: more than ClickHouse could send.
NO_LIMIT = 2**32 - 1
T = TypeVar("T")


@dataclass(frozen=True)
class MinuteCounts:
    """Totals of one event-time minute of a track, over countries. `window_start` is UTC."""

    window_start: datetime
    plays: int
    streams: int
    bot_plays: int
    listeners: int
    ms_played: int


@dataclass(frozen=True)
class DayCounts:
    """Totals of one UTC day (of `played_at`), over countries and, unless one was asked for, tracks."""

    played_on: date
    plays: int
    streams: int
    bot_plays: int
    ms_played: int


@dataclass(frozen=True)
class TrackCounts:
    """Totals of a track in a range of time."""

    track_id: int
    plays: int
    streams: int


@dataclass(frozen=True)
class CountryCounts:
    """Totals of a country (ISO 3166-1 alpha-2) in a range of time."""

    country: str
    plays: int
    streams: int
    listeners: int


@dataclass(frozen=True)
class CampaignCounts:
    """Totals of a campaign in a range of time; cost 1e-6 of a currency."""

    campaign_id: int
    impressions: int
    listeners: int
    cost_micros: int


@dataclass(frozen=True)
class WindowCounts:
    """Totals of the plays in one window of event time. `window_start` is UTC, `late_plays` are among the `plays`."""

    window_start: datetime
    plays: int
    streams: int
    bot_plays: int
    late_plays: int
    listeners: int
    ms_played: int


@dataclass(frozen=True)
class AdWindowCounts:
    """Totals of the impressions in one window of event time. `window_start` is UTC, cost 1e-6 of a currency."""

    window_start: datetime
    impressions: int
    late_impressions: int
    listeners: int
    cost_micros: int


@dataclass(frozen=True)
class Sessions:
    """Sessions in a range of event time: plays of a listener of which none starts long after the others have ended."""

    sessions: int
    listeners: int
    plays: int
    ms_played: int


@dataclass(frozen=True)
class WindowState:
    """What has been loaded: newest window (UTC), number of windows, and the highest offset by Kafka partition."""

    newest_window_start: datetime | None
    windows: int
    offsets: dict[int, int]


def connect(settings: Settings, user: User) -> Client:
    """A client that may be shared by threads (it keeps no session).

    Raises:
        RetryableError: ClickHouse does not answer.
        FatalError: it does not know the password.
    """
    import clickhouse_connect

    endpoint = settings.clickhouse
    password = endpoint.loader_password if user == "loader" else endpoint.reader_password
    with translated_errors(endpoint.address):
        return clickhouse_connect.get_client(
            host=endpoint.host,
            port=endpoint.port,
            username=user,
            password=password.get_secret_value(),
            autogenerate_session_id=False,
            connect_timeout=5,
            send_receive_timeout=300,
            query_retries=0,
        )


@contextmanager
def translated_errors(address: str) -> Iterator[None]:
    """Errors of the client as ours: those that pass are retryable, refusals are fatal."""
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (ClickHouseError, HTTPError, OSError) as error:
        text = str(error).strip().splitlines()[0][:400] if str(error).strip() else repr(error)
        code = getattr(error, "code", None)
        if code is None or code in PASSING_CODES:
            raise RetryableError(f"ClickHouse at {address} does not answer: {text}", hint=HINT) from error
        hint = "The passwords are in secrets.toml of the profile." if code == 516 else HINT  # noqa: PLR2004
        raise FatalError(f"ClickHouse: {text}", hint=hint) from error


def contracts() -> list[Contract]:
    """Contracts of the tables of `live`."""
    return [load(contract_id) for contract_id in all_ids() if contract_id.startswith(f"{DATABASE}.")]


@dataclass(frozen=True)
class _Slide:
    """Where the windows of a query lie."""

    start: datetime
    end: datetime
    width: timedelta
    step: timedelta
    countries: Sequence[str] | None

    def parameters(self) -> dict[str, Any]:
        """Query parameters.

        Raises:
            FatalError: width or step can't be answered from minutes.
        """
        minute = timedelta(minutes=1)
        if self.width % minute or self.step % minute or not minute <= self.step <= self.width:
            raise FatalError(
                f"Windows of {self.width} every {self.step} can't be made of minutes.",
                hint="Width and step are whole minutes, and the step is at least one and no longer than the window.",
            )
        return {
            "start": _utc(self.start),
            "end": _utc(self.end),
            "width_s": int(self.width.total_seconds()),
            "step_s": int(self.step.total_seconds()),
            "everywhere": self.countries is None,
            "countries": list(self.countries or ()),
        }


class LiveTables:
    """The loader's side: creates the tables, inserts windows, knows how far it has come."""

    def __init__(self, settings: Settings) -> None:
        """Connects as `loader`; errors as of `connect`."""
        self._address = settings.clickhouse.address
        self._client = connect(settings, "loader")

    def create(self) -> None:
        """Create the database and its tables from their contracts; what exists is left alone."""
        self._command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        for contract in contracts():
            self._command(contract.clickhouse_ddl())

    def drop(self) -> None:
        """Remove the tables with all windows; made again, they are other tables (see `identity`)."""
        for contract in contracts():
            self._command(f"DROP TABLE IF EXISTS {DATABASE}.{contract.name} SYNC")

    def identity(self) -> dict[str, str]:
        """The id that ClickHouse gave each table when it was created; a table made anew has another one."""
        with translated_errors(self._address):
            rows = self._client.query(
                "SELECT name, toString(uuid) FROM system.tables WHERE database = {database:String}",
                parameters={"database": DATABASE},
            ).result_rows
        return {str(name): str(uuid) for name, uuid in rows}

    def offsets(self, table: str) -> dict[int, int]:
        """Highest Kafka offset by partition whose row is in `table`. Replaced rows never hold the highest one."""
        with translated_errors(self._address):
            rows = self._client.query(
                f"SELECT kafka_partition, max(version) FROM {DATABASE}.{table} GROUP BY kafka_partition"  # noqa: S608
            ).result_rows
        return {int(partition): int(offset) for partition, offset in rows}

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert `rows` as one part: all of them or, if anything fails or dies, none.

        One part is what makes the highest offset a safe place to go on from. It holds because the tables are not
        partitioned and the batch is one block, far below the engine's limit of a million rows; an insert into a
        table that was partitioned after all is refused by the engine (max_partitions_per_insert_block).
        """
        with translated_errors(self._address):
            self._client.insert_arrow(
                table,
                rows.combine_chunks(),
                database=DATABASE,
                settings={"max_partitions_per_insert_block": 1, "throw_on_max_partitions_per_insert_block": 1},
            )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _command(self, sql: str) -> None:
        with translated_errors(self._address):
            self._client.command(sql)


class LiveCounts:
    """The readers' side. Times are UTC; ranges include their start and not their end. Safe to share between threads.

    Every method raises RetryableError when ClickHouse does not answer or is too busy, FatalError when it refuses.
    """

    def __init__(self, settings: Settings, *, user: User = "reader") -> None:
        """Connects at the first query."""
        self._settings = settings
        self._user: User = user
        self._client: Client | None = None
        self._lock = threading.Lock()

    def minutes(self, track_id: int, start: datetime, end: datetime) -> list[MinuteCounts]:
        """Minutes of a track with at least one play, in order."""
        return self._rows(
            """
            SELECT window_start, sum(plays), sum(streams), sum(bot_plays), uniqExact(user_id), sum(ms_played)
            FROM live.play_minutes FINAL
            WHERE track_id = {track_id:Int64} AND plays > 0
              AND window_start >= {start:DateTime64(6, 'UTC')} AND window_start < {end:DateTime64(6, 'UTC')}
            GROUP BY window_start ORDER BY window_start
            """,
            {"track_id": track_id, "start": _utc(start), "end": _utc(end)},
            lambda moment, *counts: MinuteCounts(_aware(moment), *counts),
        )

    def top(
        self, start: datetime, end: datetime, *, country: str | None = None, limit: int | None = 10
    ) -> list[TrackCounts]:
        """Tracks with the most streams (without a limit all that were played), in one country (ISO 3166-1 alpha-2) or
        all; of equals the lowest id first.
        """
        return self._rows(
            """
            SELECT track_id, sum(plays), sum(streams) AS total_streams
            FROM live.play_minutes FINAL
            WHERE window_start >= {start:DateTime64(6, 'UTC')} AND window_start < {end:DateTime64(6, 'UTC')}
              AND ({country:String} = '' OR country = {country:String})
            GROUP BY track_id HAVING sum(plays) > 0 ORDER BY total_streams DESC, track_id LIMIT {limit:UInt32}
            """,
            {"start": _utc(start), "end": _utc(end), "country": country or "", "limit": limit or NO_LIMIT},
            TrackCounts,
        )

    def top_countries(self, start: datetime, end: datetime, *, limit: int = 10) -> list[CountryCounts]:
        """Countries with the most streams, with their distinct listeners; of equals the first in the alphabet first."""
        return self._rows(
            """
            SELECT country, sum(plays), sum(streams) AS total_streams, uniqExact(user_id)
            FROM live.play_minutes FINAL
            WHERE window_start >= {start:DateTime64(6, 'UTC')} AND window_start < {end:DateTime64(6, 'UTC')}
              AND plays > 0
            GROUP BY country ORDER BY total_streams DESC, country LIMIT {limit:UInt32}
            """,
            {"start": _utc(start), "end": _utc(end), "limit": limit},
            CountryCounts,
        )

    def top_campaigns(
        self, start: datetime, end: datetime, *, country: str | None = None, limit: int = 10
    ) -> list[CampaignCounts]:
        """Campaigns with the most impressions, in one country or all; of equals the lowest id first."""
        return self._rows(
            """
            SELECT campaign_id, sum(impressions) AS total_impressions, uniqExact(user_id), sum(cost_micros)
            FROM live.ad_minutes FINAL
            WHERE window_start >= {start:DateTime64(6, 'UTC')} AND window_start < {end:DateTime64(6, 'UTC')}
              AND impressions > 0 AND ({country:String} = '' OR country = {country:String})
            GROUP BY campaign_id ORDER BY total_impressions DESC, campaign_id LIMIT {limit:UInt32}
            """,
            {"start": _utc(start), "end": _utc(end), "country": country or "", "limit": limit},
            CampaignCounts,
        )

    def days(self, first: date, last: date, *, track_id: int | None = None) -> list[DayCounts]:
        """UTC days from `first` to `last`, both included, with at least one play; of one track or of all."""
        return self._rows(
            """
            SELECT toDate(window_start, 'UTC') AS played_on, sum(plays), sum(streams), sum(bot_plays), sum(ms_played)
            FROM live.play_minutes FINAL
            WHERE window_start >= {first:Date} AND window_start < addDays({last:Date}, 1)
              AND ({every_track:Bool} OR track_id = {track_id:Int64})
            GROUP BY played_on HAVING sum(plays) > 0 ORDER BY played_on
            """,
            {"first": first, "last": last, "every_track": track_id is None, "track_id": track_id or 0},
            DayCounts,
        )

    def windows(
        self,
        start: datetime,
        end: datetime,
        *,
        width: timedelta,
        step: timedelta | None = None,
        track_ids: Sequence[int] | None = None,
        countries: Sequence[str] | None = None,
    ) -> list[WindowCounts]:
        """Windows of `width` that begin every `step` (default: where the last one ends) and lie within the range, with
        at least one play, in order: of some tracks (an artist's, say) or all, in some countries (a region's) or all.

        Windows begin at multiples of `step` since 1970 in UTC. Both are whole minutes; a step is no longer than its
        window.

        Raises:
            FatalError: width or step are not such.
        """
        return self._windows(
            "play_minutes",
            "sum(plays), sum(streams), sum(bot_plays), sum(late_plays), uniqExact(user_id), sum(ms_played)",
            "plays > 0 AND ({every_track:Bool} OR track_id IN {track_ids:Array(Int64)})",
            {"every_track": track_ids is None, "track_ids": list(track_ids or ())},
            _Slide(start, end, width, step or width, countries),
            WindowCounts,
        )

    def ad_windows(
        self,
        start: datetime,
        end: datetime,
        *,
        width: timedelta,
        step: timedelta | None = None,
        campaign_id: int | None = None,
        countries: Sequence[str] | None = None,
    ) -> list[AdWindowCounts]:
        """As `windows`, of the impressions of a campaign or of all."""
        return self._windows(
            "ad_minutes",
            "sum(impressions), sum(late_impressions), uniqExact(user_id), sum(cost_micros)",
            "impressions > 0 AND ({every_campaign:Bool} OR campaign_id = {campaign_id:Int64})",
            {"every_campaign": campaign_id is None, "campaign_id": campaign_id or 0},
            _Slide(start, end, width, step or width, countries),
            AdWindowCounts,
        )

    def sessions(
        self, start: datetime, end: datetime, *, country: str | None = None, gap: timedelta = SESSION_GAP
    ) -> Sessions:
        """Sessions that begin in the range, each as a whole, made of the plays in one country or all.

        A session ends where nothing is heard for longer than `gap`. A play is taken to begin with its minute and to be
        heard for its `ms_played`. Plays of a day before the range are read, so that none that goes on is taken for a
        new one, and of a day after it: a session is cut only where it is still going on then.
        """
        [found] = self._rows(
            """
            SELECT count(), uniqExact(user_id), sum(session_plays), sum(session_ms_played)
            FROM (
              SELECT user_id, min(began) AS session_began, sum(user_plays) AS session_plays,
                sum(user_ms_played) AS session_ms_played
              FROM (
                SELECT *, sum(is_first) OVER (PARTITION BY user_id ORDER BY began ROWS UNBOUNDED PRECEDING) AS session
                FROM (
                  SELECT *, began - max(ended) OVER (
                    PARTITION BY user_id ORDER BY began ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                  ) > {gap_ms:Int64} AS is_first
                  FROM (
                    SELECT user_id, toUnixTimestamp64Milli(window_start) AS began, max(began + ms_played) AS ended,
                      sum(plays) AS user_plays, sum(ms_played) AS user_ms_played
                    FROM live.play_minutes FINAL
                    WHERE plays > 0 AND ({country:String} = '' OR country = {country:String})
                      AND window_start >= {first:DateTime64(6, 'UTC')} AND window_start < {last:DateTime64(6, 'UTC')}
                    GROUP BY user_id, window_start
                  )
                )
              )
              GROUP BY user_id, session
            )
            WHERE session_began >= toUnixTimestamp64Milli({start:DateTime64(6, 'UTC')})
              AND session_began < toUnixTimestamp64Milli({end:DateTime64(6, 'UTC')})
            """,
            {
                "start": _utc(start),
                "end": _utc(end),
                "first": _utc(start - LONGEST_PLAY - gap),
                "last": _utc(end + LONGEST_PLAY),
                "country": country or "",
                "gap_ms": gap // timedelta(milliseconds=1),
            },
            Sessions,
        )
        return found

    def late(self) -> dict[str, int]:
        """Events counted so far that came an hour or more after their own time, by live table."""
        return {
            table: self._rows(f"SELECT sum({measure}) FROM live.{table} FINAL", {}, int)[0]  # noqa: S608 - names of ours
            for table, measure in (("play_minutes", "late_plays"), ("ad_minutes", "late_impressions"))
        }

    def _windows(
        self, table: str, measures: str, where: str, parameters: dict[str, Any], slide: _Slide, make: Callable[..., T]
    ) -> list[T]:
        """A row belongs to every window that begins in the `width` up to its minute."""
        return self._rows(
            f"""
            SELECT toDateTime64(window, 6, 'UTC') AS began, {measures}
            FROM (
              SELECT *, toInt64(toUnixTimestamp(window_start)) AS minute,
                (intDiv(minute - {{width_s:Int64}}, {{step_s:Int64}}) + 1) * {{step_s:Int64}} AS first,
                arrayJoin(range(first, minute + 1, {{step_s:Int64}})) AS window
              FROM live.{table} FINAL
              WHERE {where} AND ({{everywhere:Bool}} OR country IN {{countries:Array(String)}})
                AND window_start >= {{start:DateTime64(6, 'UTC')}} AND window_start < {{end:DateTime64(6, 'UTC')}}
            )
            WHERE toDateTime64(window, 6, 'UTC') >= {{start:DateTime64(6, 'UTC')}}
              AND toDateTime64(window + {{width_s:Int64}}, 6, 'UTC') <= {{end:DateTime64(6, 'UTC')}}
            GROUP BY began ORDER BY began
            """,  # noqa: S608 - tables and measures of ours; values are parameters
            parameters | slide.parameters(),
            lambda moment, *counts: make(_aware(moment), *counts),
        )

    def state(self, table: str = "play_minutes") -> WindowState:
        """How far a table (`play_minutes` or `ad_minutes`) has come.

        Raises:
            FatalError: there is no such contract.
        """
        name = load(f"{DATABASE}.{table}").name
        partitions = self._rows(
            f"SELECT kafka_partition, max(version), max(window_start), count() FROM {DATABASE}.{name} FINAL"  # noqa: S608
            " GROUP BY kafka_partition ORDER BY kafka_partition",
            {},
            lambda partition, offset, newest, windows: (partition, offset, _aware(newest), windows),
        )
        return WindowState(
            newest_window_start=max((newest for _, _, newest, _ in partitions), default=None),
            windows=sum(windows for *_, windows in partitions),
            offsets={partition: offset for partition, offset, _, _ in partitions},
        )

    def newest(self) -> datetime | None:
        """Newest minute with a window; None before the first. Cheap: it needs no FINAL and reads the end of the key."""
        found = self._rows("SELECT window_start FROM live.play_minutes ORDER BY window_start DESC LIMIT 1", {}, _aware)
        return found[0] if found else None

    def ping(self) -> None:
        """Ask for an answer that needs the password."""
        self._rows("SELECT 1", {}, int)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _rows(self, sql: str, parameters: dict[str, Any], make: Callable[..., T]) -> list[T]:
        with self._lock:
            if self._client is None:
                self._client = connect(self._settings, self._user)
            client = self._client
        with translated_errors(self._settings.clickhouse.address):
            return [make(*row) for row in client.query(sql, parameters=parameters).result_rows]


def _utc(moment: datetime) -> str:
    """A moment as a DateTime64 parameter; the client's own form of it would lose the microseconds.

    Raises:
        FatalError: the moment has no time zone, so that nobody knows which one is meant.
    """
    if moment.tzinfo is None:
        raise FatalError(f"The time {moment} has no time zone.", hint="Give it one; everything here is UTC.")
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _aware(moment: datetime) -> datetime:
    """The client gives UTC columns without a zone or with one, by its version and the machine's zone."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
