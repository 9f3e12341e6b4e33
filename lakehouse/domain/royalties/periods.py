"""The life of a month, open -> calculated -> approved -> closed, and how a closed one is corrected: in a later one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lakehouse.domain.royalties.contracts import Book
from lakehouse.domain.royalties.pools import ExchangeRate, add_months
from lakehouse.domain.royalties.settlement import (
    CARRIED,
    DEFICIT,
    EARNED,
    RESERVE,
    UNRECOUPED,
    AccountAdjustment,
    Adjustment,
    Balance,
    Line,
    Settlement,
    Sums,
    account_for,
    advances_paid,
    corrected,
)
from lakehouse.errors import RejectedInputError

OPEN, CALCULATED, APPROVED, CLOSED = "open", "calculated", "approved", "closed"
STATES = (OPEN, CALCULATED, APPROVED, CLOSED)


@dataclass(frozen=True)
class Period:
    """A month (YYYY-MM) and how far it is; `digest` is the calculated settlement's, `approved_by` who signed it."""

    period: str
    state: str = OPEN
    digest: str = ""
    approved_by: str = ""

    def calculate(self, digest: str) -> Period:
        """A settlement was calculated; again and again, until one is approved. The approved one may be repeated.

        Raises:
            RejectedInputError: another result than the approved (approved) or closed one (closed).
        """
        if self.state in (APPROVED, CLOSED):
            if digest == self.digest:
                return self
            raise self._refused("calculate", "its figures don't change any more; book an adjustment in a later period")
        return replace(self, state=CALCULATED, digest=digest)

    def approve(self, by: str, digest: str) -> Period:
        """`by` signs the settlement with `digest`.

        Raises:
            RejectedInputError: nothing is calculated, another settlement was, or nobody signed.
        """
        if self.state != CALCULATED:
            raise self._refused("approve", "only a calculated period can be approved")
        if digest != self.digest:
            raise self._refused("approve", "it was calculated anew since; look at the new figures")
        if not by.strip():
            raise self._refused("approve", "somebody must sign")
        return replace(self, state=APPROVED, approved_by=by)

    def reject(self) -> Period:
        """The figures are not approved: the period is open again.

        Raises:
            RejectedInputError: it isn't calculated or approved.
        """
        if self.state not in (CALCULATED, APPROVED):
            raise self._refused("reject", "there is nothing to reject")
        return Period(self.period)

    def close(self, before: Period | None) -> Period:
        """Close for good; `before` is the month before, None if this is the first.

        Raises:
            RejectedInputError: it isn't approved (twice included), or the month before isn't closed.
        """
        if self.state != APPROVED:
            raise self._refused("close", "only an approved period can be closed")
        if before is not None and (before.period != add_months(self.period, -1) or before.state != CLOSED):
            raise self._refused("close", f"{add_months(self.period, -1)} must be closed first")
        return replace(self, state=CLOSED)

    def _refused(self, step: str, rule: str) -> RejectedInputError:
        return RejectedInputError(
            f"Period {self.period} is {self.state}, can't {step}: {rule}.",
            reason=self.state,
            value=self.period,
            hint="See the periods and their states; corrections of a closed one are booked by a restatement.",
        )


def predecessor(period: str, known: Iterable[Period]) -> Period | None:
    """The closed month whose balances `period` begins with; None when the books begin with `period`.

    `known` are all months the ledger knows, rejected ones too. Reserves, open advances and deficits pass from month to
    month: none may be left out, and none put in before what is closed.

    Raises:
        RejectedInputError: `wrong_step`, the month before isn't closed though an earlier one is known, or a later
            month is closed.
    """
    others = sorted((other for other in known if other.period != period), key=lambda other: other.period)
    if later := [other.period for other in others if other.period > period and other.state == CLOSED]:
        raise RejectedInputError(
            f"{later[0]} is closed; {period} is before it and can't be settled any more.",
            reason="wrong_step",
            value=period,
            hint="A later month began without its balances. What is owed for it needs an agreement of its own.",
        )
    earlier = [other for other in others if other.period < period]
    if not earlier:
        return None
    needed = add_months(period, -1)
    before = next((other for other in earlier if other.period == needed), Period(needed))
    if before.state != CLOSED:
        raise RejectedInputError(
            f"{needed} is {before.state}; {period} begins with its balances, and {earlier[0].period} is in the books.",
            reason="wrong_step",
            value=before.state,
            hint=f"Settle month by month: run, approve and close {needed} first.",
        )
    return before


