"""From landing to the catalogue: gather the facts about a file, let the domain judge it, keep it where it belongs."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any
from zlib import crc32

from lakehouse.adapters.audio_probe import probe
from lakehouse.adapters.catalog_db import CatalogDb, Landed, Outcome
from lakehouse.adapters.objects import (
    AUDIO,
    AUDIT,
    Objects,
    audio_name,
    check_key,
    etag_of,
    object_keys,
    quarantine_name,
)
from lakehouse.adapters.repeating import repeat
from lakehouse.config.settings import Settings
from lakehouse.domain.audio.tagged import judge
from lakehouse.domain.audio.validation import Limits
from lakehouse.domain.catalog.deliveries.companions import companions
from lakehouse.errors import RejectedInputError, RetryableError
from lakehouse.failures import refused


@dataclass(frozen=True)
class Uploaded:
    """One upload: files = sent + unchanged (the store had them already) + refused, each {file, reason, message}."""

    files: int
    sent: int
    unchanged: int
    refused: list[dict[str, str]]


def upload(settings: Settings, folder: Path) -> Uploaded:
    """Put every file below `folder` (or the one file) into s3://landing under its relative path.

    A file whose content is there already is not sent again. Links to folders are not followed. A file that can't be
    read (`unreadable`) or named (`name_too_long`) is refused; the others go on.

    Raises:
        RejectedInputError: `folder` does not exist (`no_such_folder`) or holds no file (`no_files`).
        RetryableError: the store is away or full; what was sent is there, and the next run goes on after it.
    """
    base = folder if folder.is_dir() else folder.parent
    if not folder.exists():
        raise RejectedInputError(
            f"There is no '{folder}'.",
            reason="no_such_folder",
            value=str(folder),
            hint="Name a folder that holds audio files, for example AUDIO=~/Music.",
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]
    if not files:
        raise RejectedInputError(
            f"'{folder}' holds no files.",
            reason="no_files",
            value=str(folder),
            hint="Name a folder that holds audio files, for example AUDIO=~/Music.",
        )
    return send(Objects(settings), object_keys(files, base))


def send(objects: Objects, named: Mapping[str, Path]) -> Uploaded:
    """Put files into s3://landing under their keys, unless they are there; as `upload`."""
    present = {landed.object_key: landed for landed in objects.landed()}
    sent = 0
    refused: list[dict[str, str]] = []
    for key, path in named.items():
        try:
            check_key(key)
            there = present.get(key)
            # The hash is asked for only where the size leaves it open.
            if there is None or there.size_bytes != path.stat().st_size or there.etag != etag_of(path):
                objects.put(path, key)
                sent += 1
        except RejectedInputError as error:
            refused.append({"file": str(path), "reason": error.reason, "message": error.message})
        except OSError as error:
            message = f"It cannot be read: {error.strerror}. Make it readable or move it away."
            refused.append({"file": str(path), "reason": "unreadable", "message": message})
    return Uploaded(len(named), sent, len(named) - sent - len(refused), refused)


#: Releases land here and become visible whole (see `deliveries`); their files are not taken one by one.
DELIVERIES = "deliveries/"


def is_single(key: str) -> bool:
    """Whether a file is taken by itself wherever it lands, not as part of a delivery whose message may be to come."""
    return not key.startswith(DELIVERIES)


def single_files(objects: Objects) -> tuple[list[Landed], list[str]]:
    """What landed and is taken by itself, and keys of pictures, lyrics and links beside that: these belong to it and
    are taken with it, by whoever takes the folder.
    """
    landed = [one for one in objects.landed() if is_single(one.object_key)]
    beside = companions(one.object_key for one in landed)
    return [one for one in landed if one.object_key not in beside], list(beside)


def file_source(name: str) -> str:
    """What the catalogue calls a file that lay beside tagged audio, as the source of what it brought."""
    return f"file:{name}"


