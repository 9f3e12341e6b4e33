"""Records of the profile, from `profile.yaml`: their cells, and one check of a record for both writer and reader."""

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
    """A profile in one version: cells by record type (but RecordType), allowed values by name of their set."""

    name: str
    version: str
    records: Mapping[str, tuple[Cell, ...]]
    values: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class CellFault:
    """What is wrong with one cell (number and name; "" is the whole record); `rule` is the machine-readable code."""

    cell: str
    rule: str
    message: str
    value: str = ""


@cache
def profile() -> Profile:
    """The profile that is written and checked."""
    raw = yaml.safe_load(Path(__file__).with_name("profile.yaml").read_text())
    return Profile(
        raw["profile"],
        raw["version"],
        {kind: tuple(_cell(text) for text in cells) for kind, cells in raw["records"].items()},
        {name: frozenset(values) for name, values in raw["values"].items()},
    )


def _cell(text: str) -> Cell:
    name, kind, *flags = text.split()
    return Cell(name, kind, "?" not in flags, "*" in flags)


def faults(kind: str, cells: Sequence[Sequence[str]]) -> Iterator[CellFault]:
    """What is wrong with the `cells` of a record of type `kind`, the cell RecordType left out."""
    expected = profile().records[kind]
    if len(cells) != len(expected):
        yield CellFault("", "wrong_cell_count", f"has {len(cells) + 1} cells, must have {len(expected) + 1}")
        return
    for number, (cell, values) in enumerate(zip(expected, cells, strict=True), start=2):
        place = f"{number} {cell.name}"
        if not values and cell.is_required:
            yield CellFault(place, "missing_value", "needs a value")
        if len(values) > 1 and not cell.is_multiple:
            yield CellFault(place, "several_values", "may hold one value", "|".join(values))
            continue
        for value in values:
            yield from _value_faults(place, cell, value)


def _value_faults(place: str, cell: Cell, value: str) -> Iterator[CellFault]:
    if code := next(unprintable(value), None):
        yield CellFault(place, "control_character", f"holds the control character {code}", value)
    elif value == "" and cell.is_multiple:
        return  # lists that run in parallel (names and their ids) keep their places with empty values
    elif cell.kind in KINDS:
        fits, what = KINDS[cell.kind]
        if not fits(value):
            yield CellFault(place, "bad_value", f"must be {what}", value)
    elif value not in profile().values[cell.kind]:
        yield CellFault(place, "value_not_allowed", f"is not in the set {cell.kind}", value)
