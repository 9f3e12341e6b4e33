"""Imports of listens: files in, records of topic `listens` out, every row accounted for.

What a listener has already is read from bronze and kept in an index on disk, so that neither the size of the history
nor that of the import shows in memory.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from lakehouse.adapters import kafka, lake
from lakehouse.config.settings import Settings
from lakehouse.domain.catalog.identifiers import recording_key
from lakehouse.domain.listening.imports import FORMATS, Heard, Listen, Owner, Seen, check, read, wanted
from lakehouse.domain.listening.imports.listens import Store
from lakehouse.errors import FatalError, RejectedInputError, RetryableError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

TOPIC = "listens"
IMPORTED, DUPLICATE, REJECTED = "imported", "duplicate", "rejected"
#: Rejected rows shown to people; the report has all.
SHOWN = 20
PROGRESS_ROWS = 10_000
ARRIVAL_TIMEOUT_S = 120.0


@dataclass
class Counts:
    """What became of the rows of an import: `rows` that were read are imported, duplicates or rejected.

    `unread` rows are those that a file says it has and that can't be read.
    """

    rows: int = 0
    imported: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    files: int = 0
    first_rejected: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return {
            "files": self.files,
            "rows": self.rows,
            "imported": self.imported,
            "duplicates": self.duplicates,
            "rejected": sum(self.rejected.values()),
            "unread": self.unread,
            "rejected_by_reason": dict(sorted(self.rejected.items())),
            "first_rejected": self.first_rejected,
        }


class Index:
    """The listens of one listener in a temporary database; the `Store` of `Seen`. On disk in `folder`, or in memory.

    Ordered by time, as histories are: neighbours are in one page.
    """

    def __init__(self, folder: Path | None) -> None:
        self._db = sqlite3.connect(folder / "listens.sqlite" if folder else ":memory:", isolation_level=None)
        # Nothing of it outlives the import, so nothing needs to be safe on the disk. A known listen has a row for its
        # names and one for its ISRC; it is `names` that tell it from others of the second.
        self._db.executescript(
            "pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -32000; "
            "create table known (second integer, recording integer, source text, names integer, "
            "primary key (second, recording, source, names)) without rowid; "
            "create table taken (second integer, source text, names integer, "
            "primary key (second, source, names)) without rowid; "
            "create table expected (second integer, names integer, source text, isrc integer, is_new integer, "
            "primary key (second, names)) without rowid; begin"
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, known: Heard) -> None:
        """See `Store`."""
        for recording in {known.names, known.isrc} - {None}:
            self._db.execute(
                "insert or ignore into known values (?, ?, ?, ?)", (known.second, recording, known.source, known.names)
            )

    def near(self, heard: Heard, within: int) -> list[Heard]:
        """See `Store`."""
        found = self._db.execute(
            "select distinct second, source, names from known where second between ? and ? and recording in (?, ?) "
            "order by second, source, names",
            (heard.second - within, heard.second + within, heard.names, heard.isrc),
        )
        return [Heard(*row) for row in found]

    def take(self, known: Heard) -> None:
        """See `Store`."""
        self._db.execute("insert or ignore into taken values (?, ?, ?)", (known.second, known.source, known.names))

    def is_taken(self, known: Heard) -> bool:
        """See `Store`."""
        where = (known.second, known.source, known.names)
        found = self._db.execute("select 1 from taken where second = ? and source = ? and names = ?", where)
        return found.fetchone() is not None

    def expect(self, heard: Heard) -> None:
        """See `Store`."""
        self._db.execute(
            "insert into expected values (?, ?, ?, ?, null) "
            "on conflict do update set isrc = coalesce(isrc, excluded.isrc)",
            (heard.second, heard.names, heard.source, heard.isrc),
        )

    def undecided(self) -> Iterator[Heard]:
        """See `Store`."""
        last: tuple[int, int] = (-(2**63), -(2**63))
        # Part by part: a statement must not change what another one is reading.
        while part := self._db.execute(
            "select second, source, names, isrc from expected where (second, names) > (?, ?) and is_new is null "
            "order by second, names limit 1000",
            last,
        ).fetchall():
            for row in part:
                yield Heard(*row)
            last = (part[-1][0], part[-1][2])

    def count_undecided(self) -> int:
        """See `Store`."""
        found = self._db.execute("select count(*) from expected where is_new is null").fetchone()
        return int(found[0])

    def decide(self, heard: Heard, *, is_new: bool) -> None:
        """See `Store`."""
        self._db.execute(
            "update expected set is_new = ? where second = ? and names = ?", (is_new, heard.second, heard.names)
        )

    def claim(self, heard: Heard) -> bool:
        """See `Store`."""
        place = (heard.second, heard.names)
        found = self._db.execute("select is_new from expected where second = ? and names = ?", place).fetchone()
        if found is None or found[0] is None:
            raise LookupError(f"a listen that was not told of: {heard}")
        if found[0]:
            self._db.execute("update expected set is_new = 0 where second = ? and names = ?", place)
        return bool(found[0])


def files(path: Path, format_name: str) -> list[tuple[str, Callable[[], IO[bytes]], int]]:
    """Files with listens below `path` (a file, folder or zip): name for people, how to open it, size in bytes.

    Raises:
        FatalError: there is no such path, it holds no file of the format, or it is a damaged archive.
    """
    found: list[tuple[str, Callable[[], IO[bytes]], int]] = []
    if not path.exists():
        raise FatalError(f"There is no file or folder {path}.", hint="Give the export as it was downloaded.")
    if path.is_dir():
        found = [
            (str(file.relative_to(path)), _opener(file), file.stat().st_size)
            for file in sorted(path.rglob("*"))
            if file.is_file() and wanted(format_name, file.name)
        ]
    elif zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        found = [
            (entry.filename, _entry_opener(archive, entry), entry.file_size)
            for entry in sorted(archive.infolist(), key=lambda entry: entry.filename)
            if not entry.is_dir() and wanted(format_name, entry.filename)
        ]
    else:
        found = [(path.name, _opener(path), path.stat().st_size)]  # named by hand, so whatever it is called
    if not found:
        raise FatalError(
            f"{path} holds no listens of {format_name}.",
            hint=f"Its files are called like {FORMATS[format_name].files.pattern}",
        )
    return found


def _opener(file: Path) -> Callable[[], IO[bytes]]:
    return lambda: file.open("rb")


def _entry_opener(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(entry)


Progress = Callable[[str, str, float, int], None]


def import_listens(
    settings: Settings,
    path: Path,
    *,
    format_name: str,
    user_id: int,
    received_at: datetime,
    zone: tzinfo,
    report: Path | None,
    from_user: str | None = None,
    progress: Progress = lambda step, name, share, rows: None,
) -> Counts:
    """Send what is new of an export and say what became of each row; nothing is counted before Kafka has it.

    The export is read twice: what is new can be said when all rows are known (see `Seen`). Only listens of `from_user`
    are taken, or those of the first user that a file names (see `Owner`). `report` gets one JSON line a row and a last
    one with the sums, as a whole, when everything is done. `progress` hears of the step (`read`, `sent`), the file, the
    share of its bytes that is read, and the rows so far; between the two, of the steps of `Seen.settle` for all files.

    Raises:
        FatalError: see `files`; the files changed meanwhile; or what became of the rows does not add up.
        RetryableError: an engine does not answer, or another import of this listener is under way. The import can be
            run again, and what was sent is then a duplicate.
    """
    reading = _Reading(files(path, format_name), format_name, zone, from_user, received_at)
    counts = Counts(files=len(reading.sources))
    with ExitStack() as stack:
        stack.enter_context(_only_one(settings, user_id))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wavehouse-import-")))
        await_arrival(settings)
        index = stack.enter_context(Index(folder))
        known_listens(lake.catalog(settings), index, user_id)
        draft = report.with_name(f".{report.name}.draft") if report else None
        lines = stack.enter_context(draft.open("w")) if draft else None
        producer = stack.enter_context(kafka.EventProducer(settings))
        seen, told = Seen(index, format_name), Counts()
        for row in reading.rows(told, partial(progress, "read")):
            if isinstance(row.outcome, Listen):
                seen.expect(row.outcome)
        seen.settle(partial(_settling, progress, path.name))
        sent = 0
        for row in reading.rows(counts, partial(progress, "sent")):
            outcome = _count(counts, row, seen)
            if isinstance(row.outcome, Listen) and outcome == IMPORTED:
                producer.send(TOPIC, row.outcome.record(user_id, received_at))
                sent += 1
            if lines:
                lines.write(json.dumps(_line(row, outcome)) + "\n")
        producer.flush()
        _balance(counts, told, sent)
        if lines:
            lines.write(json.dumps(counts.as_dict()) + "\n")
    if report and draft:
        draft.replace(report)
    return counts


def _settling(progress: Progress, name: str, step: str, done: int, total: int) -> None:
    if done % PROGRESS_ROWS == 0 or done == total:
        progress(step, name, done / total, done)


@dataclass(frozen=True)
class _Read:
    """A row of a file, with what is wrong with its listen as the outcome where something is."""

    file: str
    number: int
    outcome: Listen | RejectedInputError
    unread: int = 0


@dataclass(frozen=True)
class _Reading:
    """How the files of an import are read, each time in the same way."""

    sources: list[tuple[str, Callable[[], IO[bytes]], int]]
    format_name: str
    zone: tzinfo
    from_user: str | None
    received_at: datetime

    def rows(self, counts: Counts, progress: Callable[[str, float, int], None]) -> Iterator[_Read]:
        """Rows of all files; `counts.rows` counts them here, where they come in, whatever becomes of them."""
        owner = Owner(self.from_user)
        for name, opened, size in self.sources:
            last = 0
            try:
                with opened() as stream:
                    for row in read(self.format_name, stream, name=name, zone=self.zone, owner=owner):
                        counts.rows, last = counts.rows + 1, row.number
                        if counts.rows % PROGRESS_ROWS == 0:
                            # What comes behind the last row, that there was none, comes from a stream that is closed.
                            share = stream.tell() / size if size and not stream.closed else 1.0
                            progress(name, share, counts.rows)
                        yield _Read(name, row.number, self._checked(row.outcome), row.unread)
            except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
                counts.rows += 1
                cause = f"the file is damaged, and nothing behind row {last} is read: {error}"
                yield _Read(name, last + 1, RejectedInputError(cause, reason="damaged_file"))

    def _checked(self, outcome: Listen | RejectedInputError) -> Listen | RejectedInputError:
        if isinstance(outcome, Listen):
            try:
                check(outcome, self.received_at)
            except RejectedInputError as error:
                return error
        return outcome


def _count(counts: Counts, row: _Read, seen: Seen) -> str:
    """Judge a row, count what becomes of it, and say what that is.

    Raises:
        FatalError: it was not there when the file was read first.
    """
    if isinstance(row.outcome, RejectedInputError):
        counts.rejected[row.outcome.reason] += 1
        counts.unread += row.unread
        if len(counts.first_rejected) < SHOWN:
            counts.first_rejected.append(_line(row, REJECTED))
        return REJECTED
    try:
        is_new = seen.is_new(row.outcome)
    except LookupError as error:
        raise FatalError(f"{row.file} changed while it was read.", hint="Run the import again.") from error
    if not is_new:
        counts.duplicates += 1
        return DUPLICATE
    counts.imported += 1
    return IMPORTED


def _balance(counts: Counts, told: Counts, sent: int) -> None:
    """Compare what became of rows with the rows that were read, both times, and with what was sent.

    Raises:
        FatalError: they differ.
    """
    outcomes = counts.imported + counts.duplicates + sum(counts.rejected.values())
    if not (told.rows == counts.rows == outcomes and counts.imported == sent):
        raise FatalError(
            f"The import does not add up: {told.rows} and then {counts.rows} rows were read, {outcomes} are accounted "
            f"for; {counts.imported} are new, {sent} were sent.",
            hint="If no file changed meanwhile, this is a defect. Running the import again doubles nothing.",
        )


def _line(row: _Read, outcome: str) -> dict[str, Any]:
    line: dict[str, Any] = {"file": row.file, "row": row.number, "outcome": outcome}
    if isinstance(row.outcome, RejectedInputError):
        line |= {"reason": row.outcome.reason, "message": row.outcome.message, "value": _plain(row.outcome.value)}
    return line | ({"unread": row.unread} if row.unread else {})


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, int) else str(value)[:200]


@contextmanager
def _only_one(settings: Settings, user_id: int) -> Iterator[None]:
    """Two imports of one listener at a time would not know of each other's listens.

    Raises:
        RetryableError: another one is under way.
    """
    settings.run.mkdir(parents=True, exist_ok=True)
    with (settings.run / f"import-{user_id}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RetryableError(
                f"Another import for listener {user_id} is running.", hint="Run it again when that is done."
            ) from error
        yield


def await_arrival(settings: Settings, *, timeout_seconds: float = ARRIVAL_TIMEOUT_S) -> None:
    """Wait until every listen sent so far is in the lake: an import asks the lake what a listener has already.

    Raises:
        RetryableError: the stream job has not brought them there in time.
        FatalError: the topic or the table is missing.
    """
    ends = sum(kafka.end_offsets(settings, TOPIC).values())
    deadline = time.monotonic() + timeout_seconds
    while True:
        dead = lake.read(settings, "bronze.dead_letters", columns=("topic",), where=f"topic == '{TOPIC}'").num_rows
        missing = ends - lake.row_count(settings, f"bronze.{TOPIC}") - dead
        if missing <= 0:
            return
        if time.monotonic() > deadline:
            raise RetryableError(
                f"{missing} listens sent before are not in the lake yet.", hint="See `wavehouse stream progress`."
            )
        time.sleep(1)


def known_listens(
    catalog: Catalog, index: Store, user_id: int, *, between: tuple[datetime, datetime] | None = None
) -> None:
    """Put into `index` what the listener has: listens in the lake, and plays here of recordings in the catalogue.

    `between` bounds the moments (UTC, both inclusive); without it, all.
    """

    def mine(column: str) -> str:
        rows = f"user_id == {user_id}"
        if between is None:
            return rows
        first, last = (moment.isoformat() for moment in between)
        return f"{rows} and {column} >= '{first}' and {column} <= '{last}'"

    listens = catalog.load_table(f"bronze.{TOPIC}").scan(
        row_filter=mine("listened_at"), selected_fields=("listened_at", "recording_key", "isrc", "source")
    )
    for batch in listens.to_arrow_batch_reader():
        for row in batch.to_pylist():
            index.add(Heard.of(row["listened_at"], row["source"], row["recording_key"], row["isrc"]))
    plays = catalog.load_table("bronze.plays").scan(
        row_filter=mine("played_at"), selected_fields=("track_id", "played_at")
    )
    recordings: dict[int, tuple[str, str | None]] = {}
    for batch in plays.to_arrow_batch_reader():
        rows = batch.to_pylist()
        if rows and not recordings:
            content = catalog.load_table("bronze.catalog_content")
            names = content.scan(selected_fields=("content_id", "artist_name", "title", "isrc")).to_arrow().to_pylist()
            recordings = {
                row["content_id"]: (recording_key(row["artist_name"], row["title"]), row["isrc"]) for row in names
            }
        for row in rows:
            if row["track_id"] in recordings:
                index.add(Heard.of(row["played_at"], "wavehouse", *recordings[row["track_id"]]))
