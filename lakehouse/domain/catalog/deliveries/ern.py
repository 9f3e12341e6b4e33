"""DDEX Electronic Release Notification, versions 4.3, 4.2 and 3.8.2: NewReleaseMessage and PurgeReleaseMessage.

What the catalogue needs of a message is read by the names of its elements, so that one reader serves three versions;
the schemas themselves are DDEX's and no part of this repository. Source: DDEX, ERN Message Suite, part 1 of each
version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

from lakehouse.domain.catalog.deliveries.faults import Fault
from lakehouse.domain.catalog.deliveries.messages import (
    Action,
    File,
    Message,
    Picture,
    Release,
    Text,
    Track,
    Window,
    moment,
)
from lakehouse.domain.catalog.deliveries.xml import children, head, local, namespace, parse, text
from lakehouse.domain.catalog.identifiers import normalise_icpn
from lakehouse.domain.catalog.identifiers import release_key as key_of
from lakehouse.domain.catalog.quality.codes import WORLDWIDE, normalise_territory
from lakehouse.domain.catalog.quality.rules import Rule
from lakehouse.errors import RejectedInputError

#: Version by the last part of the namespace.
VERSIONS = {"43": "ERN 4.3", "42": "ERN 4.2", "382": "ERN 3.8.2"}
_ALGORITHMS = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}


#: The root of a batch's list of messages (DDEX, ERN choreography standard, part 3: BatchComplete).
_MANIFEST = re.compile(rb"<([A-Za-z][\w.-]*:)?ManifestMessage[\s>]")
_MESSAGE = re.compile(rb"<([A-Za-z][\w.-]*:)?[A-Za-z]+Message[\s>]")
#: The last day that dates have: how systems without an empty date write a deal that does not end.
_NEVER = "9999-12-31"
#: DDEX was founded in 2006: no message of ERN is older, and a date before it comes from a clock that nobody set. One
#: after the moments that ids have would be in force for good, for an update must be newer than what it updates.
FIRST_MESSAGE, LAST_MESSAGE = datetime(2006, 1, 1, tzinfo=UTC), datetime(2089, 1, 1, tzinfo=UTC)


def is_manifest(document: bytes) -> bool:
    """Whether a document only lists the messages of a batch, which are read by themselves."""
    return bool(_MANIFEST.search(head(document)))


def is_message(document: bytes) -> bool:
    """Whether a document is meant as a message, which a damaged one, of another version or another kind is too."""
    return bool(_MESSAGE.search(head(document)))


@dataclass(frozen=True)
class Party:
    """A person or band of a message, with identifiers as received."""

    name: str
    isni: str | None = None
    ipi: str | None = None


def read(document: bytes) -> Message:
    """The message in `document`.

    Raises:
        RejectedInputError: `xml_*` (see `xml.parse`), `unknown_version`, `unknown_message`, `ern_incomplete` (something
            that the catalogue needs is missing or unreadable), `unmatched_deals`, `invalid_icpn`, `invalid_territory`.
    """
    root = parse(document)
    version = VERSIONS.get(namespace(root).rsplit("/", 1)[-1]) if "/ern/" in namespace(root) else None
    if version is None:
        raise _refused(
            Fault.UNKNOWN_VERSION, f"'{namespace(root)}' is no version of ERN that is read.", namespace(root)
        )
    if local(root) not in ("NewReleaseMessage", "PurgeReleaseMessage"):
        raise _refused(Fault.UNKNOWN_MESSAGE, f"'{local(root)}' is no message that is read.", local(root))
    header = _one(root, "MessageHeader")
    message_id = _need(header, "MessageId")
    sender = _need(header, "MessageSender/PartyId")
    try:
        created_at = moment(_need(header, "MessageCreatedDateTime"))
        if not FIRST_MESSAGE <= created_at < LAST_MESSAGE:
            raise ValueError(f"it says that it was made at {created_at.isoformat()}")
        if local(root) == "PurgeReleaseMessage":
            key = _key(_one(root, "PurgedRelease/ReleaseId", "PurgedRelease"))
            return Message(version, message_id, sender, created_at, "takedown", key)
        main = _main_release(root)
        left_out = _left_out(root, main)
        release = _release(root, main, {reference for reference, _ in left_out})
        action = _action(root, main, release)
    except ValueError as error:
        raise _refused(Fault.ERN_INCOMPLETE, f"Message {message_id} cannot be read: {error}.", str(error)) from error
    return Message(
        standard=version,
        message_id=message_id,
        sender=sender,
        created_at=created_at,
        action=action,
        release_key=release.key,
        is_update=text(root, "UpdateIndicator") == "UpdateMessage",
        release=release,
        left_out=left_out,
    )


def _action(root: Element, main: Element, release: Release) -> Action:
    """What the deals of a message do to its release. A message without any takes it down, in 3.8.2 also a deal that
    says TakeDown (ERN 4, "Taking down releases"). Deals about other things than the release do neither.

    Raises:
        RejectedInputError: `unmatched_deals`; a deal names what the message does not describe, or none is about the
            release or a track of it.
    """
    own = [terms for _, terms in _terms(root, _need(main, "ReleaseReference"))]
    if any((text(terms, "TakeDown") or "").lower() == "true" for terms in own):
        return "takedown"
    about = {
        (found.text or "").strip()
        for found in children(root, "DealList/ReleaseDeal/DealReleaseReference")
        if found.text
    }
    known = {text(one, "ReleaseReference") for releases in children(root, "ReleaseList") for one in releases}
    if unknown := about - known:
        raise _refused(
            Fault.UNMATCHED_DEALS,
            f"Deals name releases that the message does not describe: {', '.join(sorted(unknown))}.",
            sorted(unknown),
        )
    if not any(children(root, "DealList/ReleaseDeal/Deal/DealTerms")):
        return "takedown"
    windows = [track.windows for track in release.tracks]
    if own or any(one is not None for one in windows):
        # Deals that take down every track, or the only ones there are, leave nothing of the release.
        return "publish" if own or any(windows) else "takedown"
    raise _refused(Fault.UNMATCHED_DEALS, "No deal is about the release or one of its tracks.", sorted(about))


#: Resources that the catalogue keeps. A picture out of a video goes with it.
_KEPT = ("SoundRecording", "Image", "Text")
_OUT_OF_VIDEO = "VideoScreenCapture"


def _left_out(root: Element, main: Element) -> tuple[tuple[str, str], ...]:
    """Reference and kind of the release's resources that are described, but are nothing that the catalogue keeps."""
    wanted = _resource_references(main)
    found: dict[str, str] = {}
    for resources in children(root, "ResourceList"):
        for resource in resources:
            reference, kind = text(resource, "ResourceReference"), local(resource)
            if text(resource, "Type", "ImageType") == _OUT_OF_VIDEO:
                kind = _OUT_OF_VIDEO
            if reference in wanted and kind not in _KEPT:
                found[reference] = kind
    return tuple((reference, found[reference]) for reference in wanted if reference in found)


