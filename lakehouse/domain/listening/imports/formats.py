"""Reading exports of other services, row by row, in constant memory.

| format | what |
|---|---|
| `spotify` | extended streaming history (`Streaming_History_*.json`, older `endsong_*.json`): JSON arrays |
| `listenbrainz` | JSON lines of the user export and of the public dump (`*.jsonl`, `*.listens`), Parquet of the dump |
| `lastfm` | CSV of the common exporters, with a header (`uts`, `artist`, ...) or without (artist, album, title, time) |
| `maloja` | JSON export (`{"scrobbles": [...]}`) |

What real exports look like, and where that is written down: docs/architecture/imports.md.

A row that can't be read is given as the error that says why. Where a file breaks off (broken JSON, wrong encoding), the
rows before are given and the break is one rejected row.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any
from zoneinfo import ZoneInfo

import ijson
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
from lakehouse.errors import RejectedInputError

MAX_LINE = 1_000_000
PARQUET_ROWS, PARQUET_BUFFER = 8192, 1 << 20


@dataclass(frozen=True)
class Row:
    """One row of a file, from 1 (in a CSV file a line, header included); a listen, or why there is none."""

    number: int
    outcome: Listen | RejectedInputError


@dataclass(frozen=True)
class Format:
    """Which files of a folder or archive belong to a service's export, and how one is read."""

    files: re.Pattern[str]
    rows: Callable[[IO[bytes], str, tzinfo], Iterator[Row]]


def wanted(format_name: str, path: str) -> bool:
    """Whether a file of a folder or archive is one with listens; the others (read-me files, profiles) are left out."""
    return FORMATS[format_name].files.search(PurePosixPath(path).name) is not None


def read(format_name: str, stream: IO[bytes], *, name: str, zone: tzinfo | None = None) -> Iterator[Row]:
    """Rows of a file called `name`. `zone` is that of times which say none (default UTC)."""
    return FORMATS[format_name].rows(stream, name, zone or UTC)


def _judged(number: int, value: object, parse: Callable[[Mapping[str, Any]], Listen]) -> Row:
    try:
        if not isinstance(value, Mapping):
            raise RejectedInputError("the row is no object", reason="bad_row")
        return Row(number, parse(value))
    except RejectedInputError as error:
        return Row(number, error)


def _json_items(stream: IO[bytes], prefix: str, parse: Callable[[Mapping[str, Any]], Listen]) -> Iterator[Row]:
    """The items of an array inside a JSON document, one at a time."""
    number = 0
    try:
        for value in ijson.items(_Utf8(stream), prefix):
            number += 1
            yield _judged(number, value, parse)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        # The C parser gives messages of several lines, with the text around the place.
        cause = str(error).splitlines()[0][:200] if str(error) else "it ends too early"
        wrong = "UTF8" in cause.replace("-", "").upper()
        yield Row(
            number + 1,
            RejectedInputError(
                f"the file can't be read from here on: {cause}", reason="bad_encoding" if wrong else "broken_json"
            ),
        )
        return
    if number == 0:
        yield Row(1, RejectedInputError("the file has no listens of this format", reason="no_rows"))


