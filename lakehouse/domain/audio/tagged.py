"""The catalogue item that a tagged file makes: its tags go through the rules about metadata, as a message's fields do.

What can be meant in one way only is mended, and a finding says so. What the rules quarantine keeps the file out. A tag
that is not there breaks no rule; only title and artist must be. Silence and clipping are for people to look at: whoever
takes the file in notes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from lakehouse.domain.audio.reasons import Reason
from lakehouse.domain.audio.validation import AudioFacts, Limits, check_sound, rejection
from lakehouse.domain.catalog.content import TRACK, Item
from lakehouse.domain.catalog.identifiers import name_fits, normalise_mbid, tidy
from lakehouse.domain.catalog.quality.records import Finding, Metadata, assess, is_placeholder, mend_text
from lakehouse.domain.catalog.quality.rules import Rule
from lakehouse.errors import RejectedInputError


@dataclass(frozen=True)
class Judged:
    """An item for the catalogue, and what was mended in its tags, left out or passed over. Fields are names of tags."""

    item: Item
    findings: tuple[Finding, ...] = ()

    def noted(self) -> dict[str, list[dict[str, Any]]]:
        """The findings by code: {field, value, mended} of each."""
        found: dict[str, list[dict[str, Any]]] = {}
        for one in self.findings:
            said = {"field": one.field, "value": one.value, "mended": one.mended}
            found.setdefault(one.rule.code, []).append(said)
        return found


def judge(
    facts: AudioFacts, received_on: date, limits: Limits | None = None, accepted: frozenset[str] = frozenset()
) -> Judged:
    """What a file that came in on `received_on` (UTC) becomes. The first rule it breaks names it, the most basic ones
    first; `accepted` are codes of rules that a person passed over.

    Whether the same audio is known already is not asked here: that is no fault of the file.

    Raises:
        RejectedInputError: the file breaks a rule; `reason` is the code of a `Reason` or a `Rule`, `value` the
            offending value.
    """
    check_sound(facts, limits)
    tags = {name: value for name, value in facts.tags.items() if tidy(value)}
    if missing := [name for name in ("title", "artist") if name not in tags]:
        raise rejection(Reason.MISSING_TAGS, f"no {' and no '.join(missing)}", missing)
    record, findings = _assessed(tags, received_on)
    attributes = track_attributes({name: tidy(value) for name, value in tags.items()})
    for name in ("genre", "composer", "album_artist"):
        if name in attributes:
            attributes[name] = _mended(name, attributes[name], findings)
    for finding in findings:
        if finding.rule.severity == "quarantined" and finding.rule.code not in accepted and not _is_left_out(finding):
            raise RejectedInputError(
                f"{finding.rule.meaning} (`{finding.field}`: {str(finding.value)[:100]})",
                reason=finding.rule.code,
                value=finding.value,
                hint=finding.rule.fix,
            )
    left_out = {finding.field for finding in findings if _is_left_out(finding)}
    said = {
        "date": record.released_on,
        "featured": list(record.featured),
        "explicit": record.explicit,
        "language": record.language,
        "iswc": record.iswc,
        "icpn": record.icpn,
        "recording_mbid": _mbid(tags.get("musicbrainz_trackid"), findings),
    }
    attributes |= said
    attributes = {name: value for name, value in attributes.items() if value and name not in left_out}
    TRACK.check(attributes)
    item = Item(
        kind=TRACK.kind,
        title=record.title,
        artist=record.artist,
        release=None if "album" in left_out else record.release,
        release_artist=attributes.get("album_artist"),
        isrc=record.isrc,
        sha256=facts.sha256,
        attributes=attributes,
    )
    return Judged(item, tuple(findings))


def _is_left_out(finding: Finding) -> bool:
    """Whether a program's default stands in a tag that might as well lack: that is no reason to refuse music."""
    return finding.rule is Rule.PLACEHOLDER and finding.field in ("album", "album_artist", "genre", "composer")


#: Tags of a record's fields where they have another name.
_TAG_OF = {"release": "album", "released_on": "date", "icpn": "barcode"}
#: What iTunes writes (atom `rtng`); 0 says nothing.
_ADVISORY = {"0": None, "1": "Explicit", "2": "ExplicitContentEdited", "4": "Explicit"}


