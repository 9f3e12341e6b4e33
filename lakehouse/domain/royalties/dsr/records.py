"""Records of the profiles, from `profile-*.yaml`: their cells, and one check of a record for both writer and reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from lakehouse.domain.royalties.dsr.cells import KINDS, unprintable


@dataclass(frozen=True)
class Cell:
    """One cell: its name and kind, whether it needs a value, whether it may hold several."""

    name: str
    kind: str
    is_required: bool
    is_multiple: bool


@dataclass(frozen=True)
class Profile:
    """A profile in one version: cells by record type (but RecordType), allowed values by name of their set.

    Of the records in `partial` only the first cells are known.
    """

    name: str
    version: str
    records: Mapping[str, tuple[Cell, ...]]
    partial: frozenset[str]
    values: Mapping[str, frozenset[str]]

    def number(self, kind: str, name: str) -> str:
        """Number and name of a cell of `kind`, as violations have it."""
        return f"{next(n for n, cell in enumerate(self.records[kind], start=2) if cell.name == name)} {name}"


@dataclass(frozen=True)
class CellFault:
    """What is wrong with one cell (number and name; "" is the whole record); `rule` is the machine-readable code."""

    cell: str
    rule: str
    message: str
    value: str = ""


#: The version that is written unless an older one is asked for; it must be the newest of `VERSIONS`.
CURRENT = "1.4"
#: Versions of the Basic Audio Profile that are read and written.
VERSIONS = ("1.2", "1.4")
#: What the cells of a record that isn't known to its end stop with.
_UNKNOWN = "..."


@cache
def profile(version: str = CURRENT) -> Profile:
    """A version of the Basic Audio Profile.

    Raises:
        KeyError: it isn't one of `VERSIONS`.
    """
    if version not in VERSIONS:
        raise KeyError(version)
    raw = yaml.safe_load(Path(__file__).with_name(f"profile-{version}.yaml").read_text())
    base = profile(raw["based_on"]) if "based_on" in raw else None
    records = {kind: tuple(_cell(text) for text in cells if text != _UNKNOWN) for kind, cells in raw["records"].items()}
    values = {name: frozenset(values) for name, values in raw["values"].items()}
    if base:
        # Records without a version of their own are the same in every profile.
        records |= {kind: cells for kind, cells in base.records.items() if kind in ("HEAD", "FOOT", "RE02")}
        values = {name: allowed | values.get(name, frozenset()) for name, allowed in base.values.items()}
    partial = frozenset(kind for kind, cells in raw["records"].items() if cells[-1] == _UNKNOWN)
    return Profile(raw["profile"], raw["version"], records, partial, values)


def _cell(text: str) -> Cell:
    name, kind, *flags = text.split()
    return Cell(name, kind, "?" not in flags, "*" in flags)


def faults(of: Profile, kind: str, cells: Sequence[Sequence[str]]) -> Iterator[CellFault]:
    """What is wrong with the `cells` of a record of type `kind` of the profile `of`, the cell RecordType left out."""
    expected = of.records[kind]
    if kind in of.partial:
        cells = cells[: len(expected)]
    if len(cells) != len(expected):
        yield CellFault("", "wrong_cell_count", f"has {len(cells) + 1} cells, must have {len(expected) + 1}")
        return
    for number, (cell, values) in enumerate(zip(expected, cells, strict=True), start=2):
        if not values:
            if cell.is_required:
                yield CellFault(f"{number} {cell.name}", "missing_value", "needs a value")
        elif len(values) > 1 and not cell.is_multiple:
            yield CellFault(f"{number} {cell.name}", "several_values", "may hold one value", "|".join(values))
        else:
            for value in values:
                yield from _value_faults(of, number, cell, value)


def _value_faults(of: Profile, number: int, cell: Cell, value: str) -> Iterator[CellFault]:
    place = f"{number} {cell.name}"
    if code := next(unprintable(value), None):
        yield CellFault(place, "control_character", f"holds the control character {code}", value)
    elif value == "" and cell.is_multiple:
        return  # lists that run in parallel (names and their ids) keep their places with empty values
    elif cell.kind in KINDS:
        fits, what = KINDS[cell.kind]
        if not fits(value):
            yield CellFault(place, "bad_value", f"must be {what}", value)
    elif value not in of.values[cell.kind]:
        yield CellFault(place, "value_not_allowed", f"is not in the set {cell.kind}", value)
