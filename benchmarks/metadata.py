"""Labelled corruption of metadata: errors of known kinds go into clean records, and a table says what became of each.

Nothing here is shared with the rules in `lakehouse.domain.catalog.quality` but the record that they read: check digits,
codes and names are made by other arithmetic and from other lists, so that one error cannot hide in both.

An error that leaves a valid value (a digit of an ISRC, which has no check digit; two digits of an EAN that differ by five,
swapped) cannot be seen in one record by any rule. Those are injected and shown as well, apart: `out_of_reach`.
"""
# ruff: noqa: E501, PLR2004, RUF001 - a table of kinds with shares and letters of many scripts

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakehouse.domain.catalog.quality.duplicates import Recording, compare
from lakehouse.domain.catalog.quality.records import Artwork, Metadata, assess

GOALS = {"right_percent": 99.9, "false_refusals_percent": 0.1, "false_merges_percent": 0.01}
DELIVERED = date(2026, 3, 1)

#: Names and titles by language: several scripts, and oddities that are right as they are.
_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "en": (("Ada Marsh", "The Low Tides", "AC/DC", "P!nk Lemonade", "Little Feat", "!!!", "Sunn O)))", "Guns & Lilies"),
           ("Blue Hour", "What Is Love?", "Feat of Clay", "Leaving Ft. Worth", "Track 10", "Untitled", "Where?When?",
            "100% Pure", "Null", "A/B", "Rock & Roll", "4'33\"", "Naïve", "Explicit Memory", "Clean Hands", "???")),
    "pt": (("João da Conceição", "CORAÇÃO", "Ângela Rô"), ("Água de Março", "SÃO PAULO", "Não Chore", "À Noite")),
    "fr": (("Zoé Lefèvre", "L'Été", "Noël Français"), ("Où es-tu ?", "Ça ira", "Été à Orléans", "« Déjà vu »")),
    "de": (("Jürgen Groß", "Die Äste"), ("Über Nacht", "Straße 7", "Grüße aus Köln", "Öl & Salz")),
    "sv": (("Björn Åkesson",), ("Här är jag", "Över ån", "Nätter")),
    "pl": (("Zażółć Gęślą", "Łukasz Żak"), ("Późna jesień", "Świt", "Cień wątpliwości")),
    "tr": (("Işıl Güneş",), ("İstanbul'da Gece", "Yağmur", "Gökyüzü")),
    "vi": (("Nguyễn Thị Hương",), ("Đêm Hà Nội", "Mưa Trên Phố", "Tiếng Việt")),
    "ru": (("Алёна Лебедева", "Кино-13"), ("Тихий дом", "Белые ночи", "Ещё один день")),
    "el": (("Μαρία Παπαδοπούλου",), ("Νύχτα στην Αθήνα", "Θάλασσα")),
    "ja": (("東京カルテット", "さくらんぼ楽団"), ("夜の雨", "ひとりじゃない", "コーヒー", "Last Train 東京行き夜汽車")),
    "ko": (("서울밴드",), ("봄날의 기억", "밤하늘 별")),
    "zh-Hant": (("陳小春樂隊",), ("海闊的天空", "夜曲")),
    "ar": (("ليلى حداد",), ("نسيم الليل", "يا قمر")),
    "he": (("נועה לוי",), ("שיר של לילה", "ים")),
    "hi": (("आशा शर्मा",), ("रात का गीत", "बारिश")),
    "th": (("สมชาย ใจดี",), ("คืนฝนตก", "ดวงดาว")),
}  # fmt: skip
_SUFFIXES = ("", "", "", "", " (Live)", " - Remastered 2011", " (2nd Version)", " [Demo]", ", Pt. 2", " (Acoustic)")
_COUNTRIES = ("DE", "GB", "US", "JP", "BR", "KR", "FR", "SE", "ZA", "IN", "NL")
_FLAGS = ("Explicit", "NotExplicit", "NoAdviceAvailable", "ExplicitContentEdited", "Unknown")


# --- clean records; arithmetic of the check digits in its second, independent form ---


def _ean(body: str) -> str:
    odd, even = body[-1::-2], body[-2::-2]
    return body + str(-(3 * sum(map(int, odd)) + sum(map(int, even))) % 10)


def _iswc(body: str) -> str:
    total = 1
    for place in range(9):
        total += (place + 1) * int(body[place])
    return f"T{body}{-total % 10}"


