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
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from lakehouse.adapters import kafka, lake
from lakehouse.config.settings import Settings
from lakehouse.domain.catalog.identifiers import recording_key
from lakehouse.domain.listening.imports import FORMATS, Listen, Seen, check, read, wanted
from lakehouse.domain.listening.imports.listens import Store, recording_hash
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
    """What became of the rows of an import; `rows` is the sum of the other three."""

    rows: int = 0
    imported: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
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
            "rejected_by_reason": dict(sorted(self.rejected.items())),
            "first_rejected": self.first_rejected,
        }


class Index:
    """The listens of one listener in a temporary database on disk; the `Store` of `Seen`. Ordered by time, as
    histories are: neighbours are in one page.
    """

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "listens.sqlite", isolation_level=None)
        # Nothing of it outlives the import, so nothing needs to be safe on the disk.
        self._db.executescript(
            "pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -32000; "
            "create table listens (second integer, recording integer, source text, "
            "primary key (second, recording, source)) without rowid; begin"
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def near(self, second: int, recording: int, within: int) -> list[tuple[int, str]]:
        """See `Store`."""
        return self._db.execute(
            "select second, source from listens where second between ? and ? and recording = ?",
            (second - within, second + within, recording),
        ).fetchall()

    def add(self, second: int, recording: int, source: str) -> None:
        """See `Store`."""
        self._db.execute("insert or ignore into listens values (?, ?, ?)", (second, recording, source))


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


def import_listens(
    settings: Settings,
    path: Path,
    *,
    format_name: str,
    user_id: int,
    received_at: datetime,
    zone: tzinfo,
    report: Path | None,
    progress: Callable[[str, float, Counts], None] = lambda name, share, counts: None,
) -> Counts:
    """Send what is new of an export and say what became of each row; nothing is counted before Kafka has it.

    `report` gets one JSON line a row and a last one with the sums, as a whole, when everything is done. `progress`
    hears of the file, the share of its bytes that is read, and the counts so far.

    Raises:
        FatalError: see `files`; or another import of this listener is under way.
        RetryableError: an engine does not answer; the import can be run again, and what was sent is then a duplicate.
    """
    sources = files(path, format_name)
    counts = Counts(files=len(sources))
    with ExitStack() as stack:
        stack.enter_context(_only_one(settings, user_id))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wavehouse-import-")))
        await_arrival(settings)
        index = stack.enter_context(Index(folder))
        known_listens(lake.catalog(settings), index, user_id)
        draft = report.with_name(f".{report.name}.draft") if report else None
        lines = stack.enter_context(draft.open("w")) if draft else None
        producer = stack.enter_context(kafka.EventProducer(settings))
        for name, outcome, row, share, why in _outcomes(sources, format_name, zone, Seen(index), received_at):
            _count(counts, name, row, outcome, why)
            if isinstance(outcome, Listen):
                producer.send(TOPIC, outcome.record(user_id, received_at))
            if lines:
                lines.write(json.dumps(_line(name, row, outcome, why)) + "\n")
            if counts.rows % PROGRESS_ROWS == 0:
                progress(name, share(), counts)
        producer.flush()
        if lines:
            lines.write(json.dumps(counts.as_dict()) + "\n")
    if report and draft:
        draft.replace(report)
    return counts


Outcome = Listen | RejectedInputError | None


def _outcomes(
    sources: list[tuple[str, Callable[[], IO[bytes]], int]],
    format_name: str,
    zone: tzinfo,
    seen: Seen,
    received_at: datetime,
) -> Iterator[tuple[str, Outcome, int, Callable[[], float], str]]:
    """Each row: file, what is to be imported (None: a duplicate; or why it is refused), row, share read, reason."""
    for name, opened, size in sources:
        try:
            with opened() as stream:

                def share(stream: IO[bytes] = stream, size: int = size) -> float:
                    return stream.tell() / size if size else 1.0

                for row in read(format_name, stream, name=name, zone=zone):
                    outcome: Outcome = row.outcome
                    if isinstance(outcome, Listen):
                        try:
                            check(outcome, received_at)
                        except RejectedInputError as error:
                            outcome = error
                        else:
                            outcome = outcome if seen.is_new(outcome) else None
                    why = outcome.reason if isinstance(outcome, RejectedInputError) else ""
                    yield name, outcome, row.number, share, why
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            damaged = RejectedInputError(f"the file is damaged: {error}", reason="damaged_file")
            yield name, damaged, 0, lambda: 1.0, damaged.reason


def _count(counts: Counts, name: str, row: int, outcome: Outcome, why: str) -> None:
    counts.rows += 1
    if isinstance(outcome, RejectedInputError):
        counts.rejected[why] += 1
        if len(counts.first_rejected) < SHOWN:
            counts.first_rejected.append(_line(name, row, outcome, why))
    elif outcome is None:
        counts.duplicates += 1
    else:
        counts.imported += 1


def _line(name: str, row: int, outcome: Outcome, why: str) -> dict[str, Any]:
    line: dict[str, Any] = {"file": name, "row": row}
    if isinstance(outcome, RejectedInputError):
        return line | {"outcome": REJECTED, "reason": why, "message": outcome.message, "value": _plain(outcome.value)}
    return line | {"outcome": DUPLICATE if outcome is None else IMPORTED}


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
        row_filter=mine("listened_at"), selected_fields=("listened_at", "recording_key", "source")
    )
    for batch in listens.to_arrow_batch_reader():
        for row in batch.to_pylist():
            index.add(int(row["listened_at"].timestamp()), recording_hash(row["recording_key"]), row["source"])
    plays = catalog.load_table("bronze.plays").scan(
        row_filter=mine("played_at"), selected_fields=("track_id", "played_at")
    )
    hashes: dict[int, int] = {}
    for batch in plays.to_arrow_batch_reader():
        rows = batch.to_pylist()
        if rows and not hashes:
            content = catalog.load_table("bronze.catalog_content")
            names = content.scan(selected_fields=("content_id", "artist_name", "title")).to_arrow().to_pylist()
            hashes = {
                row["content_id"]: recording_hash(recording_key(row["artist_name"], row["title"])) for row in names
            }
        for row in rows:
            if row["track_id"] in hashes:
                index.add(int(row["played_at"].timestamp()), hashes[row["track_id"]], "wavehouse")
