"""Judges the metadata of one recording: mends what can only be meant one way, names what somebody must look at."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import ftfy
import langcodes

from lakehouse.domain.catalog import identifiers
from lakehouse.domain.catalog.quality.codes import normalise_language, normalise_territory
from lakehouse.domain.catalog.quality.rules import Rule

#: Edouard-Leon Scott de Martinville's phonautogram of 1860 is the oldest sound that can be played.
FIRST_RECORDING = date(1860, 1, 1)
MAX_ADVANCE = timedelta(days=731)
DURATION_TOLERANCE_MS, DURATION_TOLERANCE_PERCENT = 2_000, 1
MAX_SILENT_RATIO, MAX_CLIPPED_RATIO = 0.95, 0.01
ARTWORK_FORMATS = frozenset({"JPEG", "PNG"})
ARTWORK_MIN_PX, ARTWORK_MAX_PX = 1_400, 10_000


@dataclass(frozen=True)
class Artwork:
    """What the picture's own header says: format as Pillow names it, pixels."""

    format: str
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Metadata:
    """One recording as declared (texts as received, None: not delivered) and, if there is audio, as measured.

    `delivered_on` is the UTC date of the message; `silent_ratio` and `clipped_ratio` are shares of the samples.
    """

    title: str
    artist: str
    delivered_on: date
    featured: tuple[str, ...] = ()
    release: str | None = None
    isrc: str | None = None
    icpn: str | None = None
    iswc: str | None = None
    ipi: str | None = None
    isni: str | None = None
    language: str | None = None
    territories: tuple[str, ...] = ()
    released_on: str | None = None
    originally_released_on: str | None = None
    explicit: str | None = None
    duration: str | None = None
    decoded_ms: int | None = None
    silent_ratio: float | None = None
    clipped_ratio: float | None = None
    declared_sha256: str | None = None
    sha256: str | None = None
    artwork: Artwork | None = None


@dataclass(frozen=True)
class Finding:
    """One rule that a field breaks, with the value as received and, when corrected, as mended."""

    rule: Rule
    field: str
    value: object
    mended: object = None

    def about(self, resource: str) -> dict[str, Any]:
        """The finding as reports show it; `resource` names what it is about inside a delivery."""
        rule = self.rule
        return {
            "resource": resource,
            "code": rule.code,
            "severity": rule.severity,
            "meaning": rule.meaning,
            "field": self.field,
            "value": self.value,
            "mended": self.mended,
        }


@dataclass(frozen=True)
class Assessment:
    """The record with everything mended that could be, and all findings in the order of the fields."""

    record: Metadata
    findings: tuple[Finding, ...]

    @property
    def quarantined(self) -> bool:
        """Whether somebody must look at it."""
        return any(finding.rule.severity == "quarantined" for finding in self.findings)


def sound_findings(silent_ratio: float | None, clipped_ratio: float | None) -> list[Finding]:
    """What the shares of silent and of clipped samples say; None: not measured."""
    findings = []
    if silent_ratio is not None and silent_ratio > MAX_SILENT_RATIO:
        findings.append(Finding(Rule.SILENCE, "silent_ratio", silent_ratio))
    if clipped_ratio is not None and clipped_ratio > MAX_CLIPPED_RATIO:
        findings.append(Finding(Rule.CLIPPING, "clipped_ratio", clipped_ratio))
    return findings


def assess(record: Metadata) -> Assessment:
    """All findings about one record. Judging a mended record again finds nothing that was mended."""
    findings: list[Finding] = []
    record = _texts(record, findings)
    record = _featured(record, findings)
    record = _codes(record, findings)
    record = _dates(record, findings)
    record = _explicit(record, findings)
    _language_of_title(record, findings)
    _audio(record, findings)
    if record.artwork is not None:
        findings += judge_artwork(record.artwork)
    return Assessment(record, tuple(findings))


def _with(record: Metadata, values: dict[str, Any]) -> Metadata:
    return replace(record, **values)


