"""Release deliveries: find the messages of a folder or prefix, check every resource, publish whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lakehouse.adapters.audio_probe import probe
from lakehouse.adapters.catalog_db import CatalogDb, DeliveredTrack
from lakehouse.adapters.objects import LANDING, Objects
from lakehouse.config.settings import Settings
from lakehouse.domain.audio.validation import AudioFacts, check_sound
from lakehouse.domain.catalog.content import TRACK, Item
from lakehouse.domain.catalog.deliveries import ern
from lakehouse.domain.catalog.deliveries.messages import File, Message, Release, Track
from lakehouse.domain.catalog.deliveries.xml import MAX_BYTES
from lakehouse.domain.catalog.identifiers import normalise_isrc
from lakehouse.domain.catalog.quality.records import Artwork, Assessment, Metadata, assess
from lakehouse.errors import FatalError, RejectedInputError


@dataclass(frozen=True)
class Delivered:
    """What became of one message: `published`, `taken_down`, `unchanged` or `rejected`, and what was noticed."""

    source: str
    outcome: str
    sender: str | None = None
    message_id: str | None = None
    release_key: str | None = None
    reason: str | None = None
    message: str | None = None
    value: Any = None
    findings: list[dict[str, Any]] = field(default_factory=list)


def deliver(settings: Settings, source: str) -> list[Delivered]:
    """Outcomes of all ERN messages below `source`, a folder or s3://landing/prefix, in the order of their dates.

    A message that is refused leaves nothing behind but its reason; the others go on.

    Raises:
        RejectedInputError: `no_such_folder`, `no_messages`.
    """
    objects = Objects(settings)
    with _local(objects, source) as folder, CatalogDb(settings) as db:
        documents = [path for path in sorted(folder.rglob("*.xml")) if path.is_file()]
        if not documents:
            raise RejectedInputError(
                f"'{source}' holds no ERN message.",
                reason="no_messages",
                value=source,
                hint="A folder of tagged files goes in with `wavehouse ingest upload`.",
            )
        outcomes: list[Delivered] = []
        read: list[tuple[Message, bytes, Path]] = []
        for path in documents:
            name = path.relative_to(folder).as_posix()
            # One byte more than is allowed tells the reader that there are more, whatever the size is.
            with path.open("rb") as stream:
                document = stream.read(MAX_BYTES + 1)
            try:
                read.append((ern.read(document), document, path))
            except RejectedInputError as error:
                outcomes.append(_rejected(db, name, document, None, error))
        for message, document, path in sorted(read, key=lambda one: (one[0].created_at, one[0].message_id)):
            name = path.relative_to(folder).as_posix()
            try:
                outcomes.append(_deliver_one(objects, db, message, document, path, name))
            except RejectedInputError as error:
                outcomes.append(_rejected(db, name, document, message, error))
    return outcomes


def _rejected(
    db: CatalogDb, source: str, document: bytes, message: Message | None, error: RejectedInputError
) -> Delivered:
    done = Delivered(
        source,
        "rejected",
        message.sender if message else None,
        message.message_id if message else None,
        message.release_key if message else None,
        error.reason,
        error.message,
        error.value,
    )
    _record(db, done, document)
    return done


def _record(db: CatalogDb, done: Delivered, document: bytes) -> None:
    names = ("outcome", "sender", "message_id", "reason", "message", "value")
    db.record_delivery(hashlib.sha256(document).hexdigest(), done.source, {name: getattr(done, name) for name in names})


def _deliver_one(
    objects: Objects, db: CatalogDb, message: Message, document: bytes, path: Path, name: str
) -> Delivered:
    tracks: list[DeliveredTrack] = []
    findings: list[dict[str, Any]] = []
    if message.release is not None and message.action == "publish":
        tracks, findings = _prepare(objects, db, message, message.release, path.parent)
    decision = db.apply(message, hashlib.sha256(document).hexdigest(), tracks)
    outcome = {"publish": "published", "takedown": "taken_down", "unchanged": "unchanged"}[decision]
    done = Delivered(name, outcome, message.sender, message.message_id, message.release_key, findings=findings)
    _record(db, done, document)
    return done


def _prepare(
    objects: Objects, db: CatalogDb, message: Message, release: Release, folder: Path
) -> tuple[list[DeliveredTrack], list[dict[str, Any]]]:
    """The tracks of a release with their audio in the bucket, and what was mended.

    Raises:
        RejectedInputError: a resource is missing or faulty, or a record must be looked at; the value says which.
    """
    if not release.tracks:
        raise RejectedInputError("The release has no sound recording.", reason="ern_incomplete", value=release.key)
    held = db.track_audio(release.key)
    artwork = [_artwork(folder, picture.file) for picture in release.pictures if picture.file]
    facts = [_facts(folder, track, held) for track in release.tracks]
    judged = [
        assess(_record_of(message, release, track, found, artwork[0] if artwork else None))
        for track, found in zip(release.tracks, facts, strict=True)
    ]
    findings = [_shown(track, assessment) for track, assessment in zip(release.tracks, judged, strict=True)]
    flat = [finding for found in findings for finding in found]
    if bad := [finding for finding in flat if finding["severity"] == "quarantined"]:
        raise RejectedInputError(
            f"{bad[0]['meaning']} ({bad[0]['track']}: {bad[0]['field']})",
            reason=bad[0]["code"],
            value=bad,
            hint="`wavehouse ingest rules` says how to mend each.",
        )
    for found in facts:
        if found.object_key:
            objects.put_audio(folder / found.object_key, found.sha256)
    tracks = [
        DeliveredTrack(_item(release, assessment, found, place), found)
        for place, (assessment, found) in enumerate(zip(judged, facts, strict=True), 1)
    ]
    return tracks, flat


def _facts(folder: Path, track: Track, held: dict[str, AudioFacts]) -> AudioFacts:
    """Facts about a track's file; where it was not sent again, about the audio that an earlier message brought."""
    path = _inside(folder, track.file)
    if path is None:
        try:
            known = held.get(normalise_isrc(track.isrc or ""))
        except ValueError:
            known = None
        if known is None or (track.file and track.file.algorithm == "sha256" and track.file.digest != known.sha256):
            raise RejectedInputError(
                f"The audio of '{track.title}' is not in the delivery.",
                reason="missing_resource",
                value=track.file.path if track.file else track.reference,
                hint="Send the delivery again with all of its files.",
            )
        return known
    assert track.file is not None  # noqa: S101 - a path comes from a file
    _check_digest(path, track.file)
    facts = probe(path, track.file.path)
    check_sound(facts)
    return facts


