"""Lyrics: plain, or synchronised as LRC (a line's time in brackets before it)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lakehouse.domain.catalog.deliveries.faults import Fault
from lakehouse.errors import RejectedInputError

MAX_CHARACTERS = 100_000
_TIME = re.compile(r"\[(\d{1,3}):([0-5]?\d)(?:[.:](\d{1,3}))?\]", re.ASCII)
_TAG = re.compile(r"\[([a-zA-Z#]+):(.*)\]")


@dataclass(frozen=True)
class Lyrics:
    """Lines with their moment in ms from the start, None in plain lyrics; `tags` as the LRC header names them."""

    lines: tuple[tuple[int | None, str], ...]
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def synchronised(self) -> bool:
        """Whether lines have times."""
        return any(at is not None for at, _ in self.lines)


def read(document: bytes) -> Lyrics:
    """Lyrics in UTF-8. Times are sorted and shifted by the tag `offset`; a line with several times stands at each.

    Raises:
        RejectedInputError: `lyrics_invalid`; not UTF-8, too long or without a line.
    """
    try:
        content = document.decode("utf-8-sig")
        if "\0" in content:
            raise ValueError("NULs: UTF-16 without its mark")
    except ValueError as error:
        raise RejectedInputError(
            "The lyrics are not UTF-8.", reason=Fault.LYRICS_INVALID.code, hint="Save as UTF-8."
        ) from error
    if len(content) > MAX_CHARACTERS:
        raise RejectedInputError(f"Lyrics of {len(content)} characters are too long.", reason=Fault.LYRICS_INVALID.code)
    timed: list[tuple[int, str]] = []
    plain: list[tuple[int | None, str]] = []
    tags: dict[str, str] = {}
    for raw in content.splitlines():
        line, times = raw.strip(), []
        while match := _TIME.match(line):
            minutes, seconds, fraction = match.groups()
            times.append((int(minutes) * 60 + int(seconds)) * 1000 + int((fraction or "0").ljust(3, "0")))
            line = line[match.end() :]
        if times:
            timed += [(at, line.strip()) for at in times]
        elif tag := _TAG.fullmatch(line):
            tags[tag[1].lower()] = tag[2].strip()
        else:
            plain.append((None, line))
    try:
        offset = int(tags.get("offset") or 0)
    except ValueError:
        offset = 0
    # A positive offset shows the lines earlier.
    lines = [(max(0, at - offset), line) for at, line in sorted(timed, key=lambda pair: pair[0])]
    if not timed and not any(line for _, line in plain):
        raise RejectedInputError("The lyrics have no line.", reason=Fault.LYRICS_INVALID.code)
    return Lyrics(tuple(lines) if timed else tuple(plain), tuple(tags.items()))