def restate(
    closed: Settlement,
    earlier: Iterable[Adjustment],
    recomputed: Settlement,
    into: str,
    reason: str,
) -> list[Adjustment]:
    """What to book in the open month `into` so that `closed` and all adjustments sum to `recomputed`, line by line.

    `earlier` are the adjustments booked before for the same period; others are left aside.

    Raises:
        RejectedInputError: the settlements are of different periods, or `into` isn't later.
    """
    if closed.period != recomputed.period or into <= closed.period:
        raise RejectedInputError(
            f"Restatement of {closed.period} into {into}: a period is restated by its own figures, in a later one.",
            reason="wrong_period",
            value=into,
        )
    differences: dict[str, int] = defaultdict(int)
    about: dict[str, Adjustment] = {}

    def note(line: Line) -> None:
        about[line.line_id] = Adjustment(
            into, line.line_id, line.key, line.agreement_id, line.payee_id, line.account, 0, reason
        )

    for sign, lines in ((-1, closed.lines), (1, recomputed.lines)):
        for line in lines:
            differences[line.line_id] += sign * line.amount_minor
            note(line)
    for row in earlier:
        if row.key.period == closed.period:
            differences[row.corrects] -= row.amount_minor
            about.setdefault(row.corrects, replace(row, period=into, reason=reason))
    return sorted(replace(about[line_id], amount_minor=amount) for line_id, amount in differences.items() if amount)


@dataclass(frozen=True)
class ClosedMonth:
    """A closed month, and the contracts and rates that its accounts should have been worked out by.

    `settlement`, `opening` and `adjustments` are as it was closed, `earned` are the sums of its lines, `was` the
    contracts it was closed with. `book` and `rates` are the corrected ones, or the same where nothing is corrected.
    Rights are needed of neither book.
    """

    settlement: Settlement
    opening: tuple[Balance, ...]
    adjustments: tuple[Adjustment, ...]
    earned: Sums
    was: Book
    book: Book
    rates: tuple[ExchangeRate, ...]


def restate_accounts(
    months: Sequence[ClosedMonth], earlier: Iterable[AccountAdjustment], into: str, reason: str
) -> list[AccountAdjustment]:
    """What to book in the open month `into` so that the accounts of closed `months` come to what they should have.

    `months` are in order, without gaps; the first is the earliest whose contracts or rates were ever corrected, the
    last is the month before `into`. The lines of each, as closed, and the adjustments that were booked in it are
    accounted for again, each month with the recomputed balances of the one before. Whatever entry differs then is an
    adjustment; so is what is carried into `into`. `earlier` are all account adjustments that were entered before.

    What lines differ by goes its own way (`restate`). Advances that a month has not taken up are left aside: the next
    settlement takes them up by itself.

    Raises:
        RejectedInputError: `beyond_accounts`, the correction takes away an advance that was taken up, or gives an
            agreement another licensor or currency; `unknown_agreement`, or takes that away; `wrong_step`, `into` does
            not follow the last month; or as `account_for` does.
    """
    last = months[-1].settlement.period
    differences: dict[tuple[str, str, str, str, str, str], int] = defaultdict(int)
    clauses: dict[tuple[str, str, str, str, str, str], str] = {}
    balances: Iterable[Balance] = months[0].opening
    for month in months:
        _check_parties(month)
        period, before = month.settlement.period, balances
        # Of a month that took in account adjustments, `opening` lacks what these corrected.
        streams = {row.agreement_id: -row.streams for row in month.opening if row.streams}
        for row in month.settlement.balances:
            if row.streams:
                streams[row.agreement_id] = streams.get(row.agreement_id, 0) + row.streams
        entries, balances = account_for(
            period, month.earned, _taken_up(month), month.rates, before, month.adjustments, streams
        )
        for sign, book, booked, opened, closes in (
            (-1, month.was, month.settlement.entries, month.opening, month.settlement.balances),
            (1, month.book, entries, before, balances),
        ):
            for entry in [*booked, *advances_paid(period, opened, closes, book)]:
                if entry.kind in _OF_ACCOUNTS_ALONE or corrected(entry):
                    continue
                name = (period, entry.agreement_id, entry.payee_id, entry.kind, entry.refers_to, entry.currency)
                differences[name] += sign * entry.amount_minor
                clauses[name] = entry.clause
    for sign, carried in ((-1, months[-1].settlement.balances), (1, balances)):
        for row in carried:
            for kind, refers_to, amount in _carried(row):
                differences[last, row.agreement_id, row.payee_id, kind, refers_to, row.currency] += sign * amount
    for change in earlier:
        # What an earlier month's opening balances were corrected by is in the balances it was closed with.
        if change.kind not in CARRIED or change.period == into:
            of = (change.of_period, change.agreement_id, change.payee_id, change.kind, change.refers_to)
            differences[*of, change.currency] -= change.amount_minor
            clauses.setdefault((*of, change.currency), change.clause)
    _check_advances(months[-1], balances)
    found = sorted(
        AccountAdjustment(into, *name[:5], clauses.get(name, ""), name[5], amount, reason)
        for name, amount in differences.items()
        if amount
    )
    if found and add_months(last, 1) != into:
        raise RejectedInputError(
            f"Accounts can't be corrected in {into} before {add_months(last, 1)} is closed: it may still change.",
            reason="wrong_step",
            value=into,
            hint=f"Close or reject {add_months(last, 1)} first.",
        )
    return found


