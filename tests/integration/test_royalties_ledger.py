"""The payout ledger on the real PostgreSQL: what it refuses, it refuses to everybody, and nothing is left behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from lakehouse.adapters import royalties_ledger
from lakehouse.adapters.royalties_ledger import AccountCorrection, Correction, Ledger, Posting, Restated
from lakehouse.config.settings import Settings
from lakehouse.errors import RejectedInputError, RetryableError

pytestmark = pytest.mark.stack

#: Long before any month of the demo, so that its books stay out of the way.
FIRST, SECOND = "2001-01", "2001-02"


def posting(account: str, amount_minor: int, currency: str = "EUR") -> Posting:
    return Posting(account, "P1", "A1", "A1/c1@1", "royalty", currency, amount_minor)


BALANCED = [posting("royalty_expense", 100), posting("payee", -100)]


def document(text: str) -> tuple[bytes, str]:
    data = text.encode()
    return data, hashlib.sha256(data).hexdigest()


@pytest.fixture
def ledger(stack: Settings) -> Iterator[Ledger]:
    """A ledger of nobody's periods: the schema is made anew."""
    owner = sa.create_engine(stack.postgres.url("royalties"))
    with owner.begin() as connection:
        connection.execute(sa.text("drop schema if exists ledger cascade"))
    owner.dispose()
    assert royalties_ledger.migrate(stack) == ["0001", "0002", "0003", "0004"]
    assert royalties_ledger.migrate(stack) == []
    with Ledger(stack) as opened:
        yield opened


def taken(*adjustments: Correction) -> dict[str, Any]:
    """The inputs of a settlement that books these, as far as the ledger looks at them."""
    return {
        "adjustments": [
            {"corrects": row.corrects, "amount_minor": row.amount_minor, "key": {"period": row.from_period}}
            for row in adjustments
        ]
    }


def closed(ledger: Ledger, period: str, text: str = "{}", *adjustments: Correction) -> str:
    data, digest = document(text)
    ledger.calculate(period, data, digest, taken(*adjustments), by="run")
    ledger.approve(period, digest, by="Ada")
    ledger.close(period, BALANCED, by="Ada")
    return digest


def test_a_period_goes_its_way_once(ledger: Ledger) -> None:
    data, digest = document('{"a": 1}')
    assert ledger.state(FIRST).state == "open"
    assert ledger.calculate(FIRST, data, digest, {"snapshots": {"plays": 1}}, by="run")
    assert not ledger.calculate(FIRST, data, digest, {}, by="run"), "the same again is no new step"
    other, other_digest = document('{"a": 2}')
    with pytest.raises(RejectedInputError, match="was calculated as"):
        ledger.approve(FIRST, other_digest, by="Ada")
    with pytest.raises(RejectedInputError, match="only an approved one"):
        ledger.close(FIRST, BALANCED, by="Ada")
    assert ledger.calculate(FIRST, other, other_digest, {}, by="run"), "until it is approved it may be calculated again"
    assert ledger.approve(FIRST, other_digest, by="Ada")
    assert not ledger.approve(FIRST, other_digest, by="Ada")
    with pytest.raises(RejectedInputError, match="can't become calculated"):
        ledger.calculate(FIRST, data, digest, {}, by="run")
    ledger.close(FIRST, BALANCED, by="Ada")
    with pytest.raises(RejectedInputError, match="is closed"):
        ledger.close(FIRST, BALANCED, by="Ada")
    with pytest.raises(RejectedInputError, match="can't become"):
        ledger.calculate(FIRST, data, digest, {}, by="run")
    assert ledger.settlement(other_digest) == (other, {})
    assert ledger.balances() == [("payee", "EUR", -100), ("royalty_expense", "EUR", 100)]


@pytest.mark.parametrize(
    "postings",
    [
        [posting("royalty_expense", 100), posting("payee", -99)],
        [posting("royalty_expense", 100), posting("payee", -100, "USD")],
        [posting("payee", -100)],
    ],
)
def test_what_does_not_balance_in_each_currency_is_not_booked(ledger: Ledger, postings: list[Posting]) -> None:
    data, digest = document("{}")
    ledger.calculate(FIRST, data, digest, {}, by="run")
    ledger.approve(FIRST, digest, by="Ada")
    with pytest.raises(RejectedInputError, match="debits and credits differ"):
        ledger.close(FIRST, postings, by="Ada")
    assert ledger.state(FIRST).state == "approved"
    assert ledger.balances() == []