# --- texts ---

#: Zero-width space, byte order mark, soft hyphen, and marks of direction that nobody types. The joiners U+200C and
#: U+200D stay: Persian, Indic scripts and emoji need them.
_INVISIBLE = str.maketrans("", "", "\u200b\ufeff\u00ad\u2060\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ENTITY = re.compile(r"&(#\d{1,6}|#x[0-9a-fA-F]{1,5}|[a-zA-Z][a-zA-Z0-9]{1,30});")
#: Programs' defaults; real songs are called Untitled, Track 10 and Null.
_PLACEHOLDER = re.compile(
    r"(?i:(unknown|unnamed) (artist|title|album|track)|audio ?track ?\d{1,3}|track ?0\d|artist ?name|song ?title|"
    r"t\.?b\.?[acd]\.?|lorem ipsum.*|untitled[_-]\d+)|N/A|null|undefined|NaN"
)


def is_placeholder(text: str) -> bool:
    """Whether a program's default stands where a name belongs."""
    return bool(_PLACEHOLDER.fullmatch(text))


def _has_lost_characters(text: str) -> bool:
    """U+FFFD; or what an encoder writes for letters it lacks: a question mark inside of a word, or four of them."""
    inside = re.search(r"[^\W\d_]\?([^\W\d_])", text)
    return "\ufffd" in text or "????" in text or bool(inside and inside[1].islower())


def mend_text(text: str) -> tuple[str, list[Rule]]:
    """`text` mended, and the rules that asked for it."""
    rules: list[Rule] = []
    for rule, mend in ((Rule.MARKUP, _resolve), (Rule.MOJIBAKE, _decode_again), (Rule.UNTIDY_TEXT, _tidied)):
        if (mended := mend(text)) != text:
            rules.append(rule)
            text = mended
    return text, rules


def _resolve(text: str) -> str:
    while (resolved := _ENTITY.sub(lambda match: html.unescape(match[0]), text)) != text:
        text = resolved  # &amp;amp; comes from being escaped twice
    return text


def _decode_again(text: str) -> str:
    # ASCII has no other reading. ftfy decides by what a wrong decoding leaves, and leaves real text alone.
    return text if text.isascii() else ftfy.fix_encoding(text)


def _tidied(text: str) -> str:
    return identifiers.tidy(text.translate(_INVISIBLE))


def _texts(record: Metadata, findings: list[Finding]) -> Metadata:
    for name, missing in (("title", Rule.MISSING_TITLE), ("artist", Rule.MISSING_ARTIST), ("release", None)):
        value = getattr(record, name)
        if value is None:
            continue
        mended, rules = mend_text(value)
        if not mended:
            findings += [Finding(missing, name, value)] if missing else []
            continue
        findings += [Finding(rule, name, value, mended) for rule in rules]
        if not identifiers.name_fits(mended):
            findings.append(Finding(Rule.NAME_TOO_LONG, name, value[:100]))
        if _has_lost_characters(mended):
            findings.append(Finding(Rule.LOST_CHARACTERS, name, value))
        if is_placeholder(mended):
            findings.append(Finding(Rule.PLACEHOLDER, name, value))
        record = _with(record, {name: mended})
    return record


# --- featured artists ---

#: In brackets, or bare with its dot. `Feat of Clay`, `Little Feat` and `Leaving Ft. Worth` are names.
_FEATURED = re.compile(
    r"\s*[(\[]\s*(?i:feat\.?|ft\.?|featuring)\s+(?P<a>[^)\]]+)[)\]]"
    r"|\s+(?:[Ff]eat\.|ft\.|featuring)\s+(?P<b>[^(\[]+?)(?=\s*[(\[]|$)"
)


def split_featured(text: str) -> tuple[str, tuple[str, ...]]:
    """`text` without the featured artists that it names, and those."""
    names: list[str] = []

    def take(match: re.Match[str]) -> str:
        found = match["a"] or match["b"]
        names.extend(name.strip() for name in re.split(r"\s*,\s*|\s+(?:&|and)\s+", found) if name.strip())
        return ""

    rest = identifiers.tidy(_FEATURED.sub(take, text))
    return (rest, tuple(names)) if rest and names else (text, ())


def _featured(record: Metadata, findings: list[Finding]) -> Metadata:
    for name, rule in (("title", Rule.FEATURED_IN_TITLE), ("artist", Rule.FEATURED_IN_ARTIST)):
        value = getattr(record, name)
        rest, names = split_featured(value)
        if names:
            featured = tuple(dict.fromkeys((*record.featured, *names)))
            findings.append(Finding(rule, name, value, [rest, list(featured)]))
            record = _with(record, {name: rest, "featured": featured})
    return record


# --- identifiers and codes ---

_IDENTIFIERS: tuple[tuple[str, Callable[[str], str], Rule, Rule], ...] = (
    ("isrc", identifiers.normalise_isrc, Rule.INVALID_ISRC, Rule.IDENTIFIER_FORM),
    ("icpn", identifiers.normalise_icpn, Rule.INVALID_ICPN, Rule.IDENTIFIER_FORM),
    ("iswc", identifiers.normalise_iswc, Rule.INVALID_ISWC, Rule.IDENTIFIER_FORM),
    ("ipi", identifiers.normalise_ipi, Rule.INVALID_IPI, Rule.IDENTIFIER_FORM),
    ("isni", identifiers.normalise_isni, Rule.INVALID_ISNI, Rule.IDENTIFIER_FORM),
    ("language", normalise_language, Rule.INVALID_LANGUAGE, Rule.CODE_FORM),
)


def _codes(record: Metadata, findings: list[Finding]) -> Metadata:
    for name, normalise, invalid, form in _IDENTIFIERS:
        value = getattr(record, name)
        if value is None:
            continue
        try:
            normal = normalise(value)
        except ValueError:
            findings.append(Finding(invalid, name, value))
            continue
        # A UPC is an EAN with a zero in front, a GTIN-14 one with one more: neither is a fault.
        if normal not in (value, f"0{value}") and value != f"0{normal}":
            findings.append(Finding(form, name, value, normal))
        record = _with(record, {name: normal})
    territories: list[str] = []
    for value in record.territories:
        try:
            territories.append(normalise_territory(value))
        except ValueError:
            findings.append(Finding(Rule.INVALID_TERRITORY, "territories", value))
            territories.append(value)
            continue
        if territories[-1] != value:
            findings.append(Finding(Rule.CODE_FORM, "territories", value, territories[-1]))
    return replace(record, territories=tuple(territories))


# --- dates ---


def read_date(text: str) -> tuple[date, str]:
    """The first day that `text` covers, and the text in ISO 8601: a day, a month or a year.

    Raises:
        ValueError: no date, or two readings: 03/04/2021 is March or April.
    """
    bare = text.strip()
    if match := re.fullmatch(r"(\d{4})(?:[-/.]?(\d{2})(?:[-/.]?(\d{2}))?)?(?:T.*)?", bare, re.ASCII):
        year, month, day = match.groups()
    elif match := re.fullmatch(r"(\d{1,2})[-/. ](\d{1,2})[-/. ](\d{4})", bare, re.ASCII):
        first, second, year = match.groups()
        # 13 to 31 can only be a day; equal numbers read the same both ways.
        if int(first) > 12 or first == second:  # noqa: PLR2004
            day, month = first, second
        elif int(second) > 12:  # noqa: PLR2004
            month, day = first, second
        else:
            raise ValueError(f"'{text}' can be read in two ways")
    else:
        raise ValueError(f"'{text}' is not a date")
    start = date(int(year), int(month or 1), int(day or 1))
    return start, "-".join(part.zfill(2) for part in (year, month, day) if part)


def _dates(record: Metadata, findings: list[Finding]) -> Metadata:
    read: dict[str, tuple[date, str]] = {}
    for name in ("released_on", "originally_released_on"):
        value = getattr(record, name)
        if value is None:
            continue
        try:
            read[name] = start, normal = read_date(value)
        except ValueError:
            findings.append(Finding(Rule.INVALID_DATE, name, value))
            continue
        if not FIRST_RECORDING <= start <= record.delivered_on + MAX_ADVANCE:
            findings.append(Finding(Rule.IMPLAUSIBLE_DATE, name, value))
        if normal != value:
            findings.append(Finding(Rule.DATE_FORM, name, value, normal))
        record = _with(record, {name: normal})
    if len(read) == 2:  # noqa: PLR2004
        (_, release), (_, original) = read["released_on"], read["originally_released_on"]
        common = min(len(release), len(original))  # a year and a day of that year do not contradict each other
        if original[:common] > release[:common]:
            findings.append(Finding(Rule.DATE_ORDER, "originally_released_on", [release, original]))
    return record


# --- explicit ---

EXPLICIT = frozenset({"Explicit", "NotExplicit", "ExplicitContentEdited", "NoAdviceAvailable", "Unknown"})
_EXPLICIT_ALIASES = {
    "explicit": "Explicit", "yes": "Explicit", "true": "Explicit", "1": "Explicit",
    "notexplicit": "NotExplicit", "no": "NotExplicit", "false": "NotExplicit", "0": "NotExplicit",
    "clean": "ExplicitContentEdited", "cleaned": "ExplicitContentEdited", "edited": "ExplicitContentEdited",
    "explicitcontentedited": "ExplicitContentEdited", "noadviceavailable": "NoAdviceAvailable", "unknown": "Unknown",
}  # fmt: skip
_SAYS_EXPLICIT = re.compile(r"[(\[]\s*explicit(\s+version)?\s*[)\]]", re.IGNORECASE)
_SAYS_CLEAN = re.compile(r"[(\[]\s*clean(\s+version)?\s*[)\]]", re.IGNORECASE)


def _explicit(record: Metadata, findings: list[Finding]) -> Metadata:
    if (value := record.explicit) is None:
        return record
    flag = _EXPLICIT_ALIASES.get(re.sub(r"[\s_-]", "", value).lower())
    if flag is None:
        findings.append(Finding(Rule.INVALID_EXPLICIT, "explicit", value))
        return record
    if flag != value:
        findings.append(Finding(Rule.EXPLICIT_FORM, "explicit", value, flag))
    if (flag != "Explicit" and _SAYS_EXPLICIT.search(record.title)) or (
        flag == "Explicit" and _SAYS_CLEAN.search(record.title)
    ):
        findings.append(Finding(Rule.EXPLICIT_CONFLICT, "explicit", [record.title, value]))
    return replace(record, explicit=flag)


# --- language of the title ---

#: Scripts that are read by their Unicode names, with their ISO 15924 codes; Latin says nothing about a language.
_SCRIPTS = {
    "HANGUL": "Kore", "HIRAGANA": "Jpan", "KATAKANA": "Jpan", "CJK": "Hani", "CYRILLIC": "Cyrl", "GREEK": "Grek",
    "ARABIC": "Arab", "HEBREW": "Hebr", "THAI": "Thai", "DEVANAGARI": "Deva", "BENGALI": "Beng", "TAMIL": "Taml",
    "GEORGIAN": "Geor", "ARMENIAN": "Armn",
}  # fmt: skip
_WRITES = {"Jpan": {"Jpan", "Hani"}, "Hans": {"Hani"}, "Hant": {"Hani"}, "Kore": {"Kore", "Hani"}}
#: No linguistic content, several, undetermined: any script does.
_ANY_SCRIPT = frozenset({"zxx", "mul", "und", "mis"})
#: Languages with more than one script in daily use, beyond their most likely one (CLDR, supplemental data).
_MORE_SCRIPTS = {
    "sr": {"Cyrl"}, "az": {"Cyrl", "Arab"}, "uz": {"Cyrl", "Arab"}, "kk": {"Arab"}, "ku": {"Arab"}, "tr": {"Arab"},
    "ms": {"Arab"}, "pa": {"Arab"}, "bs": {"Cyrl"}, "tg": {"Arab"}, "ky": {"Arab"}, "ha": {"Arab"}, "sd": {"Deva"},
    "ks": {"Deva"}, "tt": {"Cyrl"}, "tk": {"Cyrl", "Arab"}, "ro": {"Cyrl"}, "sh": {"Cyrl"}, "yue": {"Hani"},
}  # fmt: skip


def _language_of_title(record: Metadata, findings: list[Finding]) -> None:
    if record.language is None or record.title.isascii():
        return
    try:
        language = langcodes.Language.get(record.language)
    except ValueError:  # an invalid tag has its own finding
        return
    if not language.language or language.language in _ANY_SCRIPT:
        return
    letters = [letter for letter in record.title if letter.isalpha()]
    scripts = [_SCRIPTS.get(unicodedata.name(letter, "").split(" ")[0].split("-")[0]) for letter in letters]
    if "Jpan" in scripts:  # only Japanese mixes kana with Chinese characters
        scripts = ["Jpan" if script == "Hani" else script for script in scripts]
    main = max(set(scripts), key=lambda script: (scripts.count(script), script or ""), default=None)
    # Half of the letters: a quoted foreign word is no fault.
    if main is None or 2 * scripts.count(main) <= len(letters):
        return
    likely = language.maximize().script or ""
    expected = _WRITES.get(likely, {likely}) | _MORE_SCRIPTS.get(language.language, set())
    if main not in expected:
        findings.append(Finding(Rule.LANGUAGE_SCRIPT, "language", [record.language, record.title]))


# --- sound and picture ---

_DURATION = re.compile(r"PT(?=\d)(?:(\d{1,3})H)?(?:(\d{1,4})M)?(?:(\d{1,6})(?:\.(\d{1,6}))?S)?", re.ASCII)


def read_duration(text: str) -> int:
    """Milliseconds of an ISO 8601 duration in hours, minutes and seconds, rounded down.

    Raises:
        ValueError: it is none, or not positive.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"'{text}' is not a duration of ISO 8601")
    hours, minutes, seconds, fraction = (match[group] or "0" for group in range(1, 5))
    total = (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0")[:3])
    if total <= 0:
        raise ValueError(f"'{text}' is not a positive duration")
    return total


def _audio(record: Metadata, findings: list[Finding]) -> None:
    if record.duration is not None:
        try:
            declared = read_duration(record.duration)
        except ValueError:
            findings.append(Finding(Rule.INVALID_DURATION, "duration", record.duration))
        else:
            difference = abs(declared - (record.decoded_ms or declared))
            if difference > DURATION_TOLERANCE_MS and difference * 100 > declared * DURATION_TOLERANCE_PERCENT:
                findings.append(Finding(Rule.DURATION_MISMATCH, "duration", [declared, record.decoded_ms]))
    findings += sound_findings(record.silent_ratio, record.clipped_ratio)
    if record.sha256 and record.declared_sha256 and record.sha256 != record.declared_sha256.strip().lower():
        findings.append(Finding(Rule.CHECKSUM, "sha256", [record.declared_sha256, record.sha256]))


def judge_artwork(art: Artwork) -> list[Finding]:
    """All findings about one picture."""
    findings: list[Finding] = []
    if art.format not in ARTWORK_FORMATS:
        findings.append(Finding(Rule.ARTWORK_FORMAT, "artwork", art.format))
    small, large = sorted((art.width_px, art.height_px))
    if small < ARTWORK_MIN_PX or large > ARTWORK_MAX_PX or (large - small) * 100 > large:
        findings.append(Finding(Rule.ARTWORK_SIZE, "artwork", [art.width_px, art.height_px]))
    return findings