class _Utf8:
    """A stream without the byte order mark that some tools put before UTF-8."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._head = stream.read(3).removeprefix(b"\xef\xbb\xbf")

    def read(self, size: int = -1) -> bytes:
        """As of any stream."""
        if size == 0:
            return b""
        head, self._head = self._head, b""
        return head or self._stream.read(size)


def _spotify(stream: IO[bytes], name: str, zone: tzinfo) -> Iterator[Row]:
    del name, zone  # the times are UTC
    return _json_items(stream, "item", _spotify_row)


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


def _listenbrainz(stream: IO[bytes], name: str, zone: tzinfo) -> Iterator[Row]:
    del zone  # the times are UTC
    parse = _one_user(_listenbrainz_row)
    return _parquet(stream, parse) if name.lower().endswith(".parquet") else _json_lines(stream, parse)


def _one_user(parse: Callable[[Mapping[str, Any]], Listen]) -> Callable[[Mapping[str, Any]], Listen]:
    """A dump may hold many users; the listens of others than the first one's are nobody's business here."""
    first: list[object] = []

    def parsed(row: Mapping[str, Any]) -> Listen:
        user = row.get("user_id") or row.get("user_name")
        if user is not None:
            first[:] = first or [user]
            if user != first[0]:
                raise RejectedInputError(f"a listen of user {user}, not of {first[0]}", reason="other_user", value=user)
        return parse(row)

    return parsed


def _json_lines(stream: IO[bytes], parse: Callable[[Mapping[str, Any]], Listen]) -> Iterator[Row]:
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
            yield Row(number, RejectedInputError("the line is longer than a million bytes", reason="bad_row"))
            continue
        if not line.strip():
            number -= 1
            continue
        try:
            value = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError:
            yield Row(number, RejectedInputError("the line is not UTF-8", reason="bad_encoding"))
        except (json.JSONDecodeError, RecursionError) as error:
            yield Row(number, RejectedInputError(f"the line is no JSON: {str(error)[:100]}", reason="broken_json"))
        else:
            yield _judged(number, value, parse)
    if number == 0:
        yield Row(1, RejectedInputError("the file has no listens of this format", reason="no_rows"))


#: Columns of a Parquet file that are read: of the dumps, and of files with listens as JSON has them.
PARQUET_COLUMNS = (
    {"listened_at", "user_id", "user_name", "artist_name", "recording_name", "release_name"}
    | {"recording_mbid", "release_mbid"}
    | {"timestamp", "track_metadata"}
)


def _parquet(stream: IO[bytes], parse: Callable[[Mapping[str, Any]], Listen]) -> Iterator[Row]:
    number = 0
    try:
        # Through a buffer, and only what is needed: a row group of the dumps has a million rows.
        file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=PARQUET_BUFFER)
        columns = [name for name in file.schema_arrow.names if name in PARQUET_COLUMNS]
        for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=columns):
            for value in batch.to_pylist():
                number += 1
                yield _judged(number, value, parse)
    except (pa.ArrowException, OSError) as error:
        cause = f"the file can't be read from here on: {str(error)[:200]}"
        yield Row(number + 1, RejectedInputError(cause, reason="broken_parquet"))


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


def _lastfm(stream: IO[bytes], name: str, zone: tzinfo) -> Iterator[Row]:
    del name
    # Bytes that are no UTF-8 become surrogates, so that one bad row does not cost the others.
    lines = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    columns: dict[str, int] | None = None
    # The header is the first line, and its separator the one by which it has the columns we need.
    first = lines.readline(MAX_LINE)
    separators = [d for d in LASTFM_DELIMITERS if _lastfm_header(next(csv.reader([first[:10_000]], delimiter=d), []))]
    reader = csv.reader(itertools.chain([first], lines) if first else lines, delimiter=(*separators, ",")[0])
    read_any = False
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Row(reader.line_num, RejectedInputError(f"the row is no CSV: {error}", reason="bad_row"))
            continue
        if cells is None:
            break
        number = reader.line_num
        if not cells:
            continue
        if columns is None:
            columns = _lastfm_header(cells)
            if columns is not None:
                continue
            columns = {field: place for place, field in enumerate(LASTFM_HEADLESS)}
        read_any = True
        if any("\udc80" <= ch <= "\udcff" for cell in cells for ch in cell):
            yield Row(number, RejectedInputError("the row is not UTF-8", reason="bad_encoding"))
            continue
        row = {field: cells[place].strip() for field, place in columns.items() if place < len(cells)}
        yield _judged(number, row, partial(_lastfm_row, zone=zone))
    if not read_any:
        yield Row(1, RejectedInputError("the file has no listens of this format", reason="no_rows"))


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


def _maloja(stream: IO[bytes], name: str, zone: tzinfo) -> Iterator[Row]:
    del name, zone  # the times are seconds since 1970
    return _json_items(stream, "scrobbles.item", _maloja_row)


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