def _inside(folder: Path, file: File | None) -> Path | None:
    """The file of a delivery if it is there; a link that leads out of the delivery is not."""
    if file is None:
        return None
    path = folder / PurePosixPath(file.path)
    return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None


def _check_digest(path: Path, file: File) -> None:
    if file.digest is None or file.algorithm is None:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, file.algorithm).hexdigest()
    if found != file.digest:
        raise RejectedInputError(
            f"The bytes of '{file.path}' are not those that the message declares.",
            reason="checksum_mismatch",
            value=[file.path, file.digest, found],
            hint="Upload the file again.",
        )


def _artwork(folder: Path, file: File) -> Artwork:
    from PIL import Image, UnidentifiedImageError

    path = _inside(folder, file)
    if path is None:
        raise RejectedInputError(
            f"The picture '{file.path}' is not in the delivery.", reason="missing_resource", value=file.path
        )
    _check_digest(path, file)
    try:
        with Image.open(path) as picture:  # reads the header only
            return Artwork(picture.format or "", picture.width, picture.height)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return Artwork("unknown", 0, 0)


def _record_of(
    message: Message, release: Release, track: Track, facts: AudioFacts, artwork: Artwork | None
) -> Metadata:
    return Metadata(
        title=track.title,
        artist=track.artist,
        delivered_on=message.created_at.date(),
        featured=track.featured,
        release=release.title,
        isrc=track.isrc,
        language=track.language,
        territories=tuple(dict.fromkeys(window.territory for window in release.windows)),
        released_on=release.released_on,
        originally_released_on=release.originally_released_on,
        explicit=track.explicit,
        duration=track.duration,
        decoded_ms=facts.duration_ms,
        silent_ratio=facts.silent_ratio,
        clipped_ratio=facts.clipped_ratio,
        artwork=artwork,
    )


def _shown(track: Track, assessment: Assessment) -> list[dict[str, Any]]:
    return [
        {
            "track": track.reference,
            "code": finding.rule.code,
            "severity": finding.rule.severity,
            "meaning": finding.rule.meaning,
            "field": finding.field,
            "value": finding.value,
            "mended": finding.mended,
        }
        for finding in assessment.findings
    ]


def _item(release: Release, assessment: Assessment, facts: AudioFacts, place: int) -> Item:
    record = assessment.record
    attributes: dict[str, Any] = {"track_number": place, "album_artist": release.artist}
    if record.released_on:
        attributes["date"] = record.released_on
    return Item(
        kind=TRACK.kind,
        title=record.title,
        artist=record.artist,
        release=record.release,
        release_artist=release.artist,
        isrc=record.isrc,
        sha256=facts.sha256,
        attributes=attributes,
    )


@contextmanager
def _local(objects: Objects, source: str) -> Iterator[Path]:
    """The folder `source`, or a local copy of what is below s3://landing/prefix."""
    if not source.startswith("s3://"):
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise RejectedInputError(f"There is no folder '{source}'.", reason="no_such_folder", value=source)
        yield folder
        return
    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    if bucket != LANDING:
        raise FatalError(f"Deliveries land in s3://{LANDING}, not in s3://{bucket}.", hint=f"Use s3://{LANDING}/...")
    with tempfile.TemporaryDirectory(prefix="wavehouse-delivery-") as name:
        folder = Path(name)
        for landed in objects.landed(prefix):
            path = folder / PurePosixPath(landed.object_key)
            if not path.resolve().is_relative_to(folder.resolve()):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            objects.fetch(landed, path)
        yield folder


def release_from_quarantine(settings: Settings, object_key: str, *, actor: str, note: str, at: Any) -> dict[str, Any]:
    """Judge a refused file once more, with the tags that were laid over its own, and take it if it passes.

    Raises:
        RejectedInputError: it still breaks a rule, or it is not in quarantine.
    """
    from lakehouse.domain.audio.validation import judge

    objects = Objects(settings)
    with CatalogDb(settings) as db, tempfile.TemporaryDirectory(prefix="wavehouse-release-") as name:
        found = db.quarantined(object_key)
        path = Path(name) / "object"
        objects.fetch_rejected(found["sha256"], path)
        facts = probe(path, object_key)
        facts = replace(facts, tags=facts.tags | found["fixes"])
        item = judge(facts)
        objects.put_audio(path, facts.sha256)
        outcome = db.release_from_quarantine(object_key, item, facts, actor=actor, note=note, at=at)
    return {"object_key": object_key, "outcome": outcome.outcome, "content_id": outcome.content_id}
