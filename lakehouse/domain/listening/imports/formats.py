"""Reading exports of other services, row by row, in constant memory.

| format | what |
|---|---|
| `spotify` | extended streaming history (`Streaming_History_*.json`, older `endsong_*.json`): JSON arrays |
| `listenbrainz` | JSON lines of the user export and of the public dump (`*.jsonl`, `*.listens`), Parquet of the dump |
| `lastfm` | CSV of the common exporters, with a header (`uts`, `artist`, ...) or without (artist, album, title, time) |
| `maloja` | JSON export (`{"scrobbles": [...]}`) |

What real exports look like, and where that is written down: docs/architecture/imports.md.

A row that can't be read is given as the error that says why, and reading goes on with the next one: see `reading` for
text. Of Parquet, where a row group breaks off the rest of it is lost; how many rows that is, is said.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.domain.listening.imports.listens import (
    Listen,
    moment,
    optional,
    optional_isrc,
    optional_mbid,
    text,
)
from lakehouse.domain.listening.imports.reading import JsonList, lines
from lakehouse.errors import RejectedInputError

PARQUET_ROWS, PARQUET_BUFFER = 8192, 1 << 20


@dataclass(frozen=True)
class Row:
    """One row of a file, from 1 (in a CSV file a line, header included); a listen, or why there is none."""

    number: int
    outcome: Listen | RejectedInputError
    unread: int = 0
    """Rows behind this one which the file says it has and which can't be read."""


class Owner:
    """Whose listens are taken from files that may hold many people's: of the user called `name`, else of the first one
    that a file names. One for all files of an import.
    """

    def __init__(self, name: str | None = None) -> None:
        self.asked_for = name
        #: Known of the user so far. Dumps of JSON have both, those of Parquet the number alone.
        self.name, self.number = name, name

    def check(self, user_name: object, user_id: object) -> None:
        """Refuse a row of somebody else, or of nobody when a user was asked for.

        Raises:
            RejectedInputError: `other_user`.
        """
        name = user_name if isinstance(user_name, str) and user_name else None
        number = str(user_id) if isinstance(user_id, int | str) and str(user_id) else None
        if name is None and number is None:
            if self.asked_for is not None:
                raise RejectedInputError(f"the listen names no user, so not {self.asked_for}", reason="other_user")
            return
        if self.name is None and self.number is None:
            self.name, self.number = name, number
        # A name goes before a number: there may be a user who is called 7 and another one with that number.
        if name is not None and self.name is not None:
            is_theirs = name.casefold() == self.name.casefold()
        else:
            is_theirs = number is not None and number == self.number
        if not is_theirs:
            raise RejectedInputError(
                f"a listen of user {name or number}, not of {self.name or self.number}",
                reason="other_user",
                value=name or number,
            )
        self.name, self.number = self.name or name, number or self.number


@dataclass(frozen=True)
class Format:
    """Which files of a folder or archive belong to a service's export, and how one is read."""

    files: re.Pattern[str]
    rows: Callable[[IO[bytes], str, tzinfo, Owner], Iterator[Row]]


def wanted(format_name: str, path: str) -> bool:
    """Whether a file of a folder or archive is one with listens; the others (read-me files, profiles) are left out."""
    return FORMATS[format_name].files.search(PurePosixPath(path).name) is not None


def read(
    format_name: str, stream: IO[bytes], *, name: str, zone: tzinfo | None = None, owner: Owner | None = None
) -> Iterator[Row]:
    """Rows of a file called `name`. `zone` is that of times which say none (default UTC); see `Owner` for `owner`."""
    return FORMATS[format_name].rows(stream, name, zone or UTC, owner or Owner())


def _judged(number: int, value: object, parse: Callable[[Mapping[str, Any]], Listen]) -> Row:
    try:
        if not isinstance(value, Mapping):
            raise RejectedInputError("the row is no object", reason="bad_row")
        return Row(number, parse(value))
    except RejectedInputError as error:
        return Row(number, error)


