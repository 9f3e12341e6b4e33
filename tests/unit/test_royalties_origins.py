"""Every booking of four months of the demo's contracts follows from the clause and the balances it is traced to."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest

from lakehouse.adapters import royalties_demo
from lakehouse.domain.royalties.contracts import Accounting
from lakehouse.domain.royalties.origins import Origin, origin
from lakehouse.domain.royalties.settlement import Settlement
from tests.royalty_books import PayOuts
from tests.unit.test_royalties_checklist import with_other_accounts
from tests.unit.test_royalties_demo import BOOK, MARKETS, MONTHS, revenue, run, uses


@pytest.fixture(scope="module")
def origins() -> list[Origin]:
    months: list[Settlement] = run()
    before = [(), *(month.balances for month in months)]
    return [
        origin(entry, month, opening, BOOK.agreements[entry.agreement_id])
        for month, opening in zip(months, before, strict=False)
        for entry in month.entries
    ]


def follows(found: Origin) -> int | None:
    """The amount that the rule gives for the basis; None for what is a sum of lines or corrections."""
    entry, basis, rules = found.entry, found.basis, found.rules or Accounting("none", 0, "2000-01")
    first = next(iter(basis.values()), 0)
    if entry.kind == "true_up":
        return max(0, first - sum(list(basis.values())[1:]))
    if entry.kind == "recoupment":
        *advances, there = basis.values()
        return -min(sum(advances), max(0, there))
    return {
        "brought_forward": -first,
        "reserve_held": -int(rules.reserve * max(0, first)),
        "reserve_released": first,
        "withholding_tax": -int(rules.withholding * max(0, first)),
        "carried_forward": max(0, -first),
        "payable": first,
        "overpayment_brought_forward": -first,
        "overpayment_carried_forward": max(0, -first),
    }.get(entry.kind)


def test_amounts_follow_from_what_they_are_traced_to(origins: list[Origin]) -> None:
    looked_at: Counter[str] = Counter()
    for found in origins:
        assert found.rule, found.entry
        if (expected := follows(found)) is not None:
            assert found.entry.amount_minor == expected, found
            looked_at[found.entry.kind] += 1
    assert set(looked_at) == {
        *("true_up", "recoupment", "brought_forward", "reserve_held"),
        *("reserve_released", "withholding_tax", "carried_forward", "payable"),
    }


def test_clauses_and_balances_are_named(origins: list[Origin]) -> None:
    of = {found.entry.kind: found for found in origins}
    for kind in ("true_up", "reserve_held", "reserve_released", "withholding_tax"):
        assert of[kind].clause == f"{of[kind].entry.agreement_id}/account@1"
        assert of[kind].rules in BOOK.agreements[of[kind].entry.agreement_id].accounting
    released = of["reserve_released"]
    assert released.rules and released.rules.reserve == Fraction(1, 10)
    assert released.opening and released.entry.refers_to in {row.held_in for row in released.opening.reserves}
    assert released.rule == "held in 2026-10, due in 2026-12"
    recouped = next(found for found in origins if found.entry.kind == "recoupment")
    assert recouped.opening is None
    assert recouped.basis["advance signing of 2026-08"] == 150_000
    assert recouped.closing and recouped.closing.unrecouped_minor == 150_000 + recouped.entry.amount_minor
    assert of["adjustment"].rule.startswith("corrections of 2026-10/")
    assert of["royalty"].rule.startswith(f"the lines of {of['royalty'].entry.refers_to}")


def test_what_accounts_are_corrected_by_is_traced() -> None:
    """August and September had too little withheld, too little held back and another advance; October sets it right."""
    made, found = PayOuts(), list[Origin]()
    rates = tuple(royalties_demo.rates([*MONTHS, "2026-11"], [currency for _, currency in MARKETS]))
    other = with_other_accounts()
    for period in (*MONTHS, "2026-11"):
        for closed in MONTHS[:2] if period == MONTHS[2] else ():
            made.restate(closed, period, other, rates)
        book, played = (BOOK, uses(period)) if period < MONTHS[2] else (other, [])
        opening = made.balances
        settlement = made.settle(period, revenue(period), played, book, rates)
        changes = [row for row in made.account_adjustments if row.period == period]
        found += [
            origin(entry, settlement, opening, book.agreements[entry.agreement_id], changes)
            for entry in settlement.entries
        ]
    looked_at: Counter[str] = Counter()
    for of in found:
        assert of.rule, of.entry
        if (expected := follows(of)) is not None:
            assert of.entry.amount_minor == expected, of
        looked_at[of.entry.kind] += 1
    assert looked_at["account_adjustment"] and looked_at["balance_adjustment"]
    assert looked_at["overpayment_carried_forward"] and looked_at["overpayment_brought_forward"]
    tax = next(of for of in found if of.entry.refers_to == "2026-08/withholding_tax")
    assert tax.rule == "withholding_tax of 2026-08: what it should have been less what was booked"
    assert tax.clause.endswith("/account@1") and tax.rules
