"""Deliveries of releases and podcasts: find the messages, check every resource, publish whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from lakehouse.adapters import packaging, podcast_deliveries
from lakehouse.adapters.audio_probe import probe
from lakehouse.adapters.catalog_db import CatalogDb, DeliveredAsset, DeliveredTrack
from lakehouse.adapters.delivery_assets import artwork_of, links_of, lyrics_of
from lakehouse.adapters.delivery_sources import Source, folder_of, opened
from lakehouse.adapters.objects import Objects
from lakehouse.config.settings import Settings
from lakehouse.domain.audio.tagged import judge
from lakehouse.domain.audio.validation import AudioFacts, check_sound
from lakehouse.domain.catalog.content import TRACK, Item
from lakehouse.domain.catalog.deliveries import changes, ern, merch
from lakehouse.domain.catalog.deliveries.corrections import Corrections, corrected, gathered
from lakehouse.domain.catalog.deliveries.faults import Fault
from lakehouse.domain.catalog.deliveries.messages import File, Message, Release, Text, Track
from lakehouse.domain.catalog.deliveries.xml import MAX_BYTES
from lakehouse.domain.catalog.identifiers import normalise_isrc
from lakehouse.domain.catalog.quality.records import Assessment, Finding, Metadata, assess
from lakehouse.errors import RejectedInputError
from lakehouse.failures import refused


@dataclass(frozen=True)
class Delivered:
    """What became of a message, a feed or a file beside audio: `published`, `taken_down`, `unchanged` or `rejected`,
    and what was noticed.
    """

    source: str
    outcome: str
    sender: str | None = None
    message_id: str | None = None
    release_key: str | None = None
    reason: str | None = None
    message: str | None = None
    value: Any = None
    findings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Read:
    """A message that could be read, and where it came from."""

    message: Message
    digest: str
    name: str


#: What was read of documents, by name: their version, and of a message what can be decided without what it publishes;
#: None for a feed.
Heads = dict[str, tuple[object, _Read | None]]


def _nothing() -> None: ...


def deliver(
    settings: Settings,
    address: str,
    *,
    only_new: bool = False,
    takedowns_only: bool = False,
    heads: Heads | None = None,
    hidden: Callable[[], None] = _nothing,
) -> list[Delivered]:
    """Outcomes of all podcast feeds and ERN messages below `address`, a folder or s3://landing/prefix, in the order
    in which they were done: what can't be read, takedowns, feeds, and messages in the order of their dates.

    What is refused leaves nothing behind but its reason and its bytes; the others go on. With `only_new`, what was
    looked at before and has the same files beside it is left out, and nothing at all is no error. `hidden` is called
    when everything was read and the takedowns are done; with `takedowns_only` that is all, and the rest stays new.
    `heads` collects what was read; with `takedowns_only` what is in it is not read again. Without it, no playback
    package of what is hidden is left at the end.

    Raises:
        RejectedInputError: `no_such_folder`, `no_messages`.
    """
    objects = Objects(settings)
    with opened(objects, address) as source, CatalogDb(settings) as db:
        names = source.documents()
        if not names and not only_new:
            raise RejectedInputError(
                f"'{address}' holds no ERN message and no podcast feed.",
                reason="no_messages",
                value=address,
                hint="`wavehouse ingest PATH` takes folders of tagged files too.",
            )
        # Asked for before anything is read: a file that comes meanwhile makes the next look another one.
        beside = {name: source.beside(name) for name in names}
        if only_new:
            seen = db.looked_at(source.root)
            names = [name for name in names if seen.get(name) != beside[name]]
        done = deliver_named(objects, db, source, names, takedowns_only=takedowns_only, heads=heads, hidden=hidden)
        if not takedowns_only:  # no key opens them any more, and takedowns wait for nothing
            # All that is hidden, not only what was now: an earlier call may have been killed before this.
            packaging.remove_hidden(objects, db)
    return done


def deliver_named(
    objects: Objects,
    db: CatalogDb,
    source: Source,
    names: Iterable[str],
    *,
    takedowns_only: bool = False,
    heads: Heads | None = None,
    hidden: Callable[[], None] = _nothing,
) -> list[Delivered]:
    """Outcomes of the documents `names` of `source`; see `deliver`."""
    outcomes: list[Delivered] = []
    feeds: list[str] = []
    read: list[_Read] = []
    heads = {} if heads is None else heads

    def try_out(name: str, step: Callable[[], Delivered | None], message: Message | None = None) -> None:
        try:
            done = step()
        except Exception as error:  # whatever one document is, the others go on
            done = record(db, source, *_refusal(source, name, message, refused(error)))
        if done is not None:
            outcomes.append(done)
        source.forget()

    def look(name: str) -> Delivered | None:
        version = source.version(name)  # before it is read: what comes meanwhile is read the next time
        if takedowns_only and name in heads and heads[name][0] == version:
            if (known := heads[name][1]) is not None:
                read.append(known)
            return None
        document, digest = _read_document(source, name)
        if podcast_deliveries.is_feed(document):
            feeds.append(name)
            heads[name] = version, None
        elif ern.is_manifest(document):
            listed = Delivered(name, "unchanged", message="It lists the messages of a batch, and changes nothing.")
            return record(db, source, digest, listed)
        else:
            one = _Read(ern.read(document), digest, name)
            read.append(one)
            heads[name] = version, _head(one)
        return None

    def deliver_feed(name: str) -> Delivered:
        document, digest = _read_document(source, name)
        done = Delivered(name, **podcast_deliveries.deliver(objects, db, source, name, document))
        return record(db, source, digest, done)

    for name in names:
        try_out(name, partial(look, name))
    first, rest = _in_turn(read)
    for one in first:
        try_out(one.name, partial(_deliver_one, objects, db, source, one), one.message)
    hidden()
    if takedowns_only:
        return outcomes
    for name in feeds:
        try_out(name, partial(deliver_feed, name))
    for one in rest:
        try_out(one.name, partial(_deliver_one, objects, db, source, one), one.message)
    return outcomes


def _head(one: _Read) -> _Read:
    """A message without what it publishes; of a takedown all, for it is done by this."""
    return one if one.message.action == "takedown" else replace(one, message=replace(one.message, release=None))


def _in_turn(read: Iterable[_Read]) -> tuple[list[_Read], list[_Read]]:
    """Messages by date: takedowns of releases of which no earlier message waits, which need not wait for the audio of
    others, and the rest.
    """
    first: list[_Read] = []
    rest: list[_Read] = []
    waiting: set[str] = set()
    for one in sorted(read, key=lambda one: (one.message.created_at, one.message.message_id)):
        if one.message.action == "takedown" and one.message.release_key not in waiting:
            first.append(one)
        else:
            waiting.add(one.message.release_key)
            rest.append(one)
    return first, rest


def _read_document(source: Source, name: str) -> tuple[bytes, str]:
    """A message or feed, and the hash of its bytes."""
    # One byte more than is allowed tells the reader that there are more, whatever the size is.
    document = source.read(name, MAX_BYTES + 1)
    return document, hashlib.sha256(document).hexdigest()


def _refusal(
    source: Source, name: str, message: Message | None, error: RejectedInputError
) -> tuple[str, Delivered, bytes | None]:
    """What to record of a document that is refused: hash, outcome and bytes; "" and none where it can't be read."""
    done = Delivered(name, "rejected", reason=error.reason, message=error.message, value=error.value)
    if message:
        done = replace(done, sender=message.sender, message_id=message.message_id, release_key=message.release_key)
    try:
        document, digest = _read_document(source, name)
    except RejectedInputError:
        return "", done, None
    # More than may be read is no message; its file stays where it is.
    return digest, done, document if len(document) <= MAX_BYTES else None