def _json_list(stream: IO[bytes], where: JsonList, parse: Callable[[Mapping[str, Any]], Listen]) -> Iterator[Row]:
    number = 0
    for number, value in enumerate(where.rows(stream), 1):
        yield Row(number, value) if isinstance(value, RejectedInputError) else _judged(number, value, parse)
    if number == 0:
        yield _no_rows()


def _no_rows() -> Row:
    return Row(1, RejectedInputError("the file has no listens of this format", reason="no_rows"))


SPOTIFY_LIST = JsonList(re.compile(r"\["), re.compile(r"\Z"), frozenset({"ts", "ms_played"}))


def _spotify(stream: IO[bytes], name: str, zone: tzinfo, owner: Owner) -> Iterator[Row]:
    del name, zone, owner  # the times are UTC, and an export is of one person
    return _json_list(stream, SPOTIFY_LIST, _spotify_row)


def _spotify_row(row: Mapping[str, Any]) -> Listen:
    """https://support.spotify.com/article/understanding-my-data: `ts` is when the stream ended, UTC."""
    ended = _iso(row.get("ts"))
    ms_played = row.get("ms_played")
    if isinstance(ms_played, bool) or not isinstance(ms_played, int):
        raise RejectedInputError("ms_played is missing or no whole number", reason="missing_ms_played")
    names: tuple[tuple[str, str, str, str | None, tuple[str, ...]], ...] = (
        ("track", "master_metadata_album_artist_name", "master_metadata_track_name", "master_metadata_album_album_name",
         ("spotify_track_uri",)),
        ("episode", "episode_show_name", "episode_name", None, ("spotify_episode_uri",)),
        ("audiobook", "audiobook_title", "audiobook_chapter_title", "audiobook_title",
         ("audiobook_chapter_uri", "audiobook_uri")),
    )  # fmt: skip
    # A row has the fields of all three kinds, and those of one are filled.
    kind, artist, title, release, uris = next(
        (n for n in names if any(row.get(field) for field in (*n[1:3], *n[4]))), names[0]
    )
    try:
        started = ended - timedelta(milliseconds=ms_played)
    except OverflowError as error:
        raise RejectedInputError(f"ms_played is {ms_played}", reason="bad_ms_played", value=ms_played) from error
    return Listen(
        source="spotify",
        kind=kind,
        listened_at=started.replace(microsecond=0),
        artist_name=text(row.get(artist), field="artist_name"),
        title=text(row.get(title), field="title"),
        release_title=optional(row.get(release)) if release else None,
        ms_played=ms_played,
        spotify_uri=next((uri for field in uris if (uri := optional(row.get(field)))), None),
    )


def _iso(value: object) -> datetime:
    if value is None or value == "":
        raise RejectedInputError("ts is missing", reason="missing_time")
    try:
        found = datetime.fromisoformat(str(value))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise RejectedInputError(f"ts is no time: '{value}'", reason="bad_time", value=str(value)) from error


def _listenbrainz(stream: IO[bytes], name: str, zone: tzinfo, owner: Owner) -> Iterator[Row]:
    del zone  # the times are UTC

    def parse(row: Mapping[str, Any]) -> Listen:
        owner.check(row.get("user_name"), row.get("user_id"))
        return _listenbrainz_row(row)

    return _parquet(stream, parse) if name.lower().endswith(".parquet") else _json_lines(stream, parse)


def _json_lines(stream: IO[bytes], parse: Callable[[Mapping[str, Any]], Listen]) -> Iterator[Row]:
    number = 0
    for line in lines(stream, newline="\n"):
        if isinstance(line, str) and not line.strip():
            continue
        number += 1
        if isinstance(line, RejectedInputError):
            yield Row(number, line)
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, RejectedInputError(f"the line is no JSON: {str(error)[:100]}", reason="broken_json"))
        else:
            yield _judged(number, value, parse)
    if number == 0:
        yield _no_rows()


