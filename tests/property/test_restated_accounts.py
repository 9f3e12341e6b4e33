"""Whatever the accounts of closed months are corrected to: it ends as if they had been paid so from the start."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.domain.royalties.contracts import (
    DISPUTED,
    Accounting,
    Advance,
    Agreement,
    Book,
    Holder,
    Payee,
    Right,
    Terms,
    check,
)
from lakehouse.domain.royalties.models import PRO_RATA, Use
from lakehouse.domain.royalties.pools import ExchangeRate, PoolKey, Revenue
from lakehouse.domain.royalties.settlement import OUTSIDE, AccountAdjustment, Balance, Settlement, corrected, settle
from lakehouse.errors import RejectedInputError
from tests.royalty_books import PayOuts

MONTHS = ("2026-08", "2026-09", "2026-10", "2026-11", "2026-12")
LAST = len(MONTHS) - 1
POOLS = (("DE", "premium", "EUR"), ("JP", "free", "JPY"))
TERMS = Terms("c1", 1, ("world",), MONTHS[0], share=Fraction(1, 2))
PAYEES = {name: Payee(name, name, "DE") for name in ("P0", "P1", "P2")}
#: Who holds the tracks; the disputed half of t2 is in suspense.
RIGHTS = tuple(
    Right(f"t{number}", "master", MONTHS[0], holders)
    for number, holders in enumerate(
        (
            (Holder("A", "P0", Fraction(1)),),
            (Holder("A", "P1", Fraction(1, 3)), Holder("B", "P1", Fraction(2, 3))),
            (Holder("B", "P2", Fraction(1, 2)), Holder("A", "P2", Fraction(1, 2), DISPUTED)),
        )
    )
)


@dataclass(frozen=True)
class Variant:
    """Contracts and rates; of several the rights, terms and advances are the same, the accounts are not."""

    book: Book
    rates: tuple[ExchangeRate, ...]


fractions = st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(1, 3), Fraction(1, 2), Fraction(1)])


@st.composite
def accounting(draw: st.DrawFn) -> tuple[Accounting, ...]:
    """One clause for all months, or one for two of them and another after these."""
    cut = draw(st.booleans())
    months = ((MONTHS[0], MONTHS[1], [1, 2]), (MONTHS[2], None, [1, 2, 3])) if cut else ((MONTHS[0], None, [1, 2, 4]),)
    return tuple(
        Accounting(
            f"k{number}",
            1,
            first,
            last,
            draw(fractions),
            draw(st.integers(1, 3)),
            draw(fractions),
            draw(st.sampled_from([0, 0, 500, 3000])),
            draw(st.sampled_from(whole)),
        )
        for number, (first, last, whole) in enumerate(months)
    )


@st.composite
def variants(draw: st.DrawFn) -> list[Variant]:
    """Three of them: which of the months advances are paid in is the same in all."""
    paid_in = [draw(st.sampled_from(MONTHS)) for _ in range(2)]
    made = []
    for _ in range(3):
        advances = [
            Advance(f"v{number}", payee, paid_in[number], draw(st.integers(0, 900)))
            for number, payee in enumerate(("P0", "P1"))
        ]
        agreements = {
            name: Agreement(
                name, licensor, "master", PRO_RATA, currency, (TERMS,), MONTHS[0], None, draw(accounting()), of
            )
            for name, licensor, currency, of in (
                ("A", "P0", "EUR", (advances[0], advances[1])),
                ("B", "P1", "JPY", ()),
            )
        }
        book = Book(PAYEES, agreements, RIGHTS)
        check(book)
        worth = {month: draw(st.integers(50, 250)) for month in MONTHS}
        rates = tuple(ExchangeRate(f"{month}-28", "EUR", "JPY", Fraction(rate)) for month, rate in worth.items())
        made.append(Variant(book, rates))
    return made


#: Streams of the tracks in both pools, and net revenue of these, in minor units.
months_played = st.lists(
    st.tuples(st.lists(st.integers(0, 9), min_size=6, max_size=6), st.integers(0, 3000), st.integers(0, 3000)),
    min_size=len(MONTHS),
    max_size=len(MONTHS),
)
Played = list[tuple[list[int], int, int]]


def revenue(period: str, played: Played) -> list[Revenue]:
    _, *nets = played[MONTHS.index(period)]
    return [Revenue(PoolKey(period, *pool), net) for pool, net in zip(POOLS, nets, strict=True)]


def uses(period: str, streams: list[int]) -> list[Use]:
    tracks = [(PoolKey(period, *pool), f"t{number}") for pool in POOLS for number in range(3)]
    return [Use(key, PRO_RATA, track, n, n) for (key, track), n in zip(tracks, streams, strict=True) if n]


def close(made: PayOuts, period: str, by: Variant, played: Played) -> Settlement:
    streams = played[MONTHS.index(period)][0]
    return made.settle(period, revenue(period, played), uses(period, streams), by.book, by.rates)


def without_overpaid(balances: tuple[Balance, ...]) -> list[Balance]:
    rows = [replace(row, overpaid_minor=0) for row in balances]
    return [row for row in rows if row != Balance(row.period, row.agreement_id, row.payee_id, row.currency)]


def waterfall(settlement: Settlement) -> Counter[object]:
    """What a month's own money came to, without what closed months are corrected by."""
    alone = ("payable", "overpayment_brought_forward", "overpayment_carried_forward")
    return Counter(entry for entry in settlement.entries if not corrected(entry) and entry.kind not in alone)


