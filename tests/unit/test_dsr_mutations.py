"""Whatever is done to a cell or a line of a good report under the profile that is written, a violation names it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

import pytest

from lakehouse.domain.royalties.dsr.records import CURRENT, profile
from lakehouse.domain.royalties.dsr.writing import Context, Recording, Sale, render
from tests.dsr_header import HEADER
from tests.unit.test_dsr_reading import NEWER, check

PROFILE = profile(CURRENT)
DETAILS = ("SU01.03", "SU02.03")


def written() -> str:
    """A report as the product writes it: two contexts, three recordings, with all that a recording may have."""
    contexts = [
        Context("DE-premium", "SubscriptionModel", "DE", "Premium", "EUR", 12, Decimal("12.5"), subscribers=3),
        Context("JP-free", "AdvertisementSupportedModel", "JP", "Free", "JPY", 4, Decimal(70_001)),
    ]
    recordings = [
        Recording(
            "1", "One", "Artist", [Sale("DE-premium", "T1", 5), Sale("JP-free", "T2", 4)], "GBUM71029604", 61_500
        ),
        Recording("2", "Two", "Artist", [Sale("DE-premium", "T3", 6)], iswc="T0101974597", writers=["May", "Mercury"]),
        Recording("3", "Three", "Another", [Sale("DE-premium", "T4", 1)]),
    ]
    return "".join(render(HEADER, contexts, recordings))


class Mutation(NamedTuple):
    """A spoiled report and what must be named: the rule at a line (0: anywhere) and cell ("": anywhere)."""

    what: str
    text: str
    rule: str
    line: int = 0
    cell: str = ""


def of_cells(rows: list[list[str]]) -> Iterator[Mutation]:
    """Every known cell of every record is emptied, given two values, a wrong one, and a control character."""
    for n, row in enumerate(rows):
        for c, cell in enumerate(PROFILE.records[row[0]], start=1):
            changes = [("\x01", "control_character")]
            if cell.is_required:
                changes.append(("", "missing_value"))
            if row[c] and not cell.is_multiple:
                changes.append((f"{row[c]}|{row[c]}", "several_values"))
            if cell.kind in PROFILE.values:
                changes.append(("!", "value_not_allowed"))
            elif cell.kind != "string":
                changes.append(("!", "bad_value"))
            for value, rule in changes:
                text = joined([*rows[:n], [*row[:c], value, *row[c + 1 :]], *rows[n + 1 :]])
                yield Mutation(f"{row[0]}, {cell.name}: {value!r}", text, rule, n + 1, f"{c + 1} {cell.name}")


def of_counts(rows: list[list[str]]) -> Iterator[Mutation]:
    """Numbers that must agree with others are one more; references and identifiers are those of something else."""
    first: dict[str, str] = {}
    for n, row in enumerate(rows):
        places = {cell.name: c for c, cell in enumerate(PROFILE.records[row[0]], start=1)}

        def put(name: str, value: str, rule: str, *, is_here: bool = True) -> Mutation:
            c = places[name]  # noqa: B023 - used at once
            changed = [*row[:c], value, *row[c + 1 :]]  # noqa: B023
            text = joined([*rows[:n], changed, *rows[n + 1 :]])  # noqa: B023
            at = (n + 1, f"{c + 1} {name}") if is_here else (0, "")  # noqa: B023
            return Mutation(f"{row[0]}, {name}: {value}", text, rule, *at)  # noqa: B023

        def more(name: str) -> str:
            return str(Decimal(row[places[name]]) + 1)  # noqa: B023 - used at once

        if row[0] == "SY01.03":
            yield put("TotalUsages", more("TotalUsages"), "summary_differs_from_detail")
        if row[0].startswith("SY"):
            if "summary" in first:
                yield put("SummaryRecordId", first["summary"], "duplicate_summary")
            first.setdefault("summary", row[1])
        if row[0] in DETAILS:
            # Of a summary whose uses are not known to us there is nothing to compare with.
            if any(known[0] == "SY01.03" and known[1] == row[2] for known in rows):
                uses = "NumberOfStreams" if "NumberOfStreams" in places else "Usages"
                yield put(uses, more(uses), "summary_differs_from_detail", is_here=False)
            yield put("SummaryRecordId", "of-nothing", "unknown_summary")
            yield put("TransactedResourceReference", "of-nothing", "unknown_reference")
            if "transaction" in first:
                yield put("SalesTransactionId", first["transaction"], "duplicate_transaction")
            first.setdefault("transaction", row[3])
        if row[0] == "FOOT":
            for name, rule in (
                ("NumberOfLinesInFile", "line_count_mismatch"),
                ("NumberOfLinesInReport", "line_count_mismatch"),
                ("NumberOfSummaryRecords", "summary_count_mismatch"),
                ("NumberOfBlocksInFile", "block_count_mismatch"),
                ("NumberOfBlocksInReport", "block_count_mismatch"),
            ):
                yield put(name, more(name), rule)


def of_lines(rows: list[list[str]]) -> Iterator[Mutation]:
    """Every record is left out, written twice, made one of no known type, given a cell more and one fewer."""
    for n, row in enumerate(rows):
        kind, before, after = row[0], rows[:n], rows[n + 1 :]
        dropped = {"HEAD": "missing_header", "FOOT": "missing_footer"}.get(kind, "line_count_mismatch")
        yield Mutation(f"without {kind} in line {n + 1}", joined([*before, *after]), dropped)
        twice = {"HEAD": "second_header", "FOOT": "record_after_footer"}.get(kind, "line_count_mismatch")
        yield Mutation(f"{kind} in line {n + 1} twice", joined([*before, row, row, *after]), twice)
        unknown = "missing_header" if kind == "HEAD" else "unknown_record"
        yield Mutation(f"{kind} as XX01", joined([*before, ["XX01", *row[1:]], *after]), unknown, n + 1)
        shorter = row[: len(PROFILE.records[kind])]
        yield Mutation(f"{kind} cut off", joined([*before, shorter, *after]), "wrong_cell_count", n + 1)
        if kind not in PROFILE.partial:
            yield Mutation(f"{kind} longer", joined([*before, [*row, ""], *after]), "wrong_cell_count", n + 1)
    blocks = [row[1] for row in rows if row[0][:2] not in ("HE", "SY", "FO")]
    for n, row in enumerate(rows):
        if row[0] in DETAILS and row[1] != blocks[-1]:
            moved = [*rows[:n], *rows[n + 1 : -1], row, rows[-1]]
            yield Mutation(f"{row[0]} of line {n + 1} at the end", joined(moved), "block_returns", len(rows) - 1)


def joined(rows: list[list[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


@pytest.mark.parametrize("text", [written(), NEWER], ids=["written", "of others"])
def test_every_mutation_is_named(text: str) -> None:
    assert check(text) == []
    rows = [line.split("\t") for line in text.splitlines()]
    mutations = [*of_cells(rows), *of_counts(rows), *of_lines(rows)]
    missed = []
    for mutation in mutations:
        assert mutation.text != text, mutation.what
        found = check(mutation.text)
        if not any(
            v.rule == mutation.rule and mutation.line in (0, v.line) and mutation.cell in ("", v.cell) for v in found
        ):
            missed.append((mutation.what, [(v.line, v.cell, v.rule) for v in found]))
    assert missed == []
    assert len(mutations) > 300
    rules = Counter(mutation.rule for mutation in mutations)
    assert rules.keys() >= {"bad_value", "missing_value", "several_values", "value_not_allowed", "wrong_cell_count"}
