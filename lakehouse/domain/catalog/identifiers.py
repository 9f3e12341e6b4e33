"""Industry identifiers and names, normalised so that equal things compare equal."""

from __future__ import annotations

import re
import unicodedata

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


def tidy(text: str) -> str:
    """`text` as shown: Unicode NFC, control characters out, runs of white space as one space, trimmed."""
    text = "".join(
        " " if ch.isspace() else ch
        for ch in unicodedata.normalize("NFC", text)
        if ch.isspace() or unicodedata.category(ch) != "Cc"
    )
    return re.sub(" +", " ", text).strip()


def name_key(name: str) -> str:
    """What makes two spellings of a name the same: Unicode NFKC, case folded, tidy."""
    return tidy(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()))