def _refused(why: Fault | Rule, message: str, value: object) -> RejectedInputError:
    return RejectedInputError(message, reason=why.code, value=value, hint=why.fix)


def _one(element: Element, *paths: str) -> Element:
    for path in paths:
        for found in children(element, path):
            return found
    raise _refused(Fault.ERN_INCOMPLETE, f"'{local(element)}' has no {paths[0]}.", paths[0])


def _need(element: Element, *paths: str) -> str:
    if (found := text(element, *paths)) is None:
        raise _refused(Fault.ERN_INCOMPLETE, f"'{local(element)}' has no {paths[0]}.", paths[0])
    return found


def _key(release_id: Element) -> str:
    """GRid or UPC/EAN: what names a release in every later message."""
    if grid := text(release_id, "GRid"):
        return key_of(grid)
    return _icpn(_need(release_id, "ICPN"))


def _icpn(code: str) -> str:
    try:
        return normalise_icpn(code)
    except ValueError as error:
        raise _refused(Rule.INVALID_ICPN, f"{error}.", code) from error


def _territories(terms: Element, name: str) -> list[str]:
    found = []
    for element in children(terms, name):
        try:
            found.append(normalise_territory(element.text or ""))
        except ValueError as error:
            raise _refused(Rule.INVALID_TERRITORY, f"{error}.", element.text) from error
    return found


