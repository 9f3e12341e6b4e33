"""From a booking on a payee's account to what it follows from; a correction leads to the plays behind both its sides.

A line of a settlement is followed by `royalties.trace`. Plays are read as they were when each side was calculated:
those snapshots are tagged and do not expire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lakehouse.adapters import royalties, trino
from lakehouse.adapters.royalties import Inputs, Settled
from lakehouse.adapters.royalties_ledger import Correction, Ledger
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties.origins import Origin, origin
from lakehouse.domain.royalties.pools import PoolKey, add_months
from lakehouse.domain.royalties.settlement import Entry, Line, PoolResult
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
class EntryTrace:
    """Where an entry comes from, and the corrections that it books."""

    origin: Origin
    corrections: tuple[Corrected, ...]


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
    found = origin(entry, settled.settlement, settled.inputs.opening, agreement)
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
