"""Industry identifiers and names, normalised so that equal things compare equal."""

from __future__ import annotations

import re
import unicodedata
import uuid

#: ISO 3901:2019: two characters of country or registrant, three of registrant, two digits of year, five of designation.
ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")


def normalise_isrc(text: str) -> str:
    """`text` as a bare ISRC of 12 characters (ISO 3901); hyphens, spaces, case and an `ISRC` label are forgiven.

    Raises:
        ValueError: it is not an ISRC.
    """
    bare = re.sub(r"[\s-]", "", text.upper()).removeprefix("ISRC").removeprefix(":")
    if not ISRC.fullmatch(bare):
        raise ValueError(f"'{text}' is not an ISRC")
    return bare


def normalise_icpn(text: str) -> str:
    """`text` as the 13 digits of an EAN, or of a UPC with a zero in front (GS1 General Specifications 7.9).

    With one more zero in front it is the same trade item as a GTIN-14; another first digit there means a case of them.

    Raises:
        ValueError: it is neither, or its check digit is wrong.
    """
    bare = _bare(text, "UPC", "EAN", "ICPN")
    if re.fullmatch(r"0[0-9]{13}", bare):
        bare = bare[1:]
    if not re.fullmatch(r"[0-9]{12,13}", bare):
        raise ValueError(f"'{text}' is not a UPC or EAN")
    digits = _digits(bare.zfill(13))
    if sum(digit * (1, 3)[place % 2] for place, digit in enumerate(digits)) % 10:
        raise ValueError(f"'{text}' is a UPC or EAN with a wrong check digit")
    return bare.zfill(13)


def normalise_iswc(text: str) -> str:
    """`text` as a bare ISWC of 11 characters, `T` and ten digits (ISO 15707:2022).

    Raises:
        ValueError: it is not an ISWC, or its check digit is wrong.
    """
    bare = _bare(text, "ISWC")
    if not re.fullmatch(r"T[0-9]{10}", bare):
        raise ValueError(f"'{text}' is not an ISWC")
    *digits, check = _digits(bare[1:])
    if (1 + sum(place * digit for place, digit in enumerate(digits, 1)) + check) % 10:
        raise ValueError(f"'{text}' is an ISWC with a wrong check digit")
    return bare


def normalise_ipi(text: str) -> str:
    """`text` as the 11 digits of an IPI name number (CISAC; modulus 101, weights 10 to 2); leading zeros may lack.

    Raises:
        ValueError: it is not an IPI name number, or its two check digits are wrong.
    """
    bare = _bare(text, "IPI")
    if not re.fullmatch(r"[0-9]{9,11}", bare):
        raise ValueError(f"'{text}' is not an IPI name number")
    bare = bare.zfill(11)
    rest = sum(weight * digit for weight, digit in zip(range(10, 1, -1), _digits(bare[:9]), strict=True)) % 101
    if (101 - rest) % 101 % 100 != int(bare[9:]):
        raise ValueError(f"'{text}' is an IPI name number with wrong check digits")
    return bare


def normalise_isni(text: str) -> str:
    """`text` as the 16 characters of an ISNI (ISO 27729; check character by ISO 7064 MOD 11-2).

    Raises:
        ValueError: it is not an ISNI, or its check character is wrong.
    """
    bare = re.sub(r"^HTTPS?://(WWW\.)?ISNI\.ORG/(ISNI/)?", "", text.strip().upper())
    bare = _bare(bare, "ISNI")
    if not re.fullmatch(r"[0-9]{15}[0-9X]", bare):
        raise ValueError(f"'{text}' is not an ISNI")
    rest = 0
    for digit in _digits(bare[:15]):
        rest = (rest + digit) * 2 % 11
    if "0123456789X"[(12 - rest) % 11] != bare[15]:
        raise ValueError(f"'{text}' is an ISNI with a wrong check character")
    return bare


def normalise_mbid(text: str) -> str:
    """`text` as a MusicBrainz id: a UUID in lower case with hyphens; case, braces and lacking hyphens are forgiven.

    Raises:
        ValueError: it is not a UUID.
    """
    bare = re.sub(r"[{}-]", "", text.strip().lower())
    if not re.fullmatch(r"[0-9a-f]{32}", bare):
        raise ValueError(f"'{text}' is not a MusicBrainz id")
    return str(uuid.UUID(hex=bare))


def release_key(text: str) -> str:
    """`text` as what names a release in every message: a GRid in capitals without hyphens, or 13 digits of UPC or EAN.

    Raises:
        ValueError: it is neither.
    """
    bare = _bare(text)
    # A GRid begins with A1 (GRid Handbook 2.1): letters tell it from a UPC or EAN.
    if re.fullmatch(r"A1[A-Z0-9]{16}", bare):
        return bare
    return normalise_icpn(text)


def _bare(text: str, *labels: str) -> str:
    """`text` in capitals without spaces, hyphens, dots and one of the `labels` in front of it."""
    bare = re.sub(r"[\s.\-\u2010-\u2015]", "", text.upper())
    for label in labels:
        bare = bare.removeprefix(label)
    return bare.removeprefix(":")


def _digits(text: str) -> list[int]:
    return [int(digit) for digit in text]


def tidy(text: str) -> str:
    """`text` as shown: Unicode NFC, control characters out, runs of white space as one space, trimmed."""
    text = unicodedata.normalize("NFC", text)
    if not text.isprintable():  # most texts are: they have no white space but spaces, and no control characters
        text = "".join(" " if ch.isspace() else ch for ch in text if ch.isspace() or unicodedata.category(ch) != "Cc")
    return re.sub(" +", " ", text).strip()


#: The longest titles of real recordings have some 300 characters; an index entry of PostgreSQL has 2,704 bytes.
MAX_NAME_CHARACTERS, MAX_NAME_BYTES = 500, 2_000


def name_fits(name: str) -> bool:
    """Whether a title or name can be kept, searched and shown: at most 500 characters, and 2,000 bytes as a key."""
    return len(name) <= MAX_NAME_CHARACTERS and len(name_key(name).encode()) <= MAX_NAME_BYTES


def name_key(name: str) -> str:
    """What makes two spellings of a name the same: Unicode NFKC, case folded, tidy."""
    return tidy(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()))


def recording_key(artist_name: str, title: str) -> str:
    """What makes two spellings of a recording the same: artist and title as keys.

    The lake has it as a column of listens and of the catalogue, so that SQL compares and never computes it.
    """
    return f"{name_key(artist_name)}\N{EM DASH}{name_key(title)}"
