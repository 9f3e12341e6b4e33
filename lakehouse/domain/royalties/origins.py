"""Where a booking on an account comes from: the clause behind it, the balances it moves and the sums it follows from.

Nothing is settled again here. What is told is read from the settlement, its opening balances and the agreement, in the
order of `settlement._Account`, and `amount_minor` of an entry follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lakehouse.domain.royalties.contracts import Accounting, Agreement
from lakehouse.domain.royalties.pools import add_months
from lakehouse.domain.royalties.settlement import (
    ACCOUNT_ADJUSTMENT,
    CARRIED,
    OUTSIDE,
    AccountAdjustment,
    Balance,
    Entry,
    Settlement,
    corrected,
    corrected_balances,
)

#: What an account earns in a month, and what stands before the recoupment of advances.
INCOME = ("royalty", "adjustment")
BEFORE_RECOUPMENT = ("brought_forward", *INCOME, "true_up", "reserve_held", "reserve_released")


@dataclass(frozen=True)
class Origin:
    """An entry, the accounting clause it is booked by (None: no clause says so), and the account before and after.

    `basis` are the sums that it follows from, in minor units of the account's currency; `rule` says how.
    """

    entry: Entry
    clause: str
    rules: Accounting | None
    opening: Balance | None
    closing: Balance | None
    basis: dict[str, int]
    rule: str


def origin(
    entry: Entry,
    settlement: Settlement,
    opening: Iterable[Balance],
    agreement: Agreement,
    account_adjustments: Iterable[AccountAdjustment] = (),
) -> Origin:
    """Where `entry` of `settlement`, which began with the balances `opening`, comes from under its `agreement`.

    `account_adjustments` are those that the settlement was made with; they correct `opening`.
    """
    opening = corrected_balances(settlement.period, opening, account_adjustments)
    of_agreement = [row for row in settlement.entries if row.agreement_id == entry.agreement_id]
    account = [row for row in of_agreement if row.payee_id == entry.payee_id]
    before, after = (
        next((row for row in rows if (row.agreement_id, row.payee_id) == (entry.agreement_id, entry.payee_id)), None)
        for rows in (opening, settlement.balances)
    )
    clause, rules = _clause(entry, agreement)

    def total(*kinds: str) -> int:
        return sum(row.amount_minor for row in account if row.kind in kinds)

    if corrected(entry) or entry.kind.startswith("overpayment"):
        overpaid = before.overpaid_minor if before else 0
        return Origin(entry, clause, rules, before, after, *_of_corrections(entry, overpaid, total(*_IN_SUM)))
    basis: dict[str, int] = {}
    rule = ""
    if entry.kind == "royalty" or (entry.kind == "suspense" and entry.refers_to.startswith(f"{settlement.period}/")):
        rule = f"the lines of {entry.refers_to}, converted at the last rate of the month, half to even"
    elif entry.kind in ("adjustment", "suspense"):
        rule = f"corrections of {entry.refers_to}, converted at the last rate of its month, half to even"
    elif entry.kind == "brought_forward":
        basis = {"deficit of the month before": before.deficit_minor if before else 0}
        rule = "less the deficit of the month before"
    elif entry.kind == "true_up" and rules:
        basis = {
            "guarantee": rules.guarantee_minor,
            "earned before in the window": before.earned_minor if before else 0,
            "earned by the agreement this month": sum(
                row.amount_minor for row in of_agreement if row.kind in (*INCOME, "suspense")
            ),
        }
        rule = f"what the agreement earned less than its guarantee of {rules.guarantee_months} months"
    elif entry.kind == "reserve_held" and rules:
        basis = {"royalties and corrections": total(*INCOME)}
        due = add_months(settlement.period, rules.release_after_months)
        rule = f"less {rules.reserve} of them, whole units, due in {due}"
    elif entry.kind == "reserve_released":
        held = next((row for row in (before.reserves if before else ()) if row.held_in == entry.refers_to), None)
        basis = {"reserve carried": held.amount_minor if held else 0}
        rule = f"held in {entry.refers_to}" + (f", due in {held.release_in}" if held else "")
    elif entry.kind == "recoupment":
        carried = before.unrecouped_minor if before else 0
        taken_up = set(after.advances if after else ()) - set(before.advances if before else ())
        basis = {
            "advances not recouped": carried,
            **{
                f"advance {advance.advance_id} of {advance.period}": advance.amount_minor
                for advance in agreement.advances
                if advance.advance_id in taken_up
            },
        }
        basis["there to recoup from"] = total(*BEFORE_RECOUPMENT)
        rule = "less advances, as far as there is something to recoup them from"
    elif entry.kind == "withholding_tax" and rules:
        basis = {"after recoupment": total(*BEFORE_RECOUPMENT, "recoupment")}
        rule = f"less {rules.withholding} of it, whole units"
    elif entry.kind == "carried_forward":
        basis = {"the account": total(*BEFORE_RECOUPMENT, "recoupment", "withholding_tax")}
        rule = "below zero: the next month begins with it"
    elif entry.kind == "payable":
        basis = {"all entries of the account": sum(row.amount_minor for row in account if row.kind not in OUTSIDE)}
        rule = "what the entries of the account sum to"
    return Origin(entry, clause, rules, before, after, basis, rule)


def _of_corrections(entry: Entry, overpaid: int, in_all: int) -> tuple[dict[str, int], str]:
    """Basis and rule of what account adjustments bring about; `in_all` is what the account comes to with them."""
    if entry.kind == "overpayment_brought_forward":
        return {"overpaid in the month before": overpaid}, "less what corrections took beyond what was payable then"
    if entry.kind == "overpayment_carried_forward":
        return {"the account, corrections included": in_all}, "below zero: set off against what is payable next"
    of_period, kind, refers_to = corrected(entry) or ("", "", "")
    what = " ".join(filter(None, (kind, refers_to)))
    if kind in CARRIED:
        return {}, f"{what} carried out of {of_period}: what it should have been less what it was; not part of the sum"
    return {}, f"{what} of {of_period}: what it should have been less what was booked"


#: What an account comes to before an overpayment is carried forward.
_IN_SUM = (
    *BEFORE_RECOUPMENT,
    *("recoupment", "withholding_tax", "carried_forward", ACCOUNT_ADJUSTMENT, "overpayment_brought_forward"),
)


def _clause(entry: Entry, agreement: Agreement) -> tuple[str, Accounting | None]:
    """The accounting clause that an entry is booked by; that of a reserve released is the one it was held by."""
    if entry.kind == "reserve_released":
        rules = agreement.accounting_for(entry.refers_to)
        return (f"{agreement.agreement_id}/{rules.clause_id}@{rules.version}" if rules else ""), rules
    for rules in agreement.accounting:
        if entry.clause == f"{agreement.agreement_id}/{rules.clause_id}@{rules.version}":
            return entry.clause, rules
    return entry.clause, None