def stands(made: PayOuts) -> dict[tuple[str, str, str], int]:
    """The ledger's accounts, with what is overpaid taken for paid back."""
    sums = defaultdict[tuple[str, str, str], int](int, made.books.sums)
    for row in made.balances:
        who = (row.agreement_id, row.payee_id)
        sums["deficit", *who] -= row.overpaid_minor
        sums["payee", *who] += row.overpaid_minor
    return {name: amount for name, amount in sums.items() if amount}


def entries_add_up(settlement: Settlement) -> None:
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for entry in settlement.entries:
        if entry.kind == "payable":
            assert entry.amount_minor > 0
        sign = -1 if entry.kind == "payable" else int(entry.kind not in OUTSIDE)
        sums[entry.agreement_id, entry.payee_id] += sign * entry.amount_minor
    assert not any(sums.values())


@given(variants(), months_played, st.data())
def test_it_ends_as_if_paid_so_from_the_start(some: list[Variant], played: Played, data: st.DataObject) -> None:
    """Any closed months are restated before any later one, and all of them before the last: lines, accounts or both."""
    paid, right = PayOuts(), PayOuts()
    right_by = some[0]
    for number, period in enumerate(MONTHS):
        for restated in data.draw(st.permutations(MONTHS[:number])):
            # Lines alone are restated with the contracts and rates that the month was closed with.
            what = data.draw(st.sampled_from(["accounts", "lines", "both"] + ["nothing"] * (number < LAST)))
            closed, again = paid.closed[restated], None
            if what in ("lines", "both"):
                again = settle(
                    restated,
                    revenue(restated, played),
                    uses(restated, data.draw(st.lists(st.integers(0, 9), min_size=6, max_size=6))),
                    closed.was,
                    closed.rates,
                    closed.opening,
                )
            if what == "lines":
                paid.restate(restated, period, closed.was, closed.rates, again)
            if what in ("accounts", "both"):
                of = data.draw(st.sampled_from(some))
                paid.restate(restated, period, of.book, of.rates, again)
            if number == LAST:
                paid.restate(restated, period, right_by.book, right_by.rates)
        by = right_by if number == LAST else data.draw(st.sampled_from(some))
        entries_add_up(close(paid, period, by, played))
    right.adjustments = paid.adjustments
    for period in MONTHS:
        close(right, period, right_by, played)
    last = MONTHS[LAST]
    assert without_overpaid(paid.balances) == without_overpaid(right.balances)
    assert waterfall(paid.closed[last].settlement) == waterfall(right.closed[last].settlement)
    assert stands(paid) == stands(right)
    # And goes on so: what was overpaid is set off, nothing else is left of it.
    after = "2027-01"
    for made in (paid, right):
        made.settle(after, [], [], right_by.book, right_by.rates)
    assert waterfall(paid.closed[after].settlement) == waterfall(right.closed[after].settlement)
    assert stands(paid) == stands(right)


