"""Whatever somebody sends: a folder or a prefix of the landing bucket with deliveries, tagged files, or both."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from errno import ENOENT
from os import strerror
from pathlib import Path, PurePosixPath
from threading import Event, Lock
from typing import Any

from lakehouse.adapters import deliveries, ingestion, podcast_deliveries
from lakehouse.adapters.catalog_db import CatalogDb, DeliveredAsset, Outcome
from lakehouse.adapters.deliveries import Delivered, record
from lakehouse.adapters.delivery_assets import artwork_of, links_of, lyrics_of
from lakehouse.adapters.delivery_sources import Prefix, Source, folder_of, opened, unreadable, waiting
from lakehouse.adapters.objects import LANDING, Objects, object_key
from lakehouse.adapters.repeating import repeat
from lakehouse.config.settings import Settings
from lakehouse.domain.capacity import backlog as capacity
from lakehouse.domain.capacity.backlog import Backlog, Deliveries
from lakehouse.domain.capacity.ingest import measured
from lakehouse.domain.catalog.deliveries import ern
from lakehouse.domain.catalog.deliveries.companions import companions
from lakehouse.domain.catalog.deliveries.xml import HEAD_BYTES
from lakehouse.errors import RejectedInputError, RetryableError
from lakehouse.failures import refused

WAITS = f"It waits below {ingestion.DELIVERIES} for the message or feed that names it."


@dataclass(frozen=True)
class Taken:
    """What became of everything: messages and feeds, audio files, and `companions`, what lies beside these (with files
    that could not be sent).
    """

    deliveries: list[Delivered] = field(default_factory=list)
    files: list[Outcome] = field(default_factory=list)
    companions: list[Delivered] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        """How many were refused."""
        outcomes = [done.outcome for done in (*self.deliveries, *self.companions)]
        return [*outcomes, *(done.outcome for done in self.files)].count("rejected")


def take(settings: Settings, address: str) -> Taken:
    """Take in all of `address`. Folders with a message or feed are deliveries, with everything below them; the rest are
    tagged files, with their artwork (`cover.jpg`), lyrics (`01 Song.lrc`) and links (`merch.json`) beside them. What
    landed below `deliveries/` without its message waits.

    Raises:
        RejectedInputError: `no_such_folder`, `no_files`.
    """
    if (file := Path(address).expanduser()).is_file():
        if unsent := ingestion.upload(settings, file).refused:
            return Taken(companions=_unsent(unsent))
        return Taken(files=ingestion.process_batch(settings, [object_key(file, file.parent)]))
    objects = Objects(settings)
    with opened(objects, address) as source:
        for name in source.documents():
            source.beside(name)  # before anything is read, as in `deliver`
        folders = {folder_of(name) for name in source.documents() if is_delivered(source, name)}
        documents = [name for name in source.documents() if _below(name, folders)]
        others = [name for name in source.names() if not _below(name, folders)]
        names = [name for name in others if ingestion.is_single(name)]
        too_early = [Delivered(name, "unchanged", message=WAITS) for name in others if not ingestion.is_single(name)]
        if not others and not folders:
            raise RejectedInputError(
                f"'{address}' holds no files.", reason="no_files", value=address, hint="Name a folder that has some."
            )
        with CatalogDb(settings) as db:
            done = deliveries.deliver_named(objects, db, source, documents)
        kinds = companions(names)
        keys, unsent = source.land([name for name in names if name not in kinds])
        files = ingestion.process_batch(settings, keys.values())
        with CatalogDb(settings) as db:
            owners = {name: outcome for name, outcome in zip(keys, files, strict=True) if outcome.content_id}
            attached = list(_attach(objects, db, source, kinds.items(), owners))
        return Taken(done, files, [*attached, *_unsent(unsent), *too_early])


def is_delivered(source: Source, name: str) -> bool:
    """Whether a document makes its folder a delivery: a message or feed, whole or not; no XML of another kind."""
    try:
        document = source.read(name, HEAD_BYTES)
    except RejectedInputError:
        return True  # nobody can know; it is refused with its reason
    finally:
        source.forget()
    return podcast_deliveries.is_feed(document) or ern.is_message(document)


def _unsent(rows: Iterable[dict[str, str]]) -> list[Delivered]:
    return [Delivered(row["file"], "rejected", reason=row["reason"], message=row["message"]) for row in rows]


def _below(name: str, folders: set[str]) -> bool:
    """Whether a file is in one of `folders` or deeper."""
    return any(folder_of(name) == folder or name.startswith(f"{folder}/" if folder else "") for folder in folders)


def _attach(
    objects: Objects,
    db: CatalogDb,
    source: Source,
    named: Iterable[tuple[str, str]],
    owners: dict[str, Outcome],
) -> Iterable[Delivered]:
    """Store what lies beside the tracks `owners` (by file name), each on its own: a bad picture harms no lyrics."""
    by_folder: dict[str, list[int]] = defaultdict(list)
    by_stem: dict[str, int] = {}
    for name, outcome in owners.items():
        if outcome.content_id:
            by_folder[folder_of(name)].append(outcome.content_id)
            by_stem[PurePosixPath(name).with_suffix("").as_posix()] = outcome.content_id
    for name, kind in named:
        digest = ""
        try:
            if (path := source.find("", name)) is None:
                raise unreadable(name, FileNotFoundError(ENOENT, strerror(ENOENT)))
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            stem = PurePosixPath(name).with_suffix("").as_posix()
            tracks = [by_stem[stem]] if kind == "lyrics" and stem in by_stem else by_folder[folder_of(name)]
            if not tracks or (kind == "lyrics" and stem not in by_stem):
                raise RejectedInputError(
                    f"No track that was taken belongs to '{name}'.",
                    reason="no_track",
                    value=name,
                    hint="`wavehouse ingest quarantine` says why the audio beside it was refused.",
                )
            assets, findings = _read(path, name, kind)
            if bad := [finding for finding in findings if finding["severity"] == "quarantined"]:
                raise RejectedInputError(f"{bad[0]['meaning']} ({name})", reason=bad[0]["code"], value=bad)
            if kind != "merch":
                objects.put_audio(path, digest)
            changed = db.attach(ingestion.file_source(name), assets, tracks)
            done = Delivered(name, "published" if changed else "unchanged")
        except Exception as error:  # whatever one file is, the others go on
            why = refused(error)
            done = Delivered(name, "rejected", reason=why.reason, message=why.message, value=why.value)
        yield record(db, source, digest, done)
        source.forget()


def _read(path: Path, name: str, kind: str) -> tuple[list[DeliveredAsset], list[dict[str, Any]]]:
    if kind == "artwork":
        asset, findings = artwork_of(path, name)
        return [asset], [finding.about(name) for finding in findings]
    if kind == "lyrics":
        return [lyrics_of(path, name, None, track=1)], []
    return links_of(path, None), []


#: Where deliveries land.
WATCHED = f"s3://{LANDING}/{ingestion.DELIVERIES}"


def backlog(settings: Settings, kbit_s: float) -> tuple[Backlog, Deliveries]:
    """What waits in landing now: single files, and messages and feeds. `kbit_s` is the average bit rate of files."""
    objects, now = Objects(settings), datetime.now(UTC)
    with CatalogDb(settings) as db:
        files = [(one.size_bytes, one.received_at) for one in db.unprocessed(ingestion.single_files(objects)[0])]
        delivered = waiting(objects.landed(ingestion.DELIVERIES), db.looked_at(Prefix.root))
    return (
        capacity.backlog(files, now, measured(), kbit_s),
        capacity.deliveries(delivered.since, delivered.size_bytes, now),
    )


def watch(settings: Settings, stop: Event, *, address: str, every_s: float, say: Callable[[str], None]) -> None:
    """Take in what comes to `address` until `stop` is set: it looks every `every_s` seconds.

    What was looked at is looked at again when the files beside it change, so that a message may come before its files.
    A takedown waits for no audio: while a look is at work, another one takes down what has come since.
    """
    turn, at_work, over = Lock(), Event(), Event()
    # What the look at work has read, and those beside it: they ask often, and read only what is new.
    heads: deliveries.Heads = {}

    def tell(outcomes: Iterable[Delivered]) -> None:
        for done in outcomes:
            say(f"{done.source}: {done.outcome} {done.reason or ''}".rstrip())

    def look() -> None:
        with ExitStack() as held:
            held.enter_context(turn)  # two that read and take down at once would both do what is new
            heads.clear()

            def go_on() -> None:
                held.close()
                at_work.set()

            try:
                done = deliveries.deliver(settings, address, only_new=True, heads=heads, hidden=go_on)
            finally:
                at_work.clear()
        tell(done)

    def take_down() -> None:
        if not at_work.is_set():
            return
        with turn:
            try:
                done = deliveries.deliver(settings, address, only_new=True, heads=heads, takedowns_only=True)
            except RejectedInputError as error:  # the address; if it stays so, the next look ends the service
                raise RetryableError(error.message, hint=error.hint) from error
        tell(done)

    with ThreadPoolExecutor(1, thread_name_prefix="takedowns") as pool:
        takedowns = pool.submit(repeat, take_down, over, every_s=every_s, say=say)
        try:
            repeat(look, stop, every_s=every_s, say=say)
        finally:
            over.set()
        takedowns.result()
