"""From a booking on a payee's account to what it follows from; a correction leads to the plays behind both its sides,
one of an account to the closed booking and the contracts and rates of both.

A line of a settlement is followed by `royalties.trace`. Plays are read as they were when each side was calculated:
those snapshots are tagged and do not expire.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lakehouse.adapters import royalties, trino
from lakehouse.adapters.royalties import Inputs, Settled
from lakehouse.adapters.royalties_ledger import AccountCorrection, Correction, Ledger
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties.contracts import Accounting, Book
from lakehouse.domain.royalties.origins import Origin, origin
from lakehouse.domain.royalties.pools import PoolKey, add_months, rate
from lakehouse.domain.royalties.settlement import (
    CARRIED,
    RESERVE,
    SUSPENSE,
    Entry,
    Line,
    PoolResult,
    advances_paid,
    corrected,
)
from lakehouse.domain.royalties.statement import KINDS
from lakehouse.errors import FatalError


@dataclass(frozen=True)
class Side:
    """A settlement of the corrected month: the line in it, if it has one, and the pool."""

    digest: str
    line: Line | None
    pool: PoolResult | None


@dataclass(frozen=True)
class Corrected:
    """A correction and both of its sides: what was closed, and what was calculated anew.

    `correction.amount_minor` is the line's amount after, less that before, less `earlier_minor`: what earlier
    restatements of the month had booked already. `plays_added` and `plays_removed` are the first of the track's plays
    in the pool that only one side has; without any, the line moved with others of its pool, or its contract changed.
    """

    correction: Correction
    earlier_minor: int
    before: Side
    after: Side
    plays_added: list[dict[str, Any]]
    plays_added_in_all: int
    plays_removed: list[dict[str, Any]]
    plays_removed_in_all: int


@dataclass(frozen=True)
class AccountSide:
    """A settlement of the month whose account is corrected, and what it is accounted by: clause and exchange rate.

    Of what no clause says there is none, and no rate of what was not converted from another currency.
    """

    digest: str
    amount_minor: int
    clause: str
    rules: Accounting | None
    exchange_rate: Fraction | None


@dataclass(frozen=True)
class AccountCorrected:
    """A correction of an account and both of its sides: what was closed, and what it should have come to.

    `correction.amount_minor` is the amount after, less that before, less `earlier_minor`: what had been corrected
    already.
    """

    correction: AccountCorrection
    earlier_minor: int
    before: AccountSide
    after: AccountSide


@dataclass(frozen=True)
class EntryTrace:
    """Where an entry comes from, and the corrections that it books: of lines, or of an account."""

    origin: Origin
    corrections: tuple[Corrected, ...]
    of_accounts: tuple[AccountCorrected, ...] = ()


def entries_of(settled: Settled, payee_id: str) -> list[Entry]:
    """The bookings of a payee in the order of the statement; one is named by its place, from 1."""
    order = list(KINDS)
    found = [entry for entry in settled.settlement.entries if entry.payee_id == payee_id]
    return sorted(found, key=lambda entry: (entry.agreement_id, entry.currency, order.index(entry.kind), entry))


def trace_entry(settings: Settings, settled: Settled, entry: Entry, *, limit: int) -> EntryTrace:
    """Follow a booking to clause and balances, and a correction on to its line and up to `limit` plays a side.

    Raises:
        FatalError: the book has no such agreement.
    """
    agreement = royalties.book_of(settings, settled).agreements.get(entry.agreement_id)
    if agreement is None:
        raise FatalError(
            f"There is no agreement {entry.agreement_id} in the book of {entry.period}.", hint="Report it."
        )
    inputs = settled.inputs
    found = origin(entry, settled.settlement, inputs.opening, agreement, inputs.account_adjustments)
    if corrected(entry):
        with Ledger(settings) as ledger:
            entered = ledger.account_corrections()
        of_accounts = [row for row in entered if royalties.account_adjustment(row) in inputs.account_adjustments]
        return EntryTrace(
            found,
            (),
            tuple(
                _account_corrected(settings, row, entered)
                for row in of_accounts
                if (royalties.account_adjustment(row).name, row.agreement_id, row.payee_id)
                == (entry.refers_to, entry.agreement_id, entry.payee_id)
                and (row.into_period, row.amount_minor) == (entry.period, entry.amount_minor)
            ),
        )
    with Ledger(settings) as ledger:
        into = [
            row
            for row in ledger.corrections(into=entry.period)
            if (row.corrects, row.agreement_id, row.payee_id) == (entry.refers_to, entry.agreement_id, entry.payee_id)
        ]
        of_line = [
            row
            for period in sorted({row.from_period for row in into})
            for row in ledger.corrections(of=period)
            if row.corrects == entry.refers_to
        ]
    return EntryTrace(found, tuple(_corrected(settings, row, of_line, limit) for row in into))


def _corrected(settings: Settings, row: Correction, of_line: list[Correction], limit: int) -> Corrected:
    key = PoolKey(row.from_period, row.country, row.tier, row.currency)
    kept = [royalties.kept(settings, row.from_period, digest) for digest in (row.from_digest, row.to_digest)]
    before, after = (_side(settings, of, key, row) for of in kept)
    line = before.line or after.line
    # Neither side has a line that a restatement had added and a later one took back.
    track_id = line.track_id if line else row.corrects.rsplit("/", 3)[1]
    was, now = (of.inputs for of in kept)
    added, added_in_all = _plays_without(settings, now, was, key, track_id, limit)
    removed, removed_in_all = _plays_without(settings, was, now, key, track_id, limit)
    earlier = sum(other.amount_minor for other in of_line if other.round < row.round)
    return Corrected(row, earlier, before, after, added, added_in_all, removed, removed_in_all)


def _account_corrected(
    settings: Settings, row: AccountCorrection, entered: list[AccountCorrection]
) -> AccountCorrected:
    def what(of: AccountCorrection) -> tuple[str, ...]:
        return (of.of_period, of.agreement_id, of.payee_id, of.kind, of.refers_to)

    earlier = sum(
        of.amount_minor
        for of in entered
        if what(of) == what(row)
        and of.sequence < row.sequence
        # What opening balances of earlier months were corrected by is in the balances they were closed with.
        and (row.kind not in CARRIED or of.into_period == row.into_period)
    )
    closed, by = royalties.kept(settings, row.of_period), royalties.kept(settings, row.of_period, row.by_digest)
    amount, clause = _as_closed(closed, row, royalties.book_of(settings, closed))
    sides = (
        AccountSide(
            of.state.digest or "",
            minor,
            named,
            _rules(royalties.book_of(settings, of), row.agreement_id, named),
            _exchange_rate(of.inputs, row),
        )
        for of, minor, named in (
            (closed, amount, clause),
            (by, amount + earlier + row.amount_minor, row.clause),
        )
    )
    return AccountCorrected(row, earlier, *sides)


def _as_closed(closed: Settled, row: AccountCorrection, book: Book) -> tuple[int, str]:
    """Amount and clause of what is corrected, in the settlement that was closed; 0 of what it lacks."""
    account = (row.agreement_id, row.payee_id)
    settlement = closed.settlement
    if row.kind in CARRIED:
        balance = next((of for of in settlement.balances if (of.agreement_id, of.payee_id) == account), None)
        if balance is None:
            return 0, ""
        if row.kind == RESERVE:
            held = (of for of in balance.reserves if f"{of.held_in}/{of.release_in}" == row.refers_to)
            return sum(of.amount_minor for of in held), ""
        return int(getattr(balance, f"{row.kind}_minor")), ""
    paid = advances_paid(row.of_period, closed.inputs.opening, settlement.balances, book)
    booked = [
        of
        for of in (*settlement.entries, *paid)
        if (of.agreement_id, of.payee_id, of.kind, of.refers_to) == (*account, row.kind, row.refers_to)
    ]
    return sum(of.amount_minor for of in booked), next((of.clause for of in booked), "")


def _rules(book: Book, agreement_id: str, clause: str) -> Accounting | None:
    agreement = book.agreements.get(agreement_id)
    rows = agreement.accounting if agreement else ()
    return next((of for of in rows if f"{agreement_id}/{of.clause_id}@{of.version}" == clause), None)


def _exchange_rate(inputs: Inputs, row: AccountCorrection) -> Fraction | None:
    """The rate that royalties of another currency were converted at: they refer to their month and currency."""
    month, _, base = row.refers_to.partition("/")
    is_of_month = row.kind in ("royalty", SUSPENSE) and month == row.of_period and "/" not in base
    if not is_of_month or base == row.currency:
        return None
    return rate(inputs.rates, month, base, row.currency)


def _side(settings: Settings, of: Settled, key: PoolKey, row: Correction) -> Side:
    lines = royalties.lines(settings, of, key=key, payee=row.payee_id)
    return Side(
        of.state.digest or "",
        next((line for line in lines if line.line_id == row.corrects), None),
        next((pool for pool in of.settlement.pools if pool.key == key), None),
    )


def _plays_without(
    settings: Settings, these: Inputs, others: Inputs, key: PoolKey, track_id: str, limit: int
) -> tuple[list[dict[str, Any]], int]:
    """The first plays of a track in a pool that `these` were calculated from and `others` not, and their number."""
    first, after = f"{key.period}-01", f"{add_months(key.period, 1)}-01"
    where = (
        "where played_on >= cast(? as date) and played_on < cast(? as date) "
        "and country = ? and tier = ? and track_id = ?"
    )
    values: list[object] = [first, after, key.country, key.tier, int(track_id)]
    found = trino.query(
        settings,
        "select event_id, played_at, user_id, ms_played, context, count(*) over () as in_all "  # noqa: S608
        f"from ({royalties.royalty_plays(these)}) {where} "
        f"and event_id not in (select event_id from ({royalties.royalty_plays(others)}) {where}) "
        f"order by played_at, event_id limit {limit:d}",
        [*values, *values],
    ).dicts()
    in_all = int(found[0]["in_all"]) if found else 0
    return [{name: value for name, value in play.items() if name != "in_all"} for play in found], in_all
