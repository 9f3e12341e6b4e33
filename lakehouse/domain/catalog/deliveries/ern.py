"""DDEX Electronic Release Notification, versions 4.3, 4.2 and 3.8.2: NewReleaseMessage and PurgeReleaseMessage.

What the catalogue needs of a message is read by the names of its elements, so that one reader serves three versions;
the schemas themselves are DDEX's and no part of this repository. Source: DDEX, ERN Message Suite, part 1 of each
version.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from lakehouse.domain.catalog.deliveries.messages import File, Message, Picture, Release, Track, Window, moment
from lakehouse.domain.catalog.deliveries.xml import children, local, namespace, parse, text
from lakehouse.domain.catalog.identifiers import normalise_icpn
from lakehouse.domain.catalog.ids import EPOCH
from lakehouse.domain.catalog.quality.codes import WORLDWIDE, normalise_territory
from lakehouse.errors import RejectedInputError

#: Version by the last part of the namespace.
VERSIONS = {"43": "ERN 4.3", "42": "ERN 4.2", "382": "ERN 3.8.2"}
_ALGORITHMS = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}


def read(document: bytes) -> Message:
    """The message in `document`.

    Raises:
        RejectedInputError: `xml_*` (see `xml.parse`), `unknown_version`, `unknown_message`, `ern_incomplete` (something
            that the catalogue needs is missing or unreadable).
    """
    root = parse(document)
    version = VERSIONS.get(namespace(root).rsplit("/", 1)[-1]) if "/ern/" in namespace(root) else None
    if version is None:
        raise _refused("unknown_version", f"'{namespace(root)}' is no version of ERN that is read.", namespace(root))
    if local(root) not in ("NewReleaseMessage", "PurgeReleaseMessage"):
        raise _refused("unknown_message", f"'{local(root)}' is no message that is read.", local(root))
    header = _one(root, "MessageHeader")
    message_id = _need(header, "MessageId")
    sender = _need(header, "MessageSender/PartyId")
    try:
        created_at = moment(_need(header, "MessageCreatedDateTime"))
        if created_at < EPOCH:
            raise ValueError(f"it was made at {created_at.isoformat()}, before ids begin")
        if local(root) == "PurgeReleaseMessage":
            key = _key(_one(root, "PurgedRelease/ReleaseId", "PurgedRelease"))
            return Message(version, message_id, sender, created_at, "takedown", key)
        main = _main_release(root)
        takedown = any(
            (text(terms, "TakeDown") or "").lower() == "true"
            for _, terms in _terms(root, _need(main, "ReleaseReference"))
        )
        release = _release(root, main)
    except ValueError as error:
        raise _refused("ern_incomplete", f"Message {message_id} cannot be read: {error}.", str(error)) from error
    return Message(
        standard=version,
        message_id=message_id,
        sender=sender,
        created_at=created_at,
        # Before 4.0 a deal says TakeDown; since then a message without deals does (ERN 4, "Taking down releases").
        action="takedown" if takedown or not release.windows else "publish",
        release_key=release.key,
        is_update=text(root, "UpdateIndicator") == "UpdateMessage",
        release=release,
    )


def _refused(reason: str, message: str, value: object) -> RejectedInputError:
    known = ", ".join(VERSIONS.values())
    return RejectedInputError(message, reason=reason, value=value, hint=f"Send a NewReleaseMessage of {known}.")


def _one(element: Element, *paths: str) -> Element:
    for path in paths:
        for found in children(element, path):
            return found
    raise _refused("ern_incomplete", f"'{local(element)}' has no {paths[0]}.", paths[0])


def _need(element: Element, *paths: str) -> str:
    if (found := text(element, *paths)) is None:
        raise _refused("ern_incomplete", f"'{local(element)}' has no {paths[0]}.", paths[0])
    return found


def _key(release_id: Element) -> str:
    """GRid or UPC/EAN: what names a release in every later message."""
    if grid := text(release_id, "GRid"):
        return grid.replace("-", "").upper()
    return normalise_icpn(_need(release_id, "ICPN"))


def _main_release(root: Element) -> Element:
    releases = list(children(root, "ReleaseList/Release"))
    for release in releases:
        # 3.8.2 lists the tracks as releases too, and marks the main one.
        if release.get("IsMainRelease") == "true" or text(release, "ReleaseReference") == "R0":
            return release
    if not releases:
        raise _refused("ern_incomplete", "The message has no release.", "ReleaseList/Release")
    return releases[0]


def _release(root: Element, main: Element) -> Release:
    parties = {
        reference: name
        for party in children(root, "PartyList/Party")
        if (reference := text(party, "PartyReference")) and (name := text(party, "PartyName/FullName"))
    }
    details = next(children(main, "ReleaseDetailsByTerritory"), main)
    wanted = _resource_references(main)
    tracks = [_track(sound, parties) for sound in children(root, "ResourceList/SoundRecording")]
    pictures = [
        Picture(_need(image, "ResourceReference"), _file(image)) for image in children(root, "ResourceList/Image")
    ]
    order = {reference: place for place, reference in enumerate(wanted)}
    if missing := order.keys() - {t.reference for t in tracks} - {picture.reference for picture in pictures}:
        raise ValueError(
            f"the release lists resources that the message does not describe: {', '.join(sorted(missing))}"
        )
    icpn = text(main, "ReleaseId/ICPN")
    return Release(
        key=_key(_one(main, "ReleaseId")),
        icpn=normalise_icpn(icpn) if icpn else None,
        title=_need_of((main, details), "DisplayTitleText", "DisplayTitle/TitleText", "ReferenceTitle/TitleText"),
        artist=_artist(details, parties) or _need(main, "DisplayArtistName"),
        label=text(details, "LabelName") or parties.get(text(main, "ReleaseLabelReference") or ""),
        kind=text(main, "ReleaseType"),
        released_on=text(main, "ReleaseDate") or text(details, "ReleaseDate"),
        originally_released_on=text(main, "OriginalReleaseDate") or text(details, "OriginalReleaseDate"),
        tracks=tuple(sorted((t for t in tracks if t.reference in order), key=lambda t: order[t.reference])),
        pictures=tuple(picture for picture in pictures if picture.reference in order),
        windows=tuple(_windows(root, _need(main, "ReleaseReference"))),
    )


def _need_of(elements: tuple[Element, ...], *paths: str) -> str:
    return next((found for element in elements if (found := text(element, *paths))), None) or _need(elements[0], *paths)


def _resource_references(main: Element) -> list[str]:
    """Resources of a release in their order: ResourceGroup trees, or the flat list of 3.8.2."""
    groups = [e for e in main.iter() if local(e) == "ReleaseResourceReference" and e.text]
    linked = [e for e in main.iter() if local(e) == "LinkedReleaseResourceReference" and e.text]
    return list(dict.fromkeys((e.text or "").strip() for e in (*groups, *linked)))


def _track(sound: Element, parties: dict[str, str]) -> Track:
    details = next(children(sound, "SoundRecordingDetailsByTerritory"), sound)
    featured = [
        name
        for artist in children(details, "DisplayArtist")
        if (text(artist, "DisplayArtistRole", "ArtistRole") == "FeaturedArtist") and (name := _name(artist, parties))
    ]
    return Track(
        reference=_need(sound, "ResourceReference"),
        title=_need_of((sound, details), "DisplayTitleText", "DisplayTitle/TitleText", "ReferenceTitle/TitleText"),
        artist=_artist(details, parties) or _need(sound, "DisplayArtistName"),
        featured=tuple(featured),
        isrc=text(sound, "SoundRecordingEdition/ResourceId/ISRC", "ResourceId/ISRC", "SoundRecordingId/ISRC"),
        duration=text(sound, "Duration"),
        language=text(sound, "LanguageOfPerformance"),
        explicit=text(sound, "ParentalWarningType") or text(details, "ParentalWarningType"),
        file=_file(sound),
    )


def _artist(details: Element, parties: dict[str, str]) -> str | None:
    """The main artists' names; the display name where only that is given."""
    names = [
        name
        for artist in children(details, "DisplayArtist")
        if text(artist, "DisplayArtistRole", "ArtistRole") != "FeaturedArtist" and (name := _name(artist, parties))
    ]
    return " & ".join(names) or text(details, "DisplayArtistName")