def record(db: CatalogDb, source: Source, digest: str, done: Delivered, document: bytes | None = None) -> Delivered:
    """Remember what became of a message or another file of a delivery; returns it."""
    names = ("outcome", "sender", "message_id", "reason", "message", "value")
    values = {name: getattr(done, name) for name in names}
    where = {"root": source.root, "beside": source.beside(done.source), "document": document}
    db.record_delivery(digest, done.source, values | where)
    return done


def _deliver_one(objects: Objects, db: CatalogDb, source: Source, one: _Read) -> Delivered:
    actions = db.message_actions(one.digest)
    corrections = gathered([action["value"] for action in actions if action["action"] == "fix"])
    message = corrected(one.message, corrections)
    prepared = _Prepared([], [], [])
    # Before any file is stored, and once more when it is applied.
    if db.decide(message, one.digest) == "publish" and message.release is not None:
        prepared = _prepare(objects, db, source, folder_of(one.name), message, message.release, corrections)
    decision = db.apply(message, one.digest, prepared.tracks, prepared.assets)
    outcome = {"publish": "published", "takedown": "taken_down", "unchanged": "unchanged"}[decision]
    done = Delivered(
        one.name, outcome, message.sender, message.message_id, message.release_key, findings=prepared.findings
    )
    return record(db, source, one.digest, done)


