"""Cells of a record: how they are delimited, and what a cell of each kind may hold.

Source: DDEX, Digital Sales Report Message Suite, Part 1: delimiters (clauses 6.6.3 and 6.6.4 of the version that
profile 1.2 goes with; 7.3 and 7.4 of version 1.4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime

from lakehouse.domain.catalog.identifiers import ISRC
from lakehouse.domain.royalties.iso import COUNTRIES, DECIMALS

_SPECIAL = re.compile(r"[\\\t|]")
_ESCAPED = {"\\": "\\\\\\", "\t": "\\\t", "|": "\\\\|"}
#: Three backslashes are one; two escape a pipe, one a tab. Whatever else starts with a backslash is none of them.
_TOKEN = re.compile(
    r"(?P<backslash>\\{3})|\\\\(?P<pipe>\|)|\\(?P<tab>\t)|(?P<wrong>\\)|(?P<end>[\t|])|(?P<text>[^\\\t|]+)"
)
#: U+0000 to U+001F, but the tab, which is a delimiter or escaped.
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f]")


class EscapeError(ValueError):
    """A backslash that escapes nothing; `place` is the cell, from 1."""

    def __init__(self, place: int) -> None:
        super().__init__("a backslash must be written as three, a pipe as \\\\|, a tab as a backslash and a tab")
        self.place = place


def escape(value: str) -> str:
    """`value` so that its tabs, pipes and backslashes are no delimiters."""
    return _SPECIAL.sub(lambda match: _ESCAPED[match[0]], value)


def join(record: Sequence[Sequence[str]]) -> str:
    """One line, without its end, of cells that each hold any number of values."""
    return "\t".join("|".join(escape(value) for value in cell) for cell in record)


def split(line: str) -> list[list[str]]:
    """The cells of a line, each a list of values; an empty cell is an empty list.

    Raises:
        EscapeError: a backslash escapes nothing.
    """
    if "\\" not in line:
        return [cell.split("|") if cell else [] for cell in line.split("\t")]
    cells: list[list[str]] = [[""]]
    for match in _TOKEN.finditer(line):
        if match["wrong"]:
            raise EscapeError(len(cells))
        if match["end"] == "\t":
            cells.append([""])
        elif match["end"]:
            cells[-1].append("")
        else:
            cells[-1][-1] += "\\" if match["backslash"] else match["pipe"] or match["tab"] or match["text"]
    return [[] if cell == [""] else cell for cell in cells]


def _is_calendar(text: str, parse: Callable[[str], object]) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", text):
        return False
    return _is_calendar(text + "-01-01"[len(text) - 4 :], date.fromisoformat)


def _is_datetime(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})", text):
        return False
    return _is_calendar(text, datetime.fromisoformat)


def is_dpid(text: str) -> bool:
    """Whether `text` is a DDEX Party Identifier: PADPIDA, ten characters, a check character (ISO 7064, mod 37,36)."""
    if not re.fullmatch(r"PADPIDA[A-Z0-9]{11}", text):
        return False
    product = 36
    for character in text[:-1]:
        product = ((product + int(character, 36)) % 36 or 36) * 2 % 37
    return (product + int(text[-1], 36)) % 36 == 1


#: Territories beside ISO 3166-1: what DDEX's list has more, and numbers of CISAC's TIS.
_TERRITORIES = COUNTRIES | {"Worldwide", "AN", "CS", "XK", "ES-CE", "ES-CN", "ES-ML"}
#: Currencies no longer in use and units of account that DDEX's list has beside those of `iso`.
_MORE_CURRENCIES = "ANG BGN BOV BYR CLF COU CUC CYP EEK HRK LTL LVL MRO MTL MXV ROL SIT SKK SLL STD UYI VEF ZWL"
_CURRENCIES = DECIMALS.keys() | frozenset(_MORE_CURRENCIES.split())


def _pattern(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


#: Kind of a cell: (whether a value fits, what one is).
KINDS: dict[str, tuple[Callable[[str], bool], str]] = {
    "string": (lambda text: text != "", "text"),
    "integer": (_pattern(r"-?\d{1,18}"), "a whole number"),
    "decimal": (_pattern(r"-?\d{1,18}(\.\d{1,18})?"), "a decimal number with a point"),
    "boolean": (_pattern("true|false"), "true or false"),
    "date": (_is_date, "a date as YYYY, YYYY-MM or YYYY-MM-DD"),
    "datetime": (_is_datetime, "a moment as YYYY-MM-DDThh:mm:ss with Z or an offset"),
    "duration": (_pattern(r"PT(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?"), "a duration as PT1H2M3S"),
    "dpid": (is_dpid, "a DDEX Party Identifier of 18 characters whose check character is right"),
    "namespaced": (_pattern(r"(?s)[^:\s]+::.+"), "an identifier as namespace::identifier"),
    "isrc": (lambda text: ISRC.fullmatch(text.upper()) is not None, "an ISRC of 12 characters"),
    "iswc": (_pattern(r"T\d{10}"), "an ISWC: T and ten digits"),
    "icpn": (_pattern(r"\d{12,14}"), "an ICPN of 12 to 14 digits"),
    "territory": (lambda text: text in _TERRITORIES or re.fullmatch(r"\d{1,4}", text) is not None, "a territory code"),
    "currency": (lambda text: text in _CURRENCIES, "an ISO 4217 currency code"),
    "message_version": (_pattern(r"dsrf/30|dsrf(/\d+(\.\d+)*){3}"), "dsrf/ and the versions of parts 1, 2 and 8"),
}


def unprintable(text: str) -> Iterator[str]:
    """Control characters in `text` that no cell may hold, as U+XXXX."""
    return (f"U+{ord(match[0]):04X}" for match in CONTROL.finditer(text))