def _ipi(body: str) -> str:
    total = sum(int(body[place]) * (10 - place) for place in range(9))
    return body + f"{(101 - total % 101) % 101 % 100:02d}"


def _isni(body: str) -> str:
    # The string read as digits of powers of two: sum a_i * 2^(n-i) = 1 (mod 11).
    total = sum(int(digit) << (15 - place) for place, digit in enumerate(body))
    return body + "0123456789X"[(1 - total) % 11]


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _isrc(rng: random.Random) -> str:
    return f"{rng.choice(('US', 'GB', 'DE', 'QZ', 'JP'))}{rng.choice('ABCRS')}{_digits(rng, 1)}Z{_digits(rng, 7)}"


def clean(rng: random.Random) -> Metadata:
    """A record without a fault; hard ones are among them."""
    language = rng.choice(tuple(_WORDS))
    artists, titles = _WORDS[language]
    released = date(1955, 1, 1) + timedelta(days=rng.randrange(26_000))
    original = released - timedelta(days=rng.choice((0, 0, 365, 4_000)))
    milliseconds = rng.randrange(30_000, 600_000)
    seconds = milliseconds // 1000
    side = rng.choice((1400, 1500, 3000, 4000, 10_000))
    hashed = f"{rng.getrandbits(256):064x}"
    return Metadata(
        title=rng.choice(titles) + rng.choice(_SUFFIXES),
        artist=rng.choice(artists),
        delivered_on=DELIVERED,
        featured=(rng.choice(_WORDS["en"][0]),) if rng.random() < 0.1 else (),
        release=rng.choice(titles),
        isrc=_isrc(rng),
        icpn=_ean(_digits(rng, 12)) if rng.random() < 0.5 else _ean(_digits(rng, 11)),
        iswc=_iswc(_digits(rng, 9)),
        ipi=_ipi(_digits(rng, 9)),
        isni=_isni("0000" + _digits(rng, 11)),
        language=language,
        territories=("Worldwide",) if rng.random() < 0.5 else tuple(rng.sample(_COUNTRIES, 3)),
        released_on=released.isoformat() if rng.random() < 0.9 else str(released.year),
        originally_released_on=original.isoformat(),
        explicit=rng.choice(_FLAGS),
        duration=f"PT{seconds // 60}M{seconds % 60}S" if rng.random() < 0.7 else f"PT{seconds}S",
        decoded_ms=milliseconds + rng.randrange(-900, 900),
        silent_ratio=rng.random() * 0.6,
        clipped_ratio=rng.random() * 0.002,
        declared_sha256=hashed,
        sha256=hashed,
        artwork=Artwork(rng.choice(("JPEG", "PNG")), side, max(1400, side - rng.choice((0, 0, side // 200)))),
    )


# --- errors ---

#: What an error does: the damaged record, or None where it can't be made of this one.
Corrupt = Callable[[random.Random, Metadata], Metadata | None]


@dataclass(frozen=True)
class Kind:
    """A kind of error and the rule that must name it. `mended`: the clean record must come back, not only a refusal."""

    name: str
    code: str
    corrupt: Corrupt
    mended: bool = False
    out_of_reach: bool = False


def _set(field: str, *values: object) -> Corrupt:
    return lambda rng, record: replace(record, **{field: rng.choice(values)})


def _text(change: Callable[[random.Random, str], str | None]) -> Corrupt:
    def corrupt(rng: random.Random, record: Metadata) -> Metadata | None:
        field = rng.choice(("title", "artist"))
        value = getattr(record, field)
        changed = change(rng, value)
        return None if changed is None or changed == value else replace(record, **{field: changed})

    return corrupt


def _misread(*encodings: str) -> Corrupt:
    def change(rng: random.Random, text: str) -> str | None:
        try:
            return None if text.isascii() else text.encode().decode(rng.choice(encodings))
        except UnicodeDecodeError:
            return None

    return _text(change)


def _twice_misread(_: random.Random, text: str) -> str | None:
    return None if text.isascii() else text.encode().decode("latin-1").encode().decode("latin-1")


def _lost(rng: random.Random, text: str) -> str | None:
    if rng.random() < 0.5:
        return text.encode("ascii", "replace").decode().replace("?", "\ufffd") if not text.isascii() else None
    asked = text.encode("ascii", "replace").decode()
    inside = any(a.isalpha() and b == "?" and c.islower() for a, b, c in zip(asked, asked[1:], asked[2:], strict=False))
    return asked if not text.isascii() and (inside or "????" in asked) else None


def _lost_at_an_end(rng: random.Random, record: Metadata) -> Metadata | None:
    words = [t for _, titles in _WORDS.values() for t in titles if t[:-1].isascii() and not t.isascii()]
    words += ["Café", "Menú", "Olé"]
    return replace(record, title=rng.choice(words)[:-1] + "?", language="und")


def _insert(*pieces: str) -> Corrupt:
    def change(rng: random.Random, text: str) -> str:
        place = rng.randrange(len(text) + 1)
        return text[:place] + rng.choice(pieces) + text[place:]

    return _text(change)


def _spaces(rng: random.Random, text: str) -> str:
    return rng.choice((f" {text}", f"{text} ", f"{text}\t", text.replace(" ", "  "), text.replace(" ", "\u00a0")))


def _decomposed(_: random.Random, text: str) -> str | None:
    import unicodedata

    return unicodedata.normalize("NFD", text)


def _escaped(rng: random.Random, text: str) -> str | None:
    import html

    once = html.escape(text)
    return once if rng.random() < 0.7 else html.escape(once)


def _featured_in(field: str) -> Corrupt:
    def corrupt(rng: random.Random, record: Metadata) -> Metadata | None:
        if record.featured:
            return None
        guest = rng.choice(("Ada Marsh", "Björn Åkesson", "Алёна Лебедева", "서울밴드"))
        form = rng.choice((" (feat. {})", " [ft. {}]", " (Featuring {})", " feat. {}", " ft. {}", " (feat {})"))
        return replace(record, **{field: getattr(record, field) + form.format(guest)})

    return corrupt


def _digit_of(field: str, valid: Callable[[str], bool], *, stays_valid: bool = False) -> Corrupt:
    """One digit replaced; only where the outcome is invalid (or valid) by the generator's own arithmetic."""

    def corrupt(rng: random.Random, record: Metadata) -> Metadata | None:
        value = str(getattr(record, field))
        place = rng.choice([i for i, c in enumerate(value) if c.isdigit()])
        other = rng.choice([d for d in "0123456789" if d != value[place]])
        damaged = value[:place] + other + value[place + 1 :]
        return replace(record, **{field: damaged}) if valid(damaged) == stays_valid else None

    return corrupt


def _swap_in(field: str, valid: Callable[[str], bool], *, stays_valid: bool = False) -> Corrupt:
    def corrupt(rng: random.Random, record: Metadata) -> Metadata | None:
        value = str(getattr(record, field))
        place = rng.randrange(len(value) - 1)
        damaged = value[:place] + value[place + 1] + value[place] + value[place + 2 :]
        return replace(record, **{field: damaged}) if damaged != value and valid(damaged) == stays_valid else None

    return corrupt


def _cut(field: str) -> Corrupt:
    def corrupt(rng: random.Random, record: Metadata) -> Metadata | None:
        value = str(getattr(record, field))
        damaged = value[:-3] if rng.random() < 0.5 else f"{value}{_digits(rng, 3)}"
        return replace(record, **{field: damaged})

    return corrupt


def _spelled(field: str, *changes: Callable[[str], str]) -> Corrupt:
    def corrupt(rng: random.Random, record: Metadata) -> Metadata | None:
        value = str(getattr(record, field))
        damaged = rng.choice(changes)(value)
        return replace(record, **{field: damaged}) if damaged != value else None

    return corrupt


def _letter_for_digit(rng: random.Random, record: Metadata) -> Metadata | None:
    value = str(record.isrc)
    places = [i for i in range(5, 12) if value[i] in "0158"]
    if not places:
        return None
    place = rng.choice(places)
    return replace(
        record, isrc=value[:place] + {"0": "O", "1": "I", "5": "S", "8": "B"}[value[place]] + value[place + 1 :]
    )


def _wrong_script(rng: random.Random, record: Metadata) -> Metadata | None:
    wrong = {"ja": ("de", "ko", "en"), "ko": ("ja", "fr"), "ru": ("en", "el"), "el": ("ru", "it"), "ar": ("de", "hi"),
             "he": ("ar", "en"), "hi": ("th", "en"), "th": ("ja", "en")}  # fmt: skip
    if record.language not in wrong:
        return None
    return replace(
        record, title=rng.choice(_WORDS[record.language][1][:1]), language=rng.choice(wrong[record.language])
    )


def _territory(*values: str) -> Corrupt:
    return lambda rng, record: replace(record, territories=(*record.territories[1:], rng.choice(values)))


def _respelled_territory(rng: random.Random, record: Metadata) -> Metadata | None:
    first, *rest = record.territories
    spelled = {"GB": ("UK", "gb"), "Worldwide": ("WORLDWIDE", "worldwide", "WW", "World")}.get(first, (first.lower(),))
    return replace(record, territories=(rng.choice(spelled), *rest))


def _date(form: Callable[[date], str | None]) -> Corrupt:
    def corrupt(_: random.Random, record: Metadata) -> Metadata | None:
        if len(str(record.released_on)) != len("2020-01-01"):
            return None
        damaged = form(date.fromisoformat(str(record.released_on)))
        return None if damaged is None else replace(record, released_on=damaged)

    return corrupt


def _later_original(rng: random.Random, record: Metadata) -> Metadata | None:
    if len(str(record.released_on)) != len("2020-01-01"):
        return None
    day = date.fromisoformat(str(record.released_on)) + timedelta(days=rng.randrange(1, 3_000))
    return replace(record, originally_released_on=day.isoformat()) if day < DELIVERED else None


def _flag(rng: random.Random, record: Metadata) -> Metadata | None:
    forms = {"Explicit": ("explicit", "yes", "true", "1", "EXPLICIT"), "NotExplicit": ("no", "false", "0", "not explicit"),
             "ExplicitContentEdited": ("clean", "edited", "Cleaned")}.get(str(record.explicit))  # fmt: skip
    return replace(record, explicit=rng.choice(forms)) if forms else None


def _contrary(rng: random.Random, record: Metadata) -> Metadata | None:
    explicit = rng.random() < 0.5
    marker = rng.choice((" (Explicit)", " [Explicit Version]") if explicit else (" (Clean)", " [Clean Version]"))
    return replace(record, title=record.title + marker, explicit="NotExplicit" if explicit else "Explicit")


def _other_length(rng: random.Random, record: Metadata) -> Metadata | None:
    declared = record.decoded_ms or 0
    return replace(
        record, decoded_ms=rng.choice((30_000 - 5_000, declared // 2, declared + 15_000, declared // 1000 + 1))
    )


def _other_bytes(rng: random.Random, record: Metadata) -> Metadata | None:
    return replace(record, sha256=f"{int(str(record.sha256), 16) ^ 1 << rng.randrange(256):064x}")


def _art(*pictures: Artwork) -> Corrupt:
    return _set("artwork", *pictures)


def _is_ean(text: str) -> bool:
    return text == _ean(text[:-1])


def _is_iswc(text: str) -> bool:
    return text[0] == "T" and text[1:].isdigit() and text == _iswc(text[1:10])


def _is_ipi(text: str) -> bool:
    return text == _ipi(text[:9])


def _is_isni(text: str) -> bool:
    return text[:15].isdigit() and text == _isni(text[:15])


KINDS: tuple[Kind, ...] = (
    Kind("UTF-8 read as Windows or Latin-1", "mojibake", _misread("latin-1", "cp1252"), mended=True),
    Kind("UTF-8 read twice as Latin-1", "mojibake", _text(_twice_misread), mended=True),
    Kind("letters lost to an encoder", "lost_characters", _text(_lost)),
    Kind("a last letter lost to '?'", "lost_characters", _lost_at_an_end, out_of_reach=True),
    Kind("outer or doubled spaces", "untidy_text", _text(_spaces), mended=True),
    Kind("invisible or control character", "untidy_text", _insert("\u200b", "\ufeff", "\x07", "\u00ad"), mended=True),
    Kind("decomposed Unicode", "untidy_text", _text(_decomposed), mended=True),
    Kind("HTML entities", "markup", _text(_escaped), mended=True),
    Kind("blank title", "missing_title", _set("title", "", " ", "\u200b", "\t")),
    Kind("blank artist", "missing_artist", _set("artist", "", "  ")),
    Kind("placeholder title", "placeholder", _set("title", "Track 01", "Unknown Title", "TBA", "null", "AudioTrack 07")),
    Kind("placeholder artist", "placeholder", _set("artist", "Unknown Artist", "unknown artist", "N/A", "Artist Name")),
    Kind("name without end", "name_too_long", _text(lambda rng, text: text * (rng.randrange(501, 3000) // len(text) + 1))),
    Kind("featured artist in title", "featured_in_title", _featured_in("title"), mended=True),
    Kind("featured artist in artist", "featured_in_artist", _featured_in("artist"), mended=True),
    Kind("ISRC: letter for digit", "invalid_isrc", _letter_for_digit),
    Kind("ISRC: cut or too long", "invalid_isrc", _cut("isrc")),
    Kind("ISRC: a digit changed", "invalid_isrc", _digit_of("isrc", lambda _: True, stays_valid=True), out_of_reach=True),
    Kind("ISRC: spelling", "identifier_form",
         _spelled("isrc", str.lower, lambda t: f"{t[:2]}-{t[2:5]}-{t[5:7]}-{t[7:]}", lambda t: f"ISRC {t}"), mended=True),
    Kind("UPC/EAN: a digit changed", "invalid_icpn", _digit_of("icpn", _is_ean)),
    Kind("UPC/EAN: digits swapped", "invalid_icpn", _swap_in("icpn", _is_ean)),
    Kind("UPC/EAN: swapped, still valid", "invalid_icpn", _swap_in("icpn", _is_ean, stays_valid=True), out_of_reach=True),
    Kind("UPC/EAN: cut or too long", "invalid_icpn", _cut("icpn")),
    Kind("UPC/EAN: as a float", "invalid_icpn", _spelled("icpn", lambda t: f"{float(t):.5e}")),
    Kind("ISWC: a digit changed", "invalid_iswc", _digit_of("iswc", _is_iswc)),
    Kind("ISWC: changed, still valid", "invalid_iswc", _digit_of("iswc", _is_iswc, stays_valid=True), out_of_reach=True),
    Kind("ISWC: digits swapped", "invalid_iswc", _swap_in("iswc", _is_iswc)),
    Kind("ISWC: spelling", "identifier_form",
         _spelled("iswc", lambda t: f"{t[0]}-{t[1:4]}.{t[4:7]}.{t[7:10]}-{t[10]}", str.lower), mended=True),
    Kind("IPI: a digit changed", "invalid_ipi", _digit_of("ipi", _is_ipi)),
    Kind("IPI: digits swapped", "invalid_ipi", _swap_in("ipi", _is_ipi)),
    Kind("ISNI: a digit changed", "invalid_isni", _digit_of("isni", _is_isni)),
    Kind("ISNI: digits swapped", "invalid_isni", _swap_in("isni", _is_isni)),
    Kind("ISNI: spelling", "identifier_form",
         _spelled("isni", lambda t: " ".join(t[i:i + 4] for i in range(0, 16, 4)), lambda t: f"https://isni.org/isni/{t}"),
         mended=True),
    Kind("no language", "invalid_language", _set("language", "jp", "english", "xx", "cz", "e", "en-XX", "1", "deutsch")),
    Kind("language: spelling", "code_form",
         lambda rng, r: replace(r, language={"en": "ENG", "pt": "por", "de": "ger", "fr": "FR", "ja": "jpn"}[r.language])
         if r.language in ("en", "pt", "de", "fr", "ja") else None, mended=True),
    Kind("title in another script", "language_script", _wrong_script),
    Kind("no territory", "invalid_territory", _territory("EU", "XX", "ZZ", "England", "840", "YU", "JPN", "")),
    Kind("territory: spelling", "code_form", _respelled_territory, mended=True),
    Kind("impossible date", "invalid_date", _date(lambda d: f"{d.year}-02-30" if d.day % 2 else f"{d.year}-13-01")),
    Kind("date with two readings", "invalid_date",
         _date(lambda d: f"{d.day:02}/{d.month:02}/{d.year}" if d.day <= 12 and d.day != d.month else None)),
    Kind("date as words or two digits", "invalid_date", _date(lambda d: d.strftime("%d %B %y"))),
    Kind("date: spelling", "date_form",
         _date(lambda d: d.strftime("%d.%m.%Y") if d.day > 12 else d.strftime("%Y/%m/%d")), mended=True),
    Kind("year of a slip", "implausible_date",
         _date(lambda d: f"{d.year - (1000 if d.day % 2 else -200):04}{d.isoformat()[4:]}" if d.isoformat()[5:] != "02-29"
               else None)),
    Kind("original after release", "date_order", _later_original),
    Kind("no explicit flag", "invalid_explicit", _set("explicit", "maybe", "", "E", "PG-13", "2")),
    Kind("explicit flag: spelling", "explicit_form", _flag, mended=True),
    Kind("flag against title", "explicit_conflict", _contrary),
    Kind("no duration", "invalid_duration", _set("duration", "3:45", "PT", "PT0S", "225", "P3M", "-PT3M", "")),
    Kind("other duration", "duration_mismatch", _other_length),
    Kind("silence", "silence", _set("silent_ratio", 0.96, 0.99, 1.0)),
    Kind("clipping", "clipping", _set("clipped_ratio", 0.011, 0.05, 0.4)),
    Kind("one bit of the file", "checksum_mismatch", _other_bytes),
    Kind("artwork format", "artwork_format", _art(Artwork("GIF", 3000, 3000), Artwork("WEBP", 3000, 3000))),
    Kind("artwork size", "artwork_size",
         _art(Artwork("JPEG", 600, 600), Artwork("PNG", 3000, 2000), Artwork("JPEG", 20_000, 20_000))),
)  # fmt: skip


def _canonical(record: Metadata) -> Metadata:
    """A clean record as it should come out: a UPC becomes its EAN, and nothing else changes."""
    return replace(record, icpn=str(record.icpn).zfill(13))


def run(
    *, errors: int = 110_000, clean_records: int = 50_000, recordings: int = 10_000, seed: int = 1
) -> dict[str, Any]:
    """Inject about `errors` errors, judge as many clean records, compare `recordings` fingerprints; counts and rates."""
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    per_kind = -(-errors // sum(not kind.out_of_reach for kind in KINDS))
    rows = [_one_kind(kind, per_kind, rng) for kind in KINDS]
    refused: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    wrongly = 0
    for _ in range(clean_records):
        record = clean(rng)
        found = assess(record)
        wrongly += found.quarantined
        refused.update({f.rule.code for f in found.findings if f.rule.severity == "quarantined"})
        if found.record != _canonical(record):
            changed.update({f.rule.code for f in found.findings} or {"?"})
    in_reach = [row for row in rows if not row["out_of_reach"]]
    injected, right = (sum(row[name] for row in in_reach) for name in ("injected", "right"))
    everything = [sum(row[name] for row in rows) for name in ("injected", "right")]
    duplicates = same_recordings(recordings, seed)
    outcome = {
        "errors": injected,
        "right": right,
        "right_percent": 100 * right / injected,
        "right_percent_with_out_of_reach": 100 * everything[1] / everything[0],
        "clean": clean_records,
        "false_refusals": wrongly,
        "false_refusals_percent": 100 * wrongly / clean_records,
        "false_refusals_by_rule": dict(refused),
        "clean_but_changed": dict(changed),
        "kinds": rows,
        "duplicates": duplicates,
        "goals": GOALS,
    }
    outcome["met"] = (
        outcome["right_percent"] >= GOALS["right_percent"]
        and outcome["false_refusals_percent"] <= GOALS["false_refusals_percent"]
        and duplicates["false_merges_percent"] <= GOALS["false_merges_percent"]
    )
    return outcome


def _one_kind(kind: Kind, count: int, rng: random.Random) -> dict[str, Any]:
    found_as: dict[str, int] = defaultdict(int)
    right = injected = 0
    example = None
    while injected < count:
        original = clean(rng)
        damaged = kind.corrupt(rng, original)
        if damaged is None:
            continue
        injected += 1
        found = assess(damaged)
        codes = sorted({finding.rule.code for finding in found.findings})
        named = kind.code in codes
        # A mended record must be the clean one again, and must not wait for anybody.
        good = named and (
            not kind.mended or (found.record == _mended_as(kind, original, damaged) and not found.quarantined)
        )
        right += good
        found_as["+".join(codes) or "nothing"] += 1
        if not good and example is None:
            example = {n: getattr(damaged, n) for n in vars(damaged) if getattr(damaged, n) != getattr(original, n)}
    return {
        "kind": kind.name,
        "code": kind.code,
        "must": "mend" if kind.mended else "quarantine",
        "injected": injected,
        "right": right,
        "found_as": dict(sorted(found_as.items(), key=lambda item: -item[1])[:4]),
        "missed_example": example,
        "out_of_reach": kind.out_of_reach,
    }


def _mended_as(kind: Kind, original: Metadata, damaged: Metadata) -> Metadata:
    if not kind.code.startswith("featured"):
        return _canonical(original)
    field = kind.code.removeprefix("featured_in_")
    added = getattr(damaged, field)[len(getattr(original, field)) :]
    guest = added.strip(" ()[]").split(" ", 1)[1]
    return _canonical(replace(original, featured=(guest,)))


# --- duplicates ---


def fingerprint(rng: np.random.Generator, length: int) -> NDArray[np.uint32]:
    """Numbers like chromaprint's: neighbours share most of their bits, and some bits are rarely set in any music."""
    rarity = rng.permutation(np.linspace(0.15, 0.85, 32))
    bits = rng.random((length, 32)) < rarity
    for step in range(1, length):
        bits[step] = np.where(rng.random(32) < 0.75, bits[step - 1], bits[step])
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint32).reshape(-1)


def encoded_again(rng: np.random.Generator, original: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The same sound through another encoder: 2 to 8 % of the bits, and up to a second of the start, differ."""
    flips = rng.random((len(original), 32)) < rng.uniform(0.02, 0.08)
    noise = np.ascontiguousarray(np.packbits(flips, axis=1)).view(np.uint32).reshape(-1)
    return (original ^ noise)[rng.integers(0, 8) :]


def another_version(rng: np.random.Generator, original: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Alike but not the same: another verse, an edit of 80 %, or an instrumental (a quarter of the bits differ)."""
    match rng.integers(0, 3):
        case 0:
            start, changed = len(original) // 3, original.copy()
            changed[start : start + len(original) // 4] = fingerprint(rng, len(original) // 4)
            return changed
        case 1:
            return original[: len(original) * 8 // 10]
    flips = rng.random((len(original), 32)) < 0.25
    return original ^ np.ascontiguousarray(np.packbits(flips, axis=1)).view(np.uint32).reshape(-1)


def same_recordings(count: int, seed: int) -> dict[str, Any]:
    """Compare `count` recordings, a tenth of them encoded again and a tenth in another version, with right and wrong
    ISRCs; how many pairs were found, and how many distinct recordings were merged.
    """
    rng = np.random.default_rng(seed)
    tenth = count // 10
    recordings: list[Recording] = []
    expected: set[tuple[str, str, str]] = set()
    for number in range(count):
        original = fingerprint(rng, int(rng.integers(300, 500)))
        isrc = f"QZABC26{number:05}"
        recordings.append(Recording(f"{number}/a", f"{number}", original, isrc))
        if number < tenth:
            kept = number % 3
            recordings.append(
                Recording(
                    f"{number}/b", f"{number}b", encoded_again(rng, original), isrc if kept else f"QZABD26{number:05}"
                )
            )
            expected.add(("duplicate_recording", f"{number}/a", f"{number}/b"))
            if not kept:
                expected.add(("recording_two_isrcs", f"{number}/a", f"{number}/b"))
        elif number < 2 * tenth:
            reused = number % 3 == 0
            recordings.append(
                Recording(
                    f"{number}/b",
                    f"{number}b",
                    another_version(rng, original),
                    isrc if reused else f"QZABD26{number:05}",
                )
            )
            if reused:
                expected.add(("isrc_reused", f"{number}/a", f"{number}/b"))
    found = {(pair.rule.code, pair.first, pair.second) for pair in compare(recordings)}
    merges = {triple for triple in found - expected if triple[0].startswith("duplicate")}
    by_rule = {
        code: {
            "expected": sum(e[0] == code for e in expected),
            "found": sum(f[0] == code for f in found & expected),
            "false": sum(f[0] == code for f in found - expected),
        }
        for code in ("duplicate_recording", "recording_two_isrcs", "isrc_reused")
    }
    return {
        "recordings": len(recordings),
        "by_rule": by_rule,
        "false_merges": len(merges),
        "false_merges_percent": 100 * len(merges) / len(recordings),
    }