@dataclass(frozen=True)
class _Prepared:
    """A release whose files are in the store: its tracks, what else belongs to it, and what was mended."""

    tracks: list[DeliveredTrack]
    assets: list[DeliveredAsset]
    findings: list[dict[str, Any]]


def _prepare(
    objects: Objects,
    db: CatalogDb,
    source: Source,
    folder: str,
    message: Message,
    release: Release,
    corrections: Corrections,
) -> _Prepared:
    """The release with its files in the store. Everything is checked before the first one is stored.

    Raises:
        RejectedInputError: a resource is missing or faulty, or a record must be looked at; the value says which.
    """
    if not release.tracks:
        # Of videos alone the message may be complete; it is not for us.
        why = Fault.UNSUPPORTED_RESOURCE if message.left_out else Fault.ERN_INCOMPLETE
        raise RejectedInputError("The release has no sound recording.", reason=why.code, value=release.key)
    files: dict[str, Path] = {}  # to be stored, by hash
    held = db.track_audio(release.key)
    kept = db.delivered_assets(release.key)
    facts = [_facts(source, folder, track, held, files) for track in release.tracks]
    judged = [
        assess(_record_of(message, release, track, found)) for track, found in zip(release.tracks, facts, strict=True)
    ]
    findings = [
        finding.about(track.reference)
        for track, assessment in zip(release.tracks, judged, strict=True)
        for finding in assessment.findings
    ]
    findings += [Fault.UNSUPPORTED_RESOURCE.about(reference, kind) for reference, kind in message.left_out]
    assets: list[DeliveredAsset] = []
    for picture in release.pictures:
        if picture.file:
            asset, found = _picture(source, folder, picture.file, kept, files)
            assets.append(asset)
            findings += [finding.about(picture.reference) for finding in found]
    for place, track in enumerate(release.tracks, 1):
        assets += [_words(source, folder, words, place, kept, files) for words in track.lyrics]
    assets += _links(source, folder, release.key, kept)
    bad = [f for f in findings if f["severity"] == "quarantined" and f["code"] not in corrections.accepted]
    if bad:
        raise RejectedInputError(
            f"{bad[0]['meaning']} ({bad[0]['resource']}: {bad[0]['field']})",
            reason=bad[0]["code"],
            value=bad,
            hint="`wavehouse ingest rules` says how to mend each.",
        )
    tracks = [
        DeliveredTrack(_item(release, assessment, found, place), found)
        for place, (assessment, found) in enumerate(zip(judged, facts, strict=True), 1)
    ]
    for sha256, path in files.items():
        objects.put_audio(path, sha256)  # pictures and lyrics lie beside the audio: there, a name is a hash
    return _Prepared(tracks, assets, findings)