def process(objects: Objects, db: CatalogDb, landed: Landed, limits: Limits | None = None) -> Outcome:
    """Bring one landed object to its outcome and record it. Done before: the recorded outcome, and nothing changes.

    The copy of the object comes first and the rows after it, in one transaction: when the process is killed in
    between, the next run finds no row and does both again, to the same effect.
    """
    if (known := db.outcome(landed)) is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="wavehouse-ingest-") as folder:
        path = Path(folder) / "object"
        objects.fetch(landed, path)
        facts = probe(path, landed.object_key)
    try:
        judged = judge(facts, landed.received_at.date(), limits)
    except RejectedInputError as error:
        return db.reject(landed, facts.sha256, error, objects.keep_rejected(landed, facts.sha256))
    objects.keep_audio(landed, facts.sha256)
    return db.accept(landed, judged, facts)


def process_batch(settings: Settings, keys: Iterable[str]) -> list[Outcome]:
    """Outcomes of the landed objects `keys`, in order; see `process`. Each file is claimed as `work` does; what another
    has is left to the end, where its outcome is waited for.

    One that is gone (`no_such_object`), can't be asked for, or meets a defect of ours (`internal_error`, see
    `failures.refused`) is `rejected` here, without a hash and without a record, and the others go on.
    """
    objects = Objects(settings)
    asked = list(keys)
    outcomes: dict[int, Outcome] = {}
    with CatalogDb(settings) as db:
        for wait in (False, True):
            for place, key in enumerate(asked):
                if place in outcomes:
                    continue
                try:
                    landed = objects.landed_one(key)
                    with db.claimed(landed, wait=wait) as mine:
                        if mine:
                            outcomes[place] = process(objects, db, landed)
                except Exception as error:
                    outcomes[place] = _unrecorded(key, error)
    return [outcomes[place] for place in range(len(asked))]


def waiting(settings: Settings, since: datetime | None = None) -> list[Landed]:
    """Landed objects that have no outcome yet, by key; without what belongs to others (`report` counts it). With
    `since` (a moment with a time zone) those that landed from then on.
    """
    landed = single_files(Objects(settings))[0]
    with CatalogDb(settings) as db:
        return db.unprocessed(one for one in landed if since is None or one.received_at >= since)


#: What brings one landed object to its outcome, as `process` does.
Take = Callable[[Objects, CatalogDb, Landed], Outcome]
#: A worker asks for so many of the oldest files at once what others have left of them, and begins at one of these.
_SOME = 32


def work(
    settings: Settings,
    stop: Event,
    *,
    every_s: float,
    worker: str,
    say: Callable[[str], None],
    take: Take | None = None,
) -> None:
    """Bring what lands to its outcomes until `stop` is set, beside any number of others that do the same: each file is
    one worker's at a time, and the oldest come first. It looks `every_s` seconds after a look, or at once where what it
    took has kept it longer than that; `worker`, a name of its own, spreads where workers begin.

    When an engine is away it waits for it. A defect of ours is logged and stops no other file; the file that met it is
    left to the next run. `take` stands around `process` for who measures it.
    """
    objects = Objects(settings)
    failed: set[tuple[str, str]] = set()

    def look(db: CatalogDb) -> bool:
        """Take what waits now; whether anything came to its outcome."""
        open_ones = db.unprocessed(single_files(objects)[0])
        failed.intersection_update((one.object_key, one.etag) for one in open_ones)
        todo = [one for one in open_ones if (one.object_key, one.etag) not in failed]
        todo.sort(key=lambda one: (one.received_at, one.object_key))
        recorded = False
        for first in range(0, len(todo), _SOME):
            left = db.unprocessed(todo[first : first + _SOME])
            start = crc32(worker.encode()) % max(1, len(left))
            for landed in left[start:] + left[:start]:
                if stop.is_set():
                    return False
                if (done := _claim(objects, db, landed, take or process)) is None:
                    continue
                line = f"{done.object_key}: {done.outcome} {done.reason or ''}".rstrip()
                recorded |= bool(done.sha256)
                # Without a record it waits on. One that is gone may come back as it was.
                if not done.sha256 and done.reason != "no_such_object":
                    failed.add((landed.object_key, landed.etag))
                    line += f"; left alone until a restart. {done.message}"
                say(line)
        return recorded

    def look_while_there_is_much() -> None:
        with CatalogDb(settings) as db:
            began = monotonic()
            while look(db) and monotonic() - began >= every_s:
                began = monotonic()

    repeat(look_while_there_is_much, stop, every_s=every_s, say=say)