def _main_release(root: Element) -> Element:
    releases = list(children(root, "ReleaseList/Release"))
    for release in releases:
        # 3.8.2 lists the tracks as releases too, and marks the main one.
        if release.get("IsMainRelease") == "true" or text(release, "ReleaseReference") == "R0":
            return release
    if not releases:
        raise _refused(Fault.ERN_INCOMPLETE, "The message has no release.", "ReleaseList/Release")
    return releases[0]


def _release(root: Element, main: Element, left_out: set[str]) -> Release:
    parties = {
        reference: Party(name, text(party, "PartyId/ISNI"), text(party, "PartyId/IpiNameNumber"))
        for party in children(root, "PartyList/Party")
        if (reference := text(party, "PartyReference")) and (name := text(party, "PartyName/FullName"))
    }
    details = next(children(main, "ReleaseDetailsByTerritory"), main)
    label = parties.get(text(main, "ReleaseLabelReference") or "")
    wanted = [reference for reference in _resource_references(main) if reference not in left_out]
    sounds = list(children(root, "ResourceList/SoundRecording"))
    texts, lyrics = _lyrics(root, main, [_need(sound, "ResourceReference") for sound in sounds], left_out)
    tracks = [_track(sound, parties, lyrics) for sound in sounds]
    own = _own_windows(root, main, {track.reference for track in tracks})
    tracks = [replace(track, windows=own.get(track.reference)) for track in tracks]
    pictures = [
        Picture(_need(image, "ResourceReference"), _file(image)) for image in children(root, "ResourceList/Image")
    ]
    order = {reference: place for place, reference in enumerate(wanted)}
    if missing := order.keys() - texts - {t.reference for t in tracks} - {picture.reference for picture in pictures}:
        raise ValueError(
            f"the release lists resources that the message does not describe: {', '.join(sorted(missing))}"
        )
    icpn = text(main, "ReleaseId/ICPN")
    return Release(
        key=_key(_one(main, "ReleaseId")),
        icpn=_icpn(icpn) if icpn else None,
        title=_need_of((main, details), "DisplayTitleText", "DisplayTitle/TitleText", "ReferenceTitle/TitleText"),
        artist=_artist(details, parties) or _need(main, "DisplayArtistName"),
        label=text(details, "LabelName") or (label.name if label else None),
        kind=text(main, "ReleaseType"),
        released_on=text(main, "ReleaseDate") or text(details, "ReleaseDate"),
        originally_released_on=text(main, "OriginalReleaseDate") or text(details, "OriginalReleaseDate"),
        tracks=tuple(sorted((t for t in tracks if t.reference in order), key=lambda t: order[t.reference])),
        pictures=tuple(picture for picture in pictures if picture.reference in order),
        windows=tuple(_windows(root, _need(main, "ReleaseReference"))),
        genre=text(main, "Genre/GenreText") or text(details, "Genre/GenreText"),
    )


