"""An auditor's checklist over a kept settlement: each item counts what breaks it, from the lake's plays to the ledger.

Plays are counted again from `silver_audit.plays` and what `play_flags` had against them when the period was calculated,
by none of the models that the settlement was made from.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction

from lakehouse.adapters import policies, royalties, trino
from lakehouse.adapters.royalties_ledger import Ledger
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties.periods import CLOSED
from lakehouse.domain.royalties.pools import add_months

#: For any analyst, with the period's first day and the next one's: what each pool was played.
UNITS = """
select plays.country, plays.tier, count(*) as streams, count(distinct plays.event_id) as different,
    count(*) filter (where tracks.track_id is null) as unknown_track
from ({paid}) as plays
left join lake.silver_audit.tracks for version as of {tracks} as tracks on plays.track_id = tracks.track_id
where plays.played_on >= cast(? as date) and plays.played_on < cast(? as date)
group by plays.country, plays.tier
"""
#: A play is of one month: the same event on two dates would be paid in two.
TWICE = """
select count(*) from (
    select event_id from ({paid})
    where played_on >= cast(? as date) and played_on < cast(? as date)
    group by event_id having count(*) > 1
)
"""


@dataclass(frozen=True)
class Item:
    """A question of the auditor; `looked_at` things were looked at, `wrong` of them break the rule."""

    question: str
    looked_at: int
    wrong: int


def checklist(settings: Settings, period: str) -> list[Item]:
    """Ask every question about `period`.

    Raises:
        FatalError: it was not calculated, or the state of the lake that it was calculated from has expired.
    """
    settled = royalties.kept(settings, period)
    inputs, settlement = settled.inputs, settled.settlement
    tables = {name.split(".")[1]: snapshot for name, snapshot in inputs.snapshots.items()}
    month = [f"{period}-01", f"{add_months(period, 1)}-01"]
    plays, flags = (f"lake.silver_audit.{name} for version as of {tables[name]}" for name in ("plays", "play_flags"))
    paid_plays = policies.royalty_plays_sql(plays, flags)
    units = trino.query(settings, UNITS.format(paid=paid_plays, **tables), month).rows
    around = [f"{add_months(period, -1)}-01", f"{add_months(period, 2)}-01"]
    twice = trino.query(settings, TWICE.format(paid=paid_plays), around).rows[0][0]

    pools = {(pool.key.country, pool.key.tier): pool for pool in settlement.pools}
    by_pool: dict[object, int] = defaultdict(int)
    paid: Counter[tuple[object, ...]] = Counter()
    for line in settlement.lines:
        by_pool[line.key] += line.amount_minor
        paid[line.line_id,] += 1
    book = inputs.book()
    off_clause, with_clause = 0, 0
    for line in settlement.lines:
        terms = book.agreements[line.agreement_id].terms_for(line.key)
        net = pools[line.key.country, line.key.tier].net_minor
        if line.rule == "share" and terms is not None and terms.share is not None and not terms.escalations:
            with_clause += 1
            off_clause += line.exact_minor != net * terms.share * line.weight
    sums: dict[tuple[str, str], int] = defaultdict(int)
    released: set[tuple[str, str, str]] = set()
    for entry in settlement.entries:
        account = entry.agreement_id, entry.payee_id
        if entry.kind == "reserve_released":
            released.add((*account, entry.refers_to))
        if entry.kind != "suspense":
            sums[account] += -entry.amount_minor if entry.kind == "payable" else entry.amount_minor
    due = {
        (row.agreement_id, row.payee_id, reserve.held_in)
        for row in inputs.opening
        for reserve in row.reserves
        if reserve.release_in <= period and reserve.amount_minor
    }
    far = sum(abs(line.exact_minor - line.amount_minor) >= Fraction(1) for line in settlement.lines)
    items = [
        Item(
            "Units played = units settled, or of a track the catalogue doesn't know",
            len(units),
            sum(
                row[2] - row[4] != (pools[row[0], row[1]].streams if (row[0], row[1]) in pools else 0) for row in units
            ),
        ),
        Item("No play twice, in this month or in this and another", sum(row[2] for row in units), twice),
        Item("Every territory that was played is settled", len(units), sum((r[0], r[1]) not in pools for r in units)),
        Item("No line twice", len(settlement.lines), sum(number > 1 for number in paid.values())),
        Item(
            "Pool: net = lines + retained",
            len(pools),
            sum(
                pool.net_minor != by_pool[pool.key] + pool.retained_minor or by_pool[pool.key] != pool.claimed_minor
                for pool in settlement.pools
            ),
        ),
        Item("Share lines = net x share of the clause x weight", with_clause, off_clause),
        Item("Rounding: no line a whole unit away from its exact amount", len(settlement.lines), far),
        Item("Reserves that are due are released", len(due), len(due - released)),
        Item("Account: entries sum to payable", len(sums), sum(map(bool, sums.values()))),
        Item(
            "Computed again from its inputs, escalations included: the same bytes",
            1,
            int(inputs.settle(book).digest() != settled.state.digest),
        ),
    ]
    if settled.state.state == CLOSED:
        with Ledger(settings) as ledger:
            booked = ledger.entries(period)
        expected = royalties.postings(settlement, book)
        different = [
            (row["account"], row["payee_id"], row["kind"], row["currency"], row["amount_minor"]) for row in booked
        ] != [(row.account, row.payee_id, row.kind, row.currency, row.amount_minor) for row in expected]
        items.append(Item("Ledger: booked is what was approved", len(booked), int(different)))
    return items