@given(variants(), months_played, st.permutations(MONTHS[:-1]))
def test_twice_is_nothing_and_back_is_nothing_in_sum(some: list[Variant], played: Played, order: list[str]) -> None:
    was, now, _ = some
    made = PayOuts()
    for period in MONTHS[:-1]:
        close(made, period, was, played)
    for period in order:
        made.restate(period, MONTHS[LAST], now.book, now.rates)
    for period in order:
        assert made.restate(period, MONTHS[LAST], now.book, now.rates) == ([], [])
    for period in reversed(order):
        made.restate(period, MONTHS[LAST], was.book, was.rates)
    sums: dict[tuple[str, ...], int] = defaultdict(int)
    for row in made.account_adjustments:
        sums[row.agreement_id, row.payee_id, row.name, row.currency] += row.amount_minor
    assert not any(sums.values())
    other = PayOuts()
    for period in MONTHS:
        close(other, period, was, played)
    result = close(made, MONTHS[LAST], was, played)
    assert result.balances == other.balances
    assert [e for e in result.entries if not corrected(e)] == [
        e for e in other.closed[MONTHS[LAST]].settlement.entries if not corrected(e)
    ]


@given(variants(), months_played)
def test_nothing_differs_by_what_it_was_closed_with(some: list[Variant], played: Played) -> None:
    made = PayOuts()
    for period, by in zip(MONTHS, (*some, some[0], some[1]), strict=True):
        for earlier, of in made.closed.items():
            assert made.restate(earlier, period, of.was, of.rates) == ([], [])
        close(made, period, by, played)


def test_accounts_are_not_corrected_past_a_month_that_may_still_change() -> None:
    book = Book(PAYEES, {"A": Agreement("A", "P0", "master", PRO_RATA, "EUR", (TERMS,), MONTHS[0])}, RIGHTS[:1])
    taxed = Accounting("k1", 1, MONTHS[0], withholding=Fraction(1, 10))
    corrected_book = replace(book, agreements={"A": replace(book.agreements["A"], accounting=(taxed,))})
    made = PayOuts()
    key = PoolKey(MONTHS[0], *POOLS[0])
    made.settle(MONTHS[0], [Revenue(key, 1000)], [Use(key, PRO_RATA, "t0", 1, 1)], book)
    with pytest.raises(RejectedInputError, match="2026-09 is closed") as refused:
        made.restate(MONTHS[0], MONTHS[2], corrected_book, ())
    assert refused.value.reason == "wrong_step"


def test_a_balance_of_another_month_is_not_corrected() -> None:
    book = Book(PAYEES, {"A": Agreement("A", "P0", "master", PRO_RATA, "EUR", (TERMS,), MONTHS[0])})
    sound = AccountAdjustment(MONTHS[2], MONTHS[1], "A", "P0", "unrecouped", "", "", "EUR", 5, "advance corrected")
    assert settle(MONTHS[2], [], [], book, account_adjustments=[sound]).balances[0].unrecouped_minor == 5
    for change, reason in (
        (replace(sound, of_period=MONTHS[0]), "wrong_period"),
        (replace(sound, of_period=MONTHS[2], kind="recoupment"), "wrong_period"),
        (replace(sound, period=MONTHS[1]), "wrong_period"),
        (replace(sound, agreement_id="gone"), "unknown_agreement"),
        (replace(sound, payee_id="gone"), "unknown_payee"),
        (replace(sound, currency="USD"), "wrong_currency"),
    ):
        with pytest.raises(RejectedInputError) as refused:
            settle(MONTHS[2], [], [], book, account_adjustments=[change])
        assert refused.value.reason == reason
