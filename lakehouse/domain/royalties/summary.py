"""What a person is shown of a settlement before they sign it: sums by currency, and the month before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from lakehouse.domain.royalties.iso import units
from lakehouse.domain.royalties.settlement import Entry, PoolResult

#: What accounts come to, in the order of the waterfall: column and the kinds of entries that it sums.
COLUMNS = (
    ("royalties", ("royalty",)),
    ("brought forward", ("brought_forward", "overpayment_brought_forward")),
    ("corrections", ("adjustment", "account_adjustment")),
    ("true-up", ("true_up",)),
    ("reserves", ("reserve_held", "reserve_released")),
    ("recouped", ("recoupment",)),
    ("tax withheld", ("withholding_tax",)),
    ("carried forward", ("carried_forward", "overpayment_carried_forward")),
    ("payable", ("payable",)),
    ("in suspense", ("suspense",)),
)


class Table(NamedTuple):
    """Titles, and rows of as many cells."""

    titles: list[str]
    rows: list[list[str]]

    def to_markdown(self) -> str:
        """Numbers, all but the first column, to the right."""
        ruler = ["---", *["---:"] * (len(self.titles) - 1)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (self.titles, ruler, *self.rows))


@dataclass(frozen=True)
class Summary:
    """Pools by the currency of their market, accounts by the one they are paid in, and what asks for a second look.

    Amounts are written with the decimals of their currency; parts of a hundred are rounded to one decimal.
    """

    pools: Table
    accounts: Table
    notes: tuple[str, ...]

    def to_markdown(self) -> str:
        """Two tables and, where there is something to look at, a list."""
        text = [self.pools.to_markdown(), self.accounts.to_markdown()]
        if self.notes:
            text.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(text)


def summary(pools: Iterable[PoolResult], entries: Iterable[Entry], before: Iterable[PoolResult] = ()) -> Summary:
    """What a settlement comes to; `before` are the pools of the month before."""
    pools, before = tuple(pools), tuple(before)
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for pool in pools:
        of = sums[pool.key.currency]
        for place, value in enumerate((pool.net_minor, pool.claimed_minor, pool.retained_minor, pool.streams)):
            of[place] += value
    earlier: dict[str, int] = defaultdict(int)
    for pool in before:
        earlier[pool.key.currency] += pool.claimed_minor
    rows = []
    for currency in sorted(sums.keys() | earlier.keys()):
        net, claimed, retained, streams = sums[currency]
        last = earlier.get(currency)
        rows.append(
            [
                currency,
                *(_money(value, currency) for value in (net, claimed)),
                _percent(claimed, net),
                _money(retained, currency),
                f"{streams:,}",
                "" if last is None else _money(last, currency),
                "" if last is None else _percent(claimed - last, last, signed=True),
            ]
        )
    titles = ["market currency", "net revenue", "claimed", "of net", "retained", "streams", "claimed a month before"]
    return Summary(
        Table([*titles, "change"], rows),
        Table(["paid in", "accounts", *(c for c, _ in COLUMNS)], _paid(entries)),
        tuple(_notes(pools, {pool.key.currency for pool in before})),
    )


def _paid(entries: Iterable[Entry]) -> list[list[str]]:
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    accounts: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for entry in entries:
        sums[entry.currency][entry.kind] += entry.amount_minor
        accounts[entry.currency].add((entry.agreement_id, entry.payee_id))
    return [
        [
            currency,
            f"{len(accounts[currency]):,}",
            *(_money(sum(of[kind] for kind in kinds), currency) for _, kinds in COLUMNS),
        ]
        for currency, of in sorted(sums.items())
    ]


def _notes(pools: tuple[PoolResult, ...], earlier: set[str]) -> list[str]:
    """What asks for a second look."""
    notes = [
        f"Claims exceed the revenue of {pool.key.country} {pool.key.tier} "
        f"by {_money(-pool.retained_minor, pool.key.currency)} {pool.key.currency}."
        for pool in pools
        if pool.retained_minor < 0
    ]
    if silent := [f"{pool.key.country} {pool.key.tier}" for pool in pools if pool.net_minor and not pool.streams]:
        notes.append(f"Revenue without a single stream: {', '.join(silent)}.")
    if unlicensed := sum(pool.unlicensed_streams for pool in pools):
        notes.append(f"{unlicensed:,} streams are of tracks without a right in force; nobody is paid for them.")
    if new := sorted({pool.key.currency for pool in pools} - earlier) if earlier else []:
        notes.append(f"Not there a month before: {', '.join(new)}.")
    return notes


def _money(minor: int, currency: str) -> str:
    return f"{units(minor, currency):,}"


def _percent(part: int, whole: int, *, signed: bool = False) -> str:
    if not whole:
        return ""
    tenths = Decimal(round(Fraction(1000 * part, whole))).scaleb(-1)
    return f"{tenths:{'+' if signed else ''},.1f} %"
