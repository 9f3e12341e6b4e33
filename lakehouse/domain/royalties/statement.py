"""A payee's statement of a month, from the settlement: what was earned where and why, what was booked, what is payable.

The same settlement gives the same bytes, as CSV and as one HTML page that prints well. Amounts are in units of their
currency with all its decimals; nothing is computed here but sums of lines by market.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.domain.royalties.iso import units
from lakehouse.domain.royalties.settlement import (
    AccountAdjustment,
    Adjustment,
    Balance,
    Entry,
    Line,
    PoolResult,
    Settlement,
)
from lakehouse.errors import RejectedInputError

if TYPE_CHECKING:
    from jinja2 import Template

#: What a booking is called, in the order in which an account is worked out.
KINDS = {
    "brought_forward": "Brought forward",
    "royalty": "Royalties",
    "true_up": "Guarantee made up",
    "adjustment": "Corrections of earlier months",
    "reserve_held": "Reserve held back",
    "reserve_released": "Reserve released",
    "recoupment": "Advance recouped",
    "withholding_tax": "Withholding tax",
    "carried_forward": "Carried forward",
    "account_adjustment": "Correction of a closed account",
    "overpayment_brought_forward": "Overpayment brought forward",
    "overpayment_carried_forward": "Overpayment carried forward",
    "payable": "Payable",
    "suspense": "In suspense (outside the sum)",
    "balance_adjustment": "Opening balance corrected (outside the sum)",
}
#: What account adjustments correct beside bookings.
CARRIED = {
    "advance_paid": "Advance paid",
    "unrecouped": "Advance not yet recouped",
    "deficit": "Deficit",
    "earned": "Counted towards the guarantee",
    "reserve": "Reserve held",
}
COLUMNS = (
    "part",
    "agreement",
    "clause",
    "market",
    "product",
    "track",
    "what",
    "streams",
    "currency",
    "amount",
    "refers_to",
)


@dataclass(frozen=True)
class Statement:
    """What concerns one payee in a settlement. `titles` names tracks; a track without a title is shown by its id."""

    period: str
    payee_id: str
    payee_name: str
    digest: str
    lines: tuple[Line, ...]
    entries: tuple[Entry, ...]
    adjustments: tuple[Adjustment, ...]
    opening: tuple[Balance, ...]
    closing: tuple[Balance, ...]
    pools: tuple[PoolResult, ...]
    titles: Mapping[str, str]
    account_adjustments: tuple[AccountAdjustment, ...] = ()


def compile_statement(
    settlement: Settlement,
    payee_id: str,
    payee_name: str,
    *,
    titles: Mapping[str, str],
    opening: Iterable[Balance] = (),
    adjustments: Iterable[Adjustment] = (),
    account_adjustments: Iterable[AccountAdjustment] = (),
) -> Statement:
    """The statement of a payee; `opening` and the adjustments are those that the settlement was made with.

    Raises:
        RejectedInputError: `statement_unknown_payee`, the settlement has nothing about the payee.
    """
    lines = tuple(sorted(line for line in settlement.lines if line.chain and line.payee_id == payee_id))
    order = list(KINDS)
    entries = [entry for entry in settlement.entries if entry.payee_id == payee_id]
    closing = tuple(sorted(balance for balance in settlement.balances if balance.payee_id == payee_id))
    if not (lines or entries or closing):
        raise RejectedInputError(
            f"There is nothing about payee {payee_id} in {settlement.period}.",
            reason="statement_unknown_payee",
            value=payee_id,
            hint="The payees of a month are in the lines of its settlement.",
        )
    keys = {line.key for line in lines}
    return Statement(
        settlement.period,
        payee_id,
        payee_name,
        settlement.digest(),
        lines,
        tuple(sorted(entries, key=lambda entry: (entry.agreement_id, entry.currency, order.index(entry.kind), entry))),
        tuple(sorted(a for a in adjustments if a.payee_id == payee_id and a.period == settlement.period)),
        tuple(sorted(balance for balance in opening if balance.payee_id == payee_id)),
        closing,
        tuple(sorted(pool for pool in settlement.pools if pool.key in keys)),
        titles,
        tuple(sorted(a for a in account_adjustments if a.payee_id == payee_id and a.period == settlement.period)),
    )


def what_is_corrected(change: AccountAdjustment) -> str:
    """The booking or balance that `change` corrects, in words: "2026-10: Withholding tax"."""
    named = f"{change.of_period}: {(KINDS | CARRIED)[change.kind]}"
    return f"{named}, {change.refers_to}" if change.refers_to not in ("", change.of_period) else named


def money(amount_minor: int, currency: str) -> str:
    """An amount in units, as 1234.50, with as many decimals as the currency has."""
    return f"{units(amount_minor, currency):f}"


def to_csv(statement: Statement) -> str:
    """All of the statement as one table (RFC 4180), a row a balance, line, correction and booking."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_harmless(cell) for cell in row] for row in _rows(statement))
    return text.getvalue()


