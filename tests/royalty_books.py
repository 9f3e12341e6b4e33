"""The payout ledger in memory: settles, books and restates month after month, and checks that its accounts mean what
they should.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from lakehouse.adapters.royalties import postings
from lakehouse.domain.royalties.contracts import Book
from lakehouse.domain.royalties.models import Use
from lakehouse.domain.royalties.periods import ClosedMonth, restate, restate_accounts
from lakehouse.domain.royalties.pools import ExchangeRate, Revenue
from lakehouse.domain.royalties.settlement import (
    AccountAdjustment,
    Adjustment,
    Balance,
    Settlement,
    earned_by,
    settle,
)


class Books:
    """Sums of all postings by (account, agreement, payee), in minor units of the agreement's currency."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str, str], int] = defaultdict(int)
        self._payable: dict[tuple[str, str], int] = defaultdict(int)

    def add(self, settlement: Settlement, opening: Iterable[Balance], book: Book) -> None:
        """Book a month and check: it balances, and each account stands at what the settlement says is carried."""
        by_currency: dict[str, int] = defaultdict(int)
        for row in postings(settlement, opening, book):
            by_currency[row.currency] += row.amount_minor
            self.sums[row.account, row.agreement_id, row.payee_id] += row.amount_minor
        assert not any(by_currency.values()), f"{settlement.period}: debits and credits differ"
        for entry in settlement.entries:
            if entry.kind == "payable":
                self._payable[entry.agreement_id, entry.payee_id] += entry.amount_minor
        self._check(settlement)

    def _check(self, settlement: Settlement) -> None:
        carried = {(row.agreement_id, row.payee_id): row for row in settlement.balances}
        for who in {(agreement, payee) for _, agreement, payee in self.sums} | carried.keys():
            balance = carried.get(who, Balance(settlement.period, *who, ""))
            held = sum(reserve.amount_minor for reserve in balance.reserves)
            stands = {
                account: self.sums[account, *who]
                for account in ("advance", "deficit", "reserve", "payee", "withholding_tax", "cash")
            }
            assert balance.deficit_minor >= 0 <= balance.overpaid_minor, (settlement.period, who, balance)
            owed = balance.deficit_minor + balance.overpaid_minor
            assert stands["advance"] == balance.unrecouped_minor >= 0, (settlement.period, who, stands)
            assert stands["deficit"] == owed, (settlement.period, who, stands)
            assert stands["reserve"] == -held <= 0, (settlement.period, who, stands)
            assert stands["payee"] == -self._payable[who] <= 0, (settlement.period, who, stands)
            assert stands["withholding_tax"] <= 0, (settlement.period, who, stands)
            assert stands["cash"] <= 0, (settlement.period, who, stands)  # advances paid; nothing comes in


class PayOuts:
    """Months that are settled, booked, closed and restated, each with what was entered into it."""

    def __init__(self) -> None:
        self.books = Books()
        self.closed: dict[str, ClosedMonth] = {}
        self.adjustments: list[Adjustment] = []
        self.account_adjustments: list[AccountAdjustment] = []
        self._standing: dict[str, tuple[Book, tuple[ExchangeRate, ...]]] = {}

    @property
    def balances(self) -> tuple[Balance, ...]:
        """What the next month begins with."""
        return self.closed[max(self.closed)].settlement.balances if self.closed else ()

    def settle(
        self,
        period: str,
        revenue: Iterable[Revenue],
        uses: Iterable[Use],
        book: Book,
        rates: Iterable[ExchangeRate] = (),
    ) -> Settlement:
        """Settle, book and close the month."""
        opening, rates = self.balances, tuple(rates)
        lines = tuple(row for row in self.adjustments if row.period == period)
        accounts = [row for row in self.account_adjustments if row.period == period]
        result = settle(period, revenue, uses, book, rates, opening, lines, accounts)
        self.books.add(result, opening, book)
        self.closed[period] = ClosedMonth(result, opening, lines, earned_by(result.lines), book, book, rates)
        return result

    def restate(
        self, period: str, into: str, book: Book, rates: Iterable[ExchangeRate], again: Settlement | None = None
    ) -> tuple[list[Adjustment], list[AccountAdjustment]]:
        """Enter what a closed month differs by: its lines from those of `again`, its accounts kept by `book`, `rates`.

        Without `again` its lines are as they should be.
        """
        standing = self._standing | {period: (book, tuple(rates))}
        months = []
        for at, closed in sorted(self.closed.items()):
            if at >= min(standing):
                by, of = standing.get(at, (closed.was, closed.rates))
                months.append(replace(closed, book=by, rates=of))
        accounts = restate_accounts(months, self.account_adjustments, into, "accounts corrected")
        lines = (
            restate(self.closed[period].settlement, self.adjustments, again, into, "lines corrected") if again else []
        )
        self._standing = standing
        self.adjustments += lines
        self.account_adjustments += accounts
        return lines, accounts
