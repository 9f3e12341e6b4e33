"""The payout ledger in memory: books month after month and checks that its accounts mean what they should."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from lakehouse.adapters.royalties import postings
from lakehouse.domain.royalties.contracts import Book
from lakehouse.domain.royalties.settlement import Balance, Settlement


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
            assert stands["advance"] == balance.unrecouped_minor >= 0, (settlement.period, who, stands)
            assert stands["deficit"] == balance.deficit_minor >= 0, (settlement.period, who, stands)
            assert stands["reserve"] == -held <= 0, (settlement.period, who, stands)
            assert stands["payee"] == -self._payable[who] <= 0, (settlement.period, who, stands)
            assert stands["withholding_tax"] <= 0, (settlement.period, who, stands)
            assert stands["cash"] <= 0, (settlement.period, who, stands)  # advances paid; nothing comes in