@pytest.mark.parametrize(
    "table", ["settlement", "step", "transaction", "entry", "adjustment", "account_adjustment", "restatement", "book"]
)
@pytest.mark.parametrize(
    "change", ["delete from ledger.{}", "truncate ledger.{} cascade", "update ledger.{} set {} = {}"]
)
def test_nobody_changes_the_past(stack: Settings, ledger: Ledger, table: str, change: str) -> None:
    closed(ledger, FIRST)
    columns = {
        "settlement": "digest",
        "step": "state",
        "transaction": "digest",
        "book": "sha256",
        "restatement": "round",
    }
    column = columns.get(table, "payee_id")
    statement = sa.text(change.format(table, column, column))
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"), ledger.begin() as connection:
        connection.execute(statement)
    owner = sa.create_engine(stack.postgres.url("royalties"))
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), owner.begin() as connection:
        connection.execute(statement)
    owner.dispose()


def test_a_booking_that_is_complete_takes_no_more_entries(ledger: Ledger) -> None:
    closed(ledger, FIRST)
    both = sa.text(
        """insert into ledger.entry (transaction_id, entry_no, account, payee_id, agreement_id, clause, kind, currency,
        amount_minor) select transaction_id, entry_no + 2, account, payee_id, agreement_id, clause, kind, currency,
        amount_minor from ledger.entry"""
    )
    with pytest.raises(RejectedInputError, match="takes no more entries"), ledger.begin() as connection:
        connection.execute(both)
    assert ledger.balances() == [("payee", "EUR", -100), ("royalty_expense", "EUR", 100)]


def test_a_settlement_is_kept_under_its_own_digest(ledger: Ledger) -> None:
    data, _ = document("{}")
    with pytest.raises(sa.exc.IntegrityError, match="settlement"):
        ledger.calculate(FIRST, data, document("[]")[1], {}, by="run")
    assert ledger.periods() == []


def test_a_closed_period_is_corrected_in_an_open_one(ledger: Ledger) -> None:
    before = closed(ledger, FIRST)
    data, after = document('{"restated": true}')
    change = Correction(
        SECOND, FIRST, before, after, "line-1", "DE", "premium", "EUR", "A1", "P1", "payable", -7, "late plays", 1
    )

    def enter(sequence: int, *changes: Correction, period: str = FIRST, turn: int = 1) -> None:
        restated = Restated(sequence, period, turn, before, after)
        ledger.correct(restated, changes, document=data, inputs={})

    enter(1, change)
    with pytest.raises(RetryableError, match="Somebody else"):
        enter(2, change)
    with pytest.raises(RetryableError, match="Somebody else"):
        enter(1, change, turn=2)
    assert ledger.restatements() == [Restated(1, FIRST, 1, before, after)]
    assert ledger.corrections(into=SECOND) == [change]
    assert ledger.corrections(of=SECOND) == []
    not_closed = Correction(
        "2001-03", SECOND, before, after, "line-2", "DE", "premium", "EUR", "A1", "P1", "payable", 1, "late plays", 1
    )
    with pytest.raises(RejectedInputError, match="is not closed"):
        enter(2, not_closed, turn=2)
    with pytest.raises(RejectedInputError, match="is not closed"):
        enter(2, period=SECOND)
    with pytest.raises(RejectedInputError, match="lacks adjustments"):
        closed(ledger, SECOND, '{"second": 1}')
    closed(ledger, SECOND, '{"second": 2}', change)
    too_late = Correction(
        SECOND, FIRST, before, after, "line-3", "DE", "premium", "EUR", "A1", "P1", "payable", 1, "late plays", 1
    )
    with pytest.raises(RejectedInputError, match="takes no adjustments"):
        enter(2, too_late, turn=2)