#: Entries that follow from the others, or that account adjustments alone bring about.
_OF_ACCOUNTS_ALONE = ("payable", "overpayment_brought_forward", "overpayment_carried_forward")


def _taken_up(month: ClosedMonth) -> Book:
    """The corrected contracts, without the advances that the month has not taken up."""
    taken = {(row.agreement_id, advance_id) for row in month.settlement.balances for advance_id in row.advances}
    agreements = {
        name: replace(agreement, advances=tuple(a for a in agreement.advances if (name, a.advance_id) in taken))
        for name, agreement in month.book.agreements.items()
    }
    return replace(month.book, agreements=agreements)


def _carried(row: Balance) -> Iterable[tuple[str, str, int]]:
    """What is carried, as kind, reference and amount."""
    amounts = ((UNRECOUPED, row.unrecouped_minor), (DEFICIT, row.deficit_minor), (EARNED, row.earned_minor))
    yield from ((kind, "", amount) for kind, amount in amounts)
    yield from ((RESERVE, f"{held.held_in}/{held.release_in}", held.amount_minor) for held in row.reserves)


def _check_parties(month: ClosedMonth) -> None:
    period, settled = month.settlement.period, {agreement_id for agreement_id, *_ in month.earned}
    settled |= {entry.agreement_id for entry in month.settlement.entries}
    settled |= {balance.agreement_id for balance in month.settlement.balances}
    for agreement_id in sorted(settled):
        was, now = month.was.agreements.get(agreement_id), month.book.agreements.get(agreement_id)
        if now is None:
            raise _beyond_accounts(
                period, f"agreement {agreement_id} is gone", "end it by its clauses instead", "unknown_agreement"
            )
        for what in ("licensor", "currency"):
            if was and getattr(was, what) != getattr(now, what):
                raise _beyond_accounts(
                    period,
                    f"the {what} of agreement {agreement_id} was {getattr(was, what)}, not {getattr(now, what)}",
                    "make it an agreement of its own",
                )


def _check_advances(last: ClosedMonth, balances: Iterable[Balance]) -> None:
    was, now = (
        {(row.agreement_id, row.payee_id, advance_id) for row in rows for advance_id in row.advances}
        for rows in (last.settlement.balances, balances)
    )
    if gone := sorted(was ^ now):
        agreement_id, payee_id, advance_id = gone[0]
        raise _beyond_accounts(
            last.settlement.period,
            f"advance {advance_id} of {agreement_id}/{payee_id} was "
            + ("taken up, and would not be" if gone[0] in was else "not taken up there, and would be"),
            "correct its amount instead, to 0 if it was never paid",
        )


def _beyond_accounts(period: str, what: str, instead: str, reason: str = "beyond_accounts") -> RejectedInputError:
    return RejectedInputError(
        f"Restatement of the accounts of {period}: {what}; no adjustment carries that ({reason}).",
        reason=reason,
        value=period,
        hint=f"Leave it as it was closed and {instead}.",
    )