#: Columns of a Parquet file that are read: of the dumps, and of files with listens as JSON has them.
PARQUET_COLUMNS = (
    {"listened_at", "user_id", "user_name", "artist_name", "recording_name", "release_name"}
    | {"recording_mbid", "release_mbid"}
    | {"timestamp", "track_metadata"}
)


def _parquet(stream: IO[bytes], parse: Callable[[Mapping[str, Any]], Listen]) -> Iterator[Row]:
    try:
        # Through a buffer, and only what is needed: a row group of the dumps has a million rows.
        file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=PARQUET_BUFFER)
        columns = [name for name in file.schema_arrow.names if name in PARQUET_COLUMNS]
    except (pa.ArrowException, OSError) as error:
        cause = f"the file can't be read, nor how many rows it has: {str(error)[:200]}"
        yield Row(1, RejectedInputError(cause, reason="broken_parquet"))
        return
    behind = 0
    for group in range(file.num_row_groups):
        number, behind = behind, behind + file.metadata.row_group(group).num_rows
        try:
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, row_groups=[group], columns=columns):
                for value in batch.to_pylist():
                    number += 1
                    yield _judged(number, value, parse)
        except (pa.ArrowException, OSError) as error:
            # Pages hold columns, not rows: where one is broken, only the next row group can be read.
            unread = max(behind - number - 1, 0)
            cause = (
                f"row group {group + 1} of {file.num_row_groups} can't be read from row {number + 1} on; of the "
                f"{file.metadata.num_rows} rows that the file says it has, {unread} after this one are not read: "
            )
            yield Row(number + 1, RejectedInputError(cause + str(error)[:200], reason="broken_parquet"), unread)
    if behind == 0:
        yield _no_rows()


def listenbrainz_listen(row: Mapping[str, Any], *, source: str) -> Listen:
    """A listen as ListenBrainz' JSON documents it: https://listenbrainz.readthedocs.io/en/latest/users/json.html

    Raises:
        RejectedInputError: what is required is missing or of the wrong kind.
    """
    track = row.get("track_metadata")
    if not isinstance(track, Mapping):
        raise RejectedInputError("track_metadata is missing", reason="missing_track_metadata")
    more = track.get("additional_info")
    more = more if isinstance(more, Mapping) else {}
    mapped = track.get("mbid_mapping")
    mapped = mapped if isinstance(mapped, Mapping) else {}
    duration = more.get("duration_played")  # seconds
    return Listen(
        source=source,
        listened_at=moment(row.get("listened_at", row.get("timestamp")), field="listened_at"),
        artist_name=text(track.get("artist_name"), field="artist_name"),
        title=text(track.get("track_name"), field="title"),
        release_title=optional(track.get("release_name")),
        ms_played=duration * 1000 if isinstance(duration, int) and not isinstance(duration, bool) else None,
        isrc=optional_isrc(more.get("isrc")),
        recording_mbid=optional_mbid(more.get("recording_mbid") or mapped.get("recording_mbid")),
        release_mbid=optional_mbid(more.get("release_mbid") or mapped.get("release_mbid")),
        spotify_uri=_spotify_uri(more.get("spotify_id")),
    )


def _spotify_uri(value: object) -> str | None:
    """The URI of what ListenBrainz' `spotify_id` is: the address of a page, http(s)://open.spotify.com/track/<id>."""
    found = optional(value) or ""
    page = re.fullmatch(r"https?://open\.spotify\.com/(?:intl-\w+/)?(track|episode|chapter)/(\w+)(?:\?.*)?", found)
    return f"spotify:{page[1]}:{page[2]}" if page else found or None


def _listenbrainz_row(row: Mapping[str, Any]) -> Listen:
    if "track_metadata" in row or "recording_name" not in row:
        return listenbrainz_listen(row, source="listenbrainz")
    # Parquet of the dumps: one flat column each, times with a type of their own.
    at = row.get("listened_at")
    return Listen(
        source="listenbrainz",
        listened_at=(at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)
        if isinstance(at, datetime)
        else moment(at, field="listened_at"),
        artist_name=text(row.get("artist_name"), field="artist_name"),
        title=text(row.get("recording_name"), field="title"),
        release_title=optional(row.get("release_name")),
        recording_mbid=optional_mbid(row.get("recording_mbid")),
        release_mbid=optional_mbid(row.get("release_mbid")),
    )