def _facts(
    source: Source, folder: str, track: Track, held: dict[str, AudioFacts], files: dict[str, Path]
) -> AudioFacts:
    """Facts about a track's file; where it was not sent again, about the audio that an earlier message brought."""
    path = source.find(folder, track.file.path) if track.file else None
    if path is None or track.file is None:
        try:
            known = held.get(normalise_isrc(track.isrc or ""))
        except ValueError:
            known = None
        if known is None or (track.file and track.file.algorithm == "sha256" and track.file.digest != known.sha256):
            raise _missing(f"The audio of '{track.title}'", track.file.path if track.file else track.reference)
        return known
    _check_digest(path, track.file)
    facts = probe(path, track.file.path)
    check_sound(facts)
    files[facts.sha256] = path
    return facts


def _missing(what: str, path: str) -> RejectedInputError:
    return RejectedInputError(
        f"{what} is not in the delivery.",
        reason="missing_resource",
        value=path,
        hint="Send the delivery again with all of its files.",
    )


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


Kept = dict[tuple[str, str | None], DeliveredAsset]


def _kept(kept: Kept, kind: str, file: File, what: str) -> DeliveredAsset:
    """What an earlier message brought under this path.

    Raises:
        RejectedInputError: `missing_resource`; none did, or other bytes.
    """
    found = kept.get((kind, file.path))
    if found is None or (file.algorithm == "sha256" and file.digest != found.sha256):
        raise _missing(f"{what} '{file.path}'", file.path)
    return found


def _picture(
    source: Source, folder: str, file: File, kept: Kept, files: dict[str, Path]
) -> tuple[DeliveredAsset, list[Finding]]:
    path = source.find(folder, file.path)
    if path is None:
        return _kept(kept, "artwork", file, "The picture"), []
    _check_digest(path, file)
    asset, findings = artwork_of(path, file.path)
    files[str(asset.sha256)] = path
    return asset, findings


def _words(source: Source, folder: str, words: Text, place: int, kept: Kept, files: dict[str, Path]) -> DeliveredAsset:
    """The lyrics of the track at `place`; see `lyrics.read` for what may be wrong with them."""
    path = source.find(folder, words.file.path)
    if path is None:
        return replace(_kept(kept, "lyrics", words.file, "The lyrics"), track=place)
    _check_digest(path, words.file)
    asset = lyrics_of(path, words.file.path, words.language, track=place)
    files[str(asset.sha256)] = path
    return asset


def _links(source: Source, folder: str, release_key: str, kept: Kept) -> list[DeliveredAsset]:
    """Links of `merch.json` for this release; without that file, those that it has."""
    path = source.find(folder, merch.FILE)
    if path is None:
        return [link for (kind, _), link in kept.items() if kind == "merch"]
    return links_of(path, release_key)


def _record_of(message: Message, release: Release, track: Track, facts: AudioFacts) -> Metadata:
    windows = release.windows if track.windows is None else track.windows
    return Metadata(
        title=track.title,
        artist=track.artist,
        delivered_on=message.created_at.date(),
        featured=track.featured,
        release=release.title,
        isrc=track.isrc,
        icpn=release.icpn,
        iswc=track.iswc,
        ipi=track.ipi,
        isni=track.isni,
        language=track.language,
        territories=tuple(dict.fromkeys(window.territory for window in windows)),
        released_on=release.released_on,
        originally_released_on=release.originally_released_on,
        explicit=track.explicit,
        duration=track.duration,
        decoded_ms=facts.duration_ms,
        silent_ratio=facts.silent_ratio,
        clipped_ratio=facts.clipped_ratio,
    )


def _item(release: Release, assessment: Assessment, facts: AudioFacts, place: int) -> Item:
    record = assessment.record
    said = {
        "date": record.released_on,
        "genre": release.genre,
        "featured": list(record.featured),
        "explicit": record.explicit,
        "language": record.language,
        "label": release.label,
        "iswc": record.iswc,
        "isni": record.isni,
        "ipi": record.ipi,
    }
    attributes: dict[str, Any] = {"track_number": place, "album_artist": release.artist}
    attributes |= {name: value for name, value in said.items() if value}
    TRACK.check(attributes)
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