def to_html(statement: Statement) -> str:
    """The statement as one page without any outside part; everything from data is escaped."""
    markets = [
        (key, rule, list(lines))
        for (key, rule), lines in groupby(
            sorted(statement.lines, key=lambda line: (line.key, line.rule, line)),
            key=lambda line: (line.key, line.rule),
        )
    ]
    accounts = [
        (key, list(entries))
        for key, entries in groupby(statement.entries, key=lambda entry: (entry.agreement_id, entry.currency))
    ]
    return _template().render(
        statement=statement,
        markets=markets,
        accounts=accounts,
        kinds=KINDS,
        money=money,
        what_is_corrected=what_is_corrected,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(Path(__file__).with_name("statement.html.j2").read_text())


def _rows(statement: Statement) -> Iterator[tuple[object, ...]]:
    for part, balances in (("opening balance", statement.opening), ("closing balance", statement.closing)):
        for balance in balances:
            amounts = {
                "advance not yet recouped": balance.unrecouped_minor,
                "deficit": balance.deficit_minor,
                "reserves held": sum(reserve.amount_minor for reserve in balance.reserves),
            }
            if balance.overpaid_minor:
                amounts["overpaid"] = balance.overpaid_minor
            for what, amount in amounts.items():
                amount_text = money(amount, balance.currency)
                yield part, balance.agreement_id, "", "", "", "", what, "", balance.currency, amount_text, ""
    for line in statement.lines:
        key, title = line.key, statement.titles.get(line.track_id, line.track_id)
        what = f"{line.share_type}, {line.model}, {line.rule}, {line.account}"
        amount_text = money(line.amount_minor, key.currency)
        yield (
            *("earning", line.agreement_id, line.clause, key.country, key.tier, title),
            *(what, line.streams, key.currency, amount_text, line.line_id),
        )
    for change in statement.adjustments:
        key = change.key
        amount_text = money(change.amount_minor, key.currency)
        yield (
            *("correction", change.agreement_id, "", key.country, key.tier, ""),
            *(change.reason, "", key.currency, amount_text, change.corrects),
        )
    for of_account in statement.account_adjustments:
        amount_text = money(of_account.amount_minor, of_account.currency)
        yield (
            *("correction", of_account.agreement_id, of_account.clause, "", "", ""),
            *(of_account.reason, "", of_account.currency, amount_text, of_account.name),
        )
    for entry in statement.entries:
        amount_text = money(entry.amount_minor, entry.currency)
        yield (
            *("booking", entry.agreement_id, entry.clause, "", "", ""),
            *(KINDS[entry.kind], "", entry.currency, amount_text, entry.refers_to),
        )


def _harmless(cell: object) -> str:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it; numbers stay numbers."""
    text = str(cell)
    is_number = text.removeprefix("-").replace(".", "", 1).isdigit()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) and not is_number else text
