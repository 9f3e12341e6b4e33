"""The life of a month, open -> calculated -> approved -> closed, and how a closed one is corrected: in a later one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lakehouse.domain.royalties.pools import add_months
from lakehouse.domain.royalties.settlement import Adjustment, Line, Settlement
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
