"""The life of a month, open -> calculated -> approved -> closed, and how a closed one is corrected: in a later one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lakehouse.domain.royalties.contracts import Book
from lakehouse.domain.royalties.pools import ExchangeRate, add_months
from lakehouse.domain.royalties.settlement import Adjustment, Balance, Entry, Line, Settlement, account_for
from lakehouse.errors import RejectedInputError

OPEN, CALCULATED, APPROVED, CLOSED = "open", "calculated", "approved", "closed"
STATES = (OPEN, CALCULATED, APPROVED, CLOSED)
#: How many differences a refusal names.
SHOWN = 5


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


def check_accounts(
    closed: Settlement,
    lines: Iterable[Line],
    book: Book,
    rates: Iterable[ExchangeRate],
    opening: Iterable[Balance],
    adjustments: Iterable[Adjustment],
    into: str,
) -> None:
    """Refuse to restate `closed` under a corrected `book` or `rates` that say other than its accounts do.

    Adjustments carry what lines differ by, and nothing else: a corrected reserve, tax, guarantee, advance or exchange
    rate of a closed month would be taken for booked, and never be. So the lines as they were closed are accounted for
    again (`opening` and `adjustments` are those of the closed month) and must give the same entries and balances.
    Advances that `closed` has not taken up are left aside: the next settlement takes them up by itself.

    Raises:
        RejectedInputError: `beyond_lines`, naming what differs, or as `account_for` does.
    """
    taken = {(row.agreement_id, advance_id) for row in closed.balances for advance_id in row.advances}
    agreements = {
        name: replace(row, advances=tuple(a for a in row.advances if (name, a.advance_id) in taken))
        if row.advances
        else row
        for name, row in book.agreements.items()
    }
    entries, balances = account_for(
        closed.period, lines, replace(book, agreements=agreements), rates, opening, adjustments
    )
    was, now = _accounted(closed.entries, closed.balances), _accounted(entries, balances)
    found = [
        f"{what}: {was.get(what, 0)}, not {now.get(what, 0)}"
        for what in sorted({*was, *now})
        if was.get(what, 0) != now.get(what, 0)
    ]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise RejectedInputError(
            f"Restatement of {closed.period}: {'; '.join(found[:SHOWN])}{more}. Lines are restated, accounts are not.",
            reason="beyond_lines",
            value=closed.period,
            hint=f"Leave accounting, advances and rates of {closed.period} as they were closed; "
            f"a corrected clause takes effect from {into} on.",
        )


def _accounted(entries: Iterable[Entry], balances: Iterable[Balance]) -> dict[str, int]:
    """What accounts say, by its name; nothing of what is zero, of clause versions and of streams."""
    found: dict[str, int] = defaultdict(int)
    for entry in entries:
        if entry.amount_minor:
            name = (
                f"{entry.agreement_id}/{entry.payee_id} {entry.kind} {entry.refers_to}".rstrip()
                + f" ({entry.currency})"
            )
            found[name] += entry.amount_minor
    for row in balances:
        name = f"{row.agreement_id}/{row.payee_id} carries"
        amounts = {"unrecouped": row.unrecouped_minor, "deficit": row.deficit_minor, "earned": row.earned_minor}
        found |= {f"{name} {what} ({row.currency})": amount for what, amount in amounts.items() if amount}
        found |= {
            f"{name} reserve of {reserve.held_in} until {reserve.release_in} ({row.currency})": reserve.amount_minor
            for reserve in row.reserves
        }
    return found