def _assessed(tags: dict[str, str], received_on: date) -> tuple[Metadata, list[Finding]]:
    """The record that the tags make, mended, and what there is to say of it."""
    findings: list[Finding] = []
    advisory = tags.get("itunesadvisory")
    record = Metadata(
        title=tags["title"],
        artist=tags["artist"],
        delivered_on=received_on,
        release=tags.get("album"),
        isrc=tags.get("isrc"),
        icpn=tags.get("barcode"),
        iswc=tags.get("iswc"),
        language=_language(tags.get("language"), findings),
        released_on=_date(tags.get("date") or tags.get("year"), findings),
        explicit=tags.get("explicit") or (_ADVISORY.get(advisory.strip(), advisory) if advisory else None),
    )
    judged = assess(record)
    findings += [replace(one, field=_TAG_OF.get(one.field, one.field)) for one in judged.findings]
    return judged.record, findings


def _date(text: str | None, findings: list[Finding]) -> str | None:
    """A date as taggers write it: without the parts that are 0 for unknown, and with a `T` before a time of day."""
    if text is None:
        return None
    known = re.sub(r"^(\d{4}-\d{2}-\d{2}) (?=\d)", r"\1T", text.strip())
    known = re.sub(r"^0000(-00)*$|(-00)+$", "", known)
    if known != text:
        findings.append(Finding(Rule.DATE_FORM, "date", text, known))
    return known or None


#: Names that people write where a code belongs, with their BCP 47 tags; `XXX` is ID3's for unknown.
_LANGUAGES = {
    "arabic": "ar", "chinese": "zh", "czech": "cs", "danish": "da", "dutch": "nl", "nederlands": "nl", "english": "en",
    "finnish": "fi", "suomi": "fi", "french": "fr", "français": "fr", "german": "de", "deutsch": "de", "greek": "el",
    "hebrew": "he", "hindi": "hi", "hungarian": "hu", "magyar": "hu", "instrumental": "zxx", "italian": "it",
    "italiano": "it", "japanese": "ja", "日本語": "ja", "korean": "ko", "한국어": "ko", "latin": "la",
    "norwegian": "no", "norsk": "no", "polish": "pl", "polski": "pl", "portuguese": "pt", "português": "pt",
    "russian": "ru", "русский": "ru", "spanish": "es", "español": "es", "swedish": "sv", "svenska": "sv",
    "turkish": "tr", "türkçe": "tr", "ukrainian": "uk", "українська": "uk", "unknown": "und", "xxx": "und",
}  # fmt: skip


def _language(text: str | None, findings: list[Finding]) -> str | None:
    if text is None or (code := _LANGUAGES.get(tidy(text).lower())) is None:
        return text
    findings.append(Finding(Rule.CODE_FORM, "language", text, code))
    return code


def _mbid(text: str | None, findings: list[Finding]) -> str | None:
    """The MusicBrainz id of the recording; one that is none is left out, because the sound and its names are right."""
    if text is None:
        return None
    try:
        mbid = normalise_mbid(text)
    except ValueError:
        findings.append(Finding(Rule.INVALID_MBID, "musicbrainz_trackid", text))
        return None
    if mbid != text:
        findings.append(Finding(Rule.IDENTIFIER_FORM, "musicbrainz_trackid", text, mbid))
    return mbid


def _mended(name: str, text: str, findings: list[Finding]) -> str:
    """A text that is shown, but names no recording, mended."""
    mended, rules = mend_text(text)
    findings += [Finding(rule, name, text, mended) for rule in rules]
    if not name_fits(mended) and name == "album_artist":
        findings.append(Finding(Rule.NAME_TOO_LONG, name, mended[:100]))
    if is_placeholder(mended):
        findings.append(Finding(Rule.PLACEHOLDER, name, text))
    return mended


#: Attribute of a track <- the tags that may carry it, first found first.
_TEXT_ATTRIBUTES = {
    "genre": ("genre",),
    "licence": ("license", "licence"),
    "composer": ("composer",),
    "album_artist": ("albumartist", "album artist"),
}
_NUMBER_ATTRIBUTES = {"track_number": "tracknumber", "disc_number": "discnumber"}


def track_attributes(tags: dict[str, str]) -> dict[str, Any]:
    """Attributes of a track that no rule is about, from its tidy tags. `3/12` is number 3; a number that can't be read
    is left out.
    """
    attributes: dict[str, Any] = {}
    for name, sources in _TEXT_ATTRIBUTES.items():
        if value := next((tags[source] for source in sources if source in tags), None):
            attributes[name] = value
    for name, source in _NUMBER_ATTRIBUTES.items():
        # ASCII digits only: int() would take any script's digits, and a supplier's typing error is not a number.
        if (match := re.match(r"[0-9]{1,6}", tags.get(source, ""))) and int(match[0]) > 0:
            attributes[name] = int(match[0])
    return attributes