def history(settings: Settings, release_key: str) -> list[dict[str, Any]]:
    """All versions of a delivered release, the oldest first: who sent it, when, what it did and what it `changed`."""
    with CatalogDb(settings) as db:
        rows = db.history(release_key)
    before: dict[str, Any] | None = None
    for row in rows:
        document = row.pop("document")
        # A takedown says nothing about the release but that it is gone.
        row["changed"] = [asdict(c) for c in changes.changes(before, document)] if row["action"] == "publish" else []
        before = document if row["action"] == "publish" else before
    return rows


def fix_message(settings: Settings, digest: str, laid: Corrections, *, actor: str, note: str, at: datetime) -> None:
    """Lay corrections over a refused message, for the next time that it is judged.

    Raises:
        RejectedInputError: `invalid_correction`; they don't fit it, or it is no message of ERN.
    """
    with CatalogDb(settings) as db:
        found = db.refused_message(digest) or {}
        document = found.get("document")
        if document is None or podcast_deliveries.is_feed(document):
            raise RejectedInputError(
                "Only messages of ERN can be corrected here.",
                reason="invalid_correction",
                value=digest,
                hint="Mend the file or the feed and send it again.",
            )
        corrected(ern.read(document), laid)
        db.act_on_message(found["digest"], "fix", actor=actor, note=note, value=laid.as_json(), at=at)


def release_message(settings: Settings, digest: str, *, actor: str, note: str, at: datetime) -> Delivered:
    """Take a refused message once more, with what people corrected and accepted, from where it lay.

    Raises:
        RejectedInputError: it still breaks a rule, or there is no such refused message (`not_in_quarantine`).
    """
    objects = Objects(settings)
    with CatalogDb(settings) as db:
        found = db.refused_message(digest)
        if found is None or found["document"] is None:
            raise RejectedInputError(
                f"No refused message has the digest '{digest}'.",
                reason="not_in_quarantine",
                value=digest,
                hint="See what is there with `wavehouse ingest quarantine`.",
            )
        name, root, document = found["source"], found["root"], found["document"]
        address = f"{root}/{folder_of(name)}" if root.startswith("s3://") else root
        # The audit entry is written with what it is about, or neither is.
        with opened(objects, address) as source, db.together():
            if podcast_deliveries.is_feed(document):
                taken = Delivered(name, **podcast_deliveries.deliver(objects, db, source, name, document))
                done = record(db, source, found["digest"], taken)
            else:
                done = _deliver_one(objects, db, source, _Read(ern.read(document), found["digest"], name))
            was = {name: found[name] for name in ("reason", "message", "value")}
            db.act_on_message(found["digest"], "release", actor=actor, note=note, value=was, at=at)
    return done


def release_from_quarantine(settings: Settings, object_key: str, *, actor: str, note: str, at: Any) -> dict[str, Any]:
    """Judge a refused file once more, with the tags that were laid over its own and without the rules that were passed
    over, and take it if it passes.

    Raises:
        RejectedInputError: it still breaks a rule, or it is not in quarantine.
    """
    objects = Objects(settings)
    with CatalogDb(settings) as db, tempfile.TemporaryDirectory(prefix="wavehouse-release-") as name:
        found = db.quarantined(object_key)
        path = Path(name) / "object"
        objects.fetch_rejected(found["sha256"], path)
        facts = probe(path, object_key)
        laid: Corrections = found["corrections"]
        facts = replace(facts, tags=facts.tags | laid.values)
        judged = judge(facts, found["received_at"].date(), accepted=laid.accepted)
        objects.put_audio(path, facts.sha256)
        outcome = db.release_from_quarantine(object_key, judged, facts, actor=actor, note=note, at=at)
    return {"object_key": object_key, "outcome": outcome.outcome, "content_id": outcome.content_id}