def test_a_month_is_final_with_every_adjustment_or_not_at_all(ledger: Ledger) -> None:
    before = closed(ledger, FIRST)
    data, after = document('{"restated": true}')
    change = Correction(
        SECOND, FIRST, before, after, "line-1", "DE", "premium", "EUR", "A1", "P1", "payable", -7, "late plays", 1
    )
    back = replace(change, amount_minor=7, round=2)
    without, digest = document('{"second": 1}')
    ledger.calculate(SECOND, without, digest, {}, by="run")
    ledger.correct(Restated(1, FIRST, 1, before, after), [change], document=data, inputs={})
    with pytest.raises(RejectedInputError, match="lacks adjustments") as refused:
        ledger.approve(SECOND, digest, by="Ada")
    assert refused.value.reason == "wrong_step"
    assert ledger.state(SECOND).state == "calculated"
    # What was never entered is refused as well, and two of one line are two.
    for number, wrong in enumerate([(change, back), (change, change), (replace(change, amount_minor=-8),)]):
        other, digest = document(f'{{"wrong": {number}}}')
        ledger.calculate(SECOND, other, digest, taken(*wrong), by="run")
        with pytest.raises(RejectedInputError, match="lacks adjustments"):
            ledger.approve(SECOND, digest, by="Ada")
    ledger.correct(Restated(2, FIRST, 2, before, after), [back], document=data, inputs={})
    closed(ledger, SECOND, '{"second": 2}', back, change)
    assert ledger.state(SECOND).state == "closed"


def test_a_month_is_final_with_every_adjustment_of_accounts_or_not_at_all(ledger: Ledger) -> None:
    before = closed(ledger, FIRST)
    data, after = document('{"restated": true}')
    tax = AccountCorrection(
        SECOND, FIRST, 1, FIRST, after, "A1", "P1", "withholding_tax", "", "A1/k1@2", "EUR", -35, "tax corrected"
    )
    carried = replace(tax, kind="reserve", refers_to=f"{FIRST}/2001-04", clause="", amount_minor=70)
    back = replace(tax, round=2, amount_minor=35)

    def taken_of_accounts(*rows: AccountCorrection) -> dict[str, Any]:
        names = ("of_period", "agreement_id", "payee_id", "kind", "refers_to", "amount_minor")
        return {"account_adjustments": [{name: getattr(row, name) for name in names} for row in rows]}

    ledger.correct(Restated(1, FIRST, 1, before, after), [], [tax, carried], document=data, inputs={})
    assert ledger.account_corrections(into=SECOND) == [replace(tax, sequence=1), replace(carried, sequence=2)]
    assert ledger.account_corrections(into=FIRST) == []
    with pytest.raises(RetryableError, match="Somebody else"):
        ledger.correct(Restated(1, FIRST, 2, before, after), [], [back], document=data, inputs={})
    refusals: list[tuple[AccountCorrection, type[Exception], str]] = [
        (replace(back, amount_minor=0), sa.exc.IntegrityError, "amount_minor"),
        (replace(back, round=3), sa.exc.IntegrityError, "restatement"),  # there is no such
        (replace(back, of_period=SECOND), sa.exc.IntegrityError, "check"),  # booked in the month that it corrects
        (replace(back, into_period=FIRST), RejectedInputError, "takes no adjustments"),
        (replace(back, from_period=SECOND), RejectedInputError, "is not closed"),
    ]
    for wrong, error, said in refusals:
        with pytest.raises(error, match=said):
            ledger.correct(Restated(2, FIRST, 2, before, after), [], [wrong], document=data, inputs={})
    lacking = [(tax,), (tax, replace(carried, amount_minor=71)), (tax, replace(carried, refers_to=f"{FIRST}/2001-05"))]
    for number, rows in enumerate([(), *lacking, (tax, carried, back)]):
        other, digest = document(f'{{"wrong": {number}}}')
        ledger.calculate(SECOND, other, digest, taken_of_accounts(*rows), by="run")
        with pytest.raises(RejectedInputError, match="lacks adjustments of accounts") as refused:
            ledger.approve(SECOND, digest, by="Ada")
        assert refused.value.reason == "wrong_step"
    ledger.correct(Restated(2, FIRST, 2, before, after), [], [back], document=data, inputs={})
    second, digest = document('{"second": 2}')
    ledger.calculate(SECOND, second, digest, taken_of_accounts(back, carried, tax), by="run")
    ledger.approve(SECOND, digest, by="Ada")
    ledger.close(SECOND, BALANCED, by="Ada")
    with pytest.raises(RejectedInputError, match="takes no adjustments"):
        late = replace(tax, round=3)
        ledger.correct(Restated(3, FIRST, 3, before, after), [], [late], document=data, inputs={})
    assert [row.sequence for row in ledger.restatements()] == [1, 2]