#: Names of columns of the exporters, for what we take.
LASTFM_COLUMNS = {
    "uts": ("uts", "timestamp"),
    "utc_time": ("utc_time",),
    "time": ("date", "time", "datetime"),
    "artist": ("artist", "artist_name"),
    "title": ("track", "title", "name", "track_name"),
    "album": ("album", "album_name"),
    "mbid": ("track_mbid",),
    "album_mbid": ("album_mbid", "albumid"),
}
LASTFM_HEADLESS = ("artist", "album", "title", "time")
LASTFM_TIMES = ("%d %b %Y, %H:%M", "%d %b %Y %H:%M", "%d %b %Y, %H:%M:%S", "%d %b %Y %H:%M:%S")
#: A time of so many digits is in milliseconds: as seconds it would be after the year 5000.
MILLISECOND_DIGITS = 12
#: What separates columns: commas, but semicolons at lastfmstats.com and tabs in some.
LASTFM_DELIMITERS = (",", ";", "\t")


class _UnclosedError(Exception):
    """A quoted field goes on where its line ends."""


class _OneLine:
    """Hands the lines it is given to a reader of CSV, which asks for a second one while a quote is open. No listen has
    two lines, so that is an error, and the reader begins anew with the next line.
    """

    def __init__(self, delimiter: str) -> None:
        self._line: str | None = None
        self._reader = csv.reader(self, delimiter=delimiter)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._line is None:
            raise _UnclosedError
        line, self._line = self._line, None
        return line

    def cells(self, line: str) -> list[str]:
        """Cells of a line.

        Raises:
            RejectedInputError: `bad_row`.
        """
        self._line = line
        try:
            return next(self._reader)
        except _UnclosedError:
            raise RejectedInputError("a quote is opened and not closed in the line", reason="bad_row") from None
        except csv.Error as error:
            raise RejectedInputError(f"the row is no CSV: {error}", reason="bad_row") from error


def _lastfm(stream: IO[bytes], name: str, zone: tzinfo, owner: Owner) -> Iterator[Row]:
    del name, owner  # an export is of one person
    reader: _OneLine | None = None
    columns: dict[str, int] | None = None
    read_any = False
    for number, line in enumerate(lines(stream, newline=""), 1):
        if isinstance(line, str) and not line.strip():
            continue
        try:
            if isinstance(line, RejectedInputError):
                raise line
            if reader is None:
                reader = _OneLine(_lastfm_delimiter(line))
            cells = reader.cells(line)
        except RejectedInputError as error:
            read_any = True
            yield Row(number, error)
            continue
        if columns is None:
            columns = _lastfm_header(cells)
            if columns is not None:
                continue
            columns = {field: place for place, field in enumerate(LASTFM_HEADLESS)}
        read_any = True
        row = {field: cells[place].strip() for field, place in columns.items() if place < len(cells)}
        yield _judged(number, row, partial(_lastfm_row, zone=zone))
    if not read_any:
        yield _no_rows()


def _lastfm_delimiter(header: str) -> str:
    """The separator by which the first line has the columns we need; a comma where it is no header."""
    separators = [d for d in LASTFM_DELIMITERS if _lastfm_header(next(csv.reader([header[:10_000]], delimiter=d), []))]
    return (*separators, ",")[0]


def _lastfm_header(cells: list[str]) -> dict[str, int] | None:
    """Places of the columns by what they are to us; None when the first row is no header."""
    names = [cell.strip().lower().partition("#")[0] for cell in cells]  # lastfmstats.com: Date#<user>
    found = {
        field: next(names.index(name) for name in known if name in names)
        for field, known in LASTFM_COLUMNS.items()
        if set(known) & set(names)
    }
    return found if {"artist", "title"} <= found.keys() else None