def _name(artist: Element, parties: dict[str, str]) -> str | None:
    reference = text(artist, "ArtistPartyReference")
    return parties.get(reference) if reference else text(artist, "PartyName/FullName")


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


def _windows(root: Element, reference: str) -> Iterator[Window]:
    """Windows of all deals of the release: every territory by every model by every use. A take-down permits nothing."""
    for _, terms in _terms(root, reference):
        if (text(terms, "TakeDown") or "").lower() == "true":
            continue
        territories = [normalise_territory(t.text or "") for t in children(terms, "TerritoryCode")] or [WORLDWIDE]
        excluded = tuple(sorted(normalise_territory(t.text or "") for t in children(terms, "ExcludedTerritoryCode")))
        models = [m.text.strip() for m in children(terms, "CommercialModelType") if m.text]
        uses = [u.text.strip() for path in ("UseType", "Usage/UseType") for u in children(terms, path) if u.text]
        if not models or not uses:
            raise ValueError("a deal has no CommercialModelType or no UseType")
        starts_at = moment(_need(terms, "ValidityPeriod/StartDateTime", "ValidityPeriod/StartDate"))
        end = text(terms, "ValidityPeriod/EndDateTime", "ValidityPeriod/EndDate")
        ends_at = moment(end, end_of_day=True) if end else None
        if ends_at is not None and ends_at <= starts_at:
            raise ValueError(f"a deal ends at {ends_at.isoformat()} before it starts")
        for territory in territories:
            for model in models:
                for use in uses:
                    yield Window(territory, excluded if territory == WORLDWIDE else (), model, use, starts_at, ends_at)