def _claim(objects: Objects, db: CatalogDb, landed: Landed, take: Take) -> Outcome | None:
    """What became of a file now; None when another worker has it or had it, or when it was replaced meanwhile."""
    try:
        with db.claimed(landed) as mine:
            return take(objects, db, landed) if mine and db.outcome(landed) is None else None
    except Exception as error:
        if isinstance(error, RetryableError) and _is_replaced(objects, landed):
            return None
        return _unrecorded(landed.object_key, error)


def _is_replaced(objects: Objects, landed: Landed) -> bool:
    """Whether this version of an object is no longer there: then no engine is away, and the next look finds the new."""
    try:
        return objects.landed_one(landed.object_key).etag != landed.etag
    except RejectedInputError:
        return True


def _unrecorded(key: str, error: Exception) -> Outcome:
    """A file without an outcome: whatever it is, the others go on. Raises as `failures.refused` does."""
    why = refused(error)
    return Outcome(key, "rejected", "", why.reason, why.message)


def count(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Outcomes counted: in = accepted + duplicate + rejected, and rejected by reason."""
    rows = list(outcomes)
    by = Counter(row.outcome for row in rows)
    reasons = Counter(str(row.reason) for row in rows if row.outcome == "rejected")
    return {
        "in": len(rows),
        "accepted": by["accepted"],
        "duplicate": by["duplicate"],
        "rejected": by["rejected"],
        "rejected_by_reason": dict(sorted(reasons.items())),
    }


def report(settings: Settings) -> dict[str, Any]:
    """What became of everything that landed, and the checks that hold the ledger, the catalogue and the store together.

    `beside` counts the pictures, lyrics and links that wait for `wavehouse ingest s3://landing/FOLDER`. Each of
    `checks` is {name, left, right, equal}.
    """
    objects = Objects(settings)
    landed, beside = single_files(objects)
    with CatalogDb(settings) as db:
        open_ones = db.unprocessed(landed)
        attached = db.attached(file_source(key) for key in beside)
        counts = db.counts()
        stored, kept = db.object_hashes()
        rejections = db.rejections()
    tables = counts.pop("tables")
    audio_missing = {audio_name(sha256) for sha256 in stored} - objects.names(AUDIO)
    kept_missing = {quarantine_name(sha256) for sha256 in kept} - objects.names(AUDIT, "quarantine/")
    pairs = [
        (
            "in = accepted + duplicate + rejected",
            counts["in"],
            tables["content_with_audio"] + counts["duplicate"] + tables["quarantine"],
        ),
        ("accepted = content with audio", counts["accepted"], tables["content_with_audio"]),
        ("accepted = audio objects in the catalogue", counts["accepted"], tables["audio_object"]),
        ("audio objects missing in the store", 0, len(audio_missing)),
        ("rejected = rows in quarantine", counts["rejected"], tables["quarantine"]),
        ("refused files missing in the store", 0, len(kept_missing)),
    ]
    return {
        "landed": len(landed),
        "beside": len(beside) - len(attached),
        "waiting": len(open_ones),
        **counts,
        "rejections": rejections,
        "checks": [{"name": n, "left": left, "right": right, "equal": left == right} for n, left, right in pairs],
    }