def _lastfm_row(row: Mapping[str, str], *, zone: tzinfo) -> Listen:
    return Listen(
        source="lastfm",
        listened_at=_lastfm_moment(row, zone),
        artist_name=text(row.get("artist"), field="artist_name"),
        title=text(row.get("title"), field="title"),
        release_title=optional(row.get("album")),
        recording_mbid=optional_mbid(row.get("mbid")),
        release_mbid=optional_mbid(row.get("album_mbid")),
    )


def _lastfm_moment(row: Mapping[str, str], zone: tzinfo) -> datetime:
    if row.get("uts"):
        return moment(row["uts"], field="uts")
    if row.get("utc_time"):
        return _local(row["utc_time"], UTC)
    time = row.get("time", "")
    if not time.isdecimal():
        return _local(time, zone)
    return moment(time[:-3] if len(time) >= MILLISECOND_DIGITS else time, field="time")


def _local(value: str, zone: tzinfo) -> datetime:
    """A time of the exporters; the earlier one where clocks went back."""
    if not value:
        raise RejectedInputError("the time is missing", reason="missing_time")
    if re.match(r"\d{4}-\d\d-\d\d.\d\d:", value):
        try:
            found = datetime.fromisoformat(value)
            return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC).replace(microsecond=0)
        except (ValueError, OverflowError):
            pass
    for pattern in LASTFM_TIMES:
        try:
            return datetime.strptime(value, pattern).replace(tzinfo=zone).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise RejectedInputError(f"the time is not understood: '{value[:50]}'", reason="bad_time", value=value)


MALOJA_LIST = JsonList(
    re.compile(r'.*?"scrobbles"\s*:\s*\[', re.DOTALL), re.compile(r'\}|,\s*"'), frozenset({"time", "track"})
)


def _maloja(stream: IO[bytes], name: str, zone: tzinfo, owner: Owner) -> Iterator[Row]:
    del name, zone, owner  # the times are seconds since 1970, and an export is of one person
    return _json_list(stream, MALOJA_LIST, _maloja_row)


def _maloja_row(row: Mapping[str, Any]) -> Listen:
    """https://github.com/krateng/maloja, `maloja/database/sqldb.py`; `duration` is the time heard [s]."""
    track = row.get("track")
    if not isinstance(track, Mapping):
        raise RejectedInputError("track is missing", reason="missing_track")
    artists = track.get("artists")
    album = track.get("album")
    duration = row.get("duration")
    names = [a for a in artists if isinstance(a, str) and a.strip()] if isinstance(artists, list) else []
    return Listen(
        source="maloja",
        listened_at=moment(row.get("time"), field="time"),
        artist_name=text(", ".join(names), field="artist_name"),
        title=text(track.get("title"), field="title"),
        release_title=optional(album.get("albumtitle") or album.get("name")) if isinstance(album, Mapping) else None,
        ms_played=duration * 1000 if isinstance(duration, int) and not isinstance(duration, bool) else None,
    )


def zone_of(name: str) -> ZoneInfo:
    """The IANA time zone `name`.

    Raises:
        RejectedInputError: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise RejectedInputError(
            f"There is no time zone '{name}'.", reason="unknown_time_zone", hint="Give an IANA name: Europe/Berlin."
        ) from error


FORMATS = {
    "spotify": Format(re.compile(r"^(Streaming_History_.*|endsong_\d+)\.json$", re.IGNORECASE), _spotify),
    # A user's export holds feedback and pins too, which are no listens.
    "listenbrainz": Format(
        re.compile(r"^(?!(feedback|pinned_recording)\.).*\.(jsonl|listens|parquet)$", re.IGNORECASE), _listenbrainz
    ),
    "lastfm": Format(re.compile(r"\.csv$", re.IGNORECASE), _lastfm),
    "maloja": Format(re.compile(r"^maloja_export.*\.json$", re.IGNORECASE), _maloja),
}