def _lyrics(
    root: Element, main: Element, sounds: list[str], left_out: set[str]
) -> tuple[set[str], dict[str, list[Text]]]:
    """References of all texts, and the lyrics of each sound recording.

    A group of the release links a recording with its texts, or a text names the recording it is related to; lyrics of
    a release with one recording need neither. Those of what is left out are too.
    """
    owners: dict[str, str] = {}
    for item in main.iter():
        if recording := text(item, "ReleaseResourceReference"):
            for linked in children(item, "LinkedReleaseResourceReference"):
                owners[(linked.text or "").strip()] = recording
    references: set[str] = set()
    found: dict[str, list[Text]] = {}
    for element in children(root, "ResourceList/Text"):
        reference = _need(element, "ResourceReference")
        references.add(reference)
        file = _file(element)
        if file is None or "lyric" not in (text(element, "Type", "TextType") or "").lower():
            continue  # booklets and liner notes are not shown
        related = text(element, "RelatedResource/ResourceRelatedResourceReference", "RelatedResource/ResourceReference")
        owner = owners.get(reference) or related or (sounds[0] if len(sounds) == 1 else None)
        if owner in left_out:
            continue
        if owner not in sounds:
            raise ValueError(f"the lyrics {reference} belong to no sound recording")
        language = text(element, "LanguageOfText", "LanguageOfLyrics") or element.get("LanguageAndScriptCode")
        found.setdefault(owner, []).append(Text(reference, language, file))
    return references, found


def _need_of(elements: tuple[Element, ...], *paths: str) -> str:
    return next((found for element in elements if (found := text(element, *paths))), None) or _need(elements[0], *paths)


def _resource_references(main: Element) -> list[str]:
    """Resources of a release in their order: ResourceGroup trees, or the flat list of 3.8.2."""
    groups = [e for e in main.iter() if local(e) == "ReleaseResourceReference" and e.text]
    linked = [e for e in main.iter() if local(e) == "LinkedReleaseResourceReference" and e.text]
    return list(dict.fromkeys((e.text or "").strip() for e in (*groups, *linked)))


def _track(sound: Element, parties: dict[str, Party], lyrics: dict[str, list[Text]]) -> Track:
    details = next(children(sound, "SoundRecordingDetailsByTerritory"), sound)
    main, featured = _artists(details, parties)
    reference = _need(sound, "ResourceReference")
    return Track(
        reference=reference,
        title=_need_of((sound, details), "DisplayTitleText", "DisplayTitle/TitleText", "ReferenceTitle/TitleText"),
        artist=_artist(details, parties) or _need(sound, "DisplayArtistName"),
        featured=tuple(party.name for party in featured),
        isrc=text(sound, "SoundRecordingEdition/ResourceId/ISRC", "ResourceId/ISRC", "SoundRecordingId/ISRC"),
        duration=text(sound, "Duration"),
        language=text(sound, "LanguageOfPerformance"),
        explicit=text(sound, "ParentalWarningType") or text(details, "ParentalWarningType"),
        file=_file(sound),
        iswc=text(sound, "WorkId/ISWC", "IndirectSoundRecordingId/ISWC", "ResourceMusicalWork/WorkId/ISWC"),
        isni=next((party.isni for party in main if party.isni), None),
        ipi=next((party.ipi for party in main if party.ipi), None),
        lyrics=tuple(lyrics.get(reference, ())),
    )


def _artists(details: Element, parties: dict[str, Party]) -> tuple[list[Party], list[Party]]:
    """Main and featured artists. 4.x refers to the list of parties, 3.8.2 names them on the spot."""
    main: list[Party] = []
    featured: list[Party] = []
    for artist in children(details, "DisplayArtist"):
        reference, name = text(artist, "ArtistPartyReference"), text(artist, "PartyName/FullName")
        party = parties.get(reference) if reference else Party(name, *_party_ids(artist)) if name else None
        if party is not None:
            role = text(artist, "DisplayArtistRole", "ArtistRole")
            (featured if role == "FeaturedArtist" else main).append(party)
    return main, featured


def _party_ids(artist: Element) -> tuple[str | None, str | None]:
    """ISNI and IPI of an artist in 3.8.2, where one element holds an identifier of any kind."""
    ids = list(children(artist, "PartyId"))
    isni = next((e.text.strip() for e in ids if e.get("IsISNI") == "true" and e.text), None)
    return isni, next((e.text.strip() for e in ids if e.get("Namespace", "").upper() == "IPI" and e.text), None)


def _artist(details: Element, parties: dict[str, Party]) -> str | None:
    """The main artists' names; the display name where only that is given."""
    main, _ = _artists(details, parties)
    return " & ".join(party.name for party in main) or text(details, "DisplayArtistName")


def _file(resource: Element) -> File | None:
    """The first file of a resource. 4.x names a URI, 3.8.2 a path and a name."""
    for found in (e for e in resource.iter() if local(e) == "File"):
        path = text(found, "URI") or "/".join(filter(None, (text(found, "FilePath"), text(found, "FileName"))))
        if not path:
            continue
        algorithm = text(found, "HashSum/Algorithm", "HashSum/HashSumAlgorithmType") or ""
        digest = text(found, "HashSum/HashSumValue", "HashSum/HashSum")
        known = _ALGORITHMS.get(algorithm.upper().replace("-", "").replace("_", ""))
        if digest and known is None:
            raise ValueError(f"the checksum of '{path}' is by '{algorithm}', which is not known")
        return File(_safe(path), known, digest.lower() if digest else None)
    return None


def _safe(path: str) -> str:
    """`path` below the delivery; a path that leaves it is an attack or a mistake."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts or path.startswith("/") or ":" in path.split("/", maxsplit=1)[0]:
        raise ValueError(f"the file '{path}' lies outside of the delivery")
    return "/".join(parts)


def _terms(root: Element, reference: str) -> Iterator[tuple[Element, Element]]:
    for deals in children(root, "DealList/ReleaseDeal"):
        if reference in {(found.text or "").strip() for found in children(deals, "DealReleaseReference")}:
            for deal in children(deals, "Deal"):
                yield from ((deal, terms) for terms in children(deal, "DealTerms"))


def _own_windows(root: Element, main: Element, sounds: set[str]) -> dict[str, tuple[Window, ...]]:
    """Windows of the sound recordings that deals name alone, by their reference: through a track release, which is a
    release of its own in 3.8.2. None are left of one whose only deals take it down.
    """
    found: dict[str, tuple[Window, ...]] = {}
    for path in ("ReleaseList/TrackRelease", "ReleaseList/Release"):
        for release in children(root, path):
            reference = text(release, "ReleaseReference")
            about = [sound for sound in _resource_references(release) if sound in sounds]
            if release is main or reference is None or len(about) != 1 or not any(_terms(root, reference)):
                continue
            found[about[0]] = found.get(about[0], ()) + tuple(_windows(root, reference))
    return found


def _windows(root: Element, reference: str) -> Iterator[Window]:
    """Windows of all deals of the release: every territory by every model by every use. A take-down permits nothing."""
    for _, terms in _terms(root, reference):
        if (text(terms, "TakeDown") or "").lower() == "true":
            continue
        territories = _territories(terms, "TerritoryCode") or [WORLDWIDE]
        excluded = tuple(sorted(_territories(terms, "ExcludedTerritoryCode")))
        models = [m.text.strip() for m in children(terms, "CommercialModelType") if m.text]
        uses = [u.text.strip() for path in ("UseType", "Usage/UseType") for u in children(terms, path) if u.text]
        if not models or not uses:
            raise ValueError("a deal has no CommercialModelType or no UseType")
        starts_at = moment(_need(terms, "ValidityPeriod/StartDateTime", "ValidityPeriod/StartDate"))
        end = text(terms, "ValidityPeriod/EndDateTime", "ValidityPeriod/EndDate")
        ends_at = moment(end, end_of_day=True) if end and not end.startswith(_NEVER) else None
        if ends_at is not None and ends_at <= starts_at:
            raise ValueError(f"a deal ends at {ends_at.isoformat()} before it starts")
        for territory in territories:
            for model in models:
                for use in uses:
                    yield Window(territory, excluded if territory == WORLDWIDE else (), model, use, starts_at, ends_at)
