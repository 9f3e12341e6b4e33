"""An auditor's checklist over a settled month: each item counts what breaks it, from the lake's plays to the ledger.

The questions that the lake can answer are the SQL files in `checklist/`, for anybody who signs in to Trino as the
auditor (`wavehouse royalties checklist --sql` prints them for a month). They count plays again in `silver_audit.plays`,
less what `play_flags` had against them, both as they were when the month was calculated, by none of the models that the
settlement was made from. Two more need the program: whether the whole comes out the same again, byte for byte, and
whether the books hold what was approved.

A question that has to hold a month's plays or lines in memory is asked in portions, of markets or of event ids, that
fit into the memory of a query; the answers add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from lakehouse.adapters import royalties, royalties_lake, trino
from lakehouse.adapters.royalties import Settled
from lakehouse.adapters.royalties_lake import Say
from lakehouse.adapters.royalties_ledger import Ledger
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties.periods import CLOSED
from lakehouse.domain.royalties.pools import add_months

QUERIES = Path(__file__).with_name("checklist")
#: Streams whose ids or lines a query can group in its memory, and how many ids are looked at to cut a month by.
_STREAMS_AT_ONCE, _SAMPLE = 4_000_000, 10_000


@dataclass(frozen=True)
class Item:
    """A question of the auditor; `looked_at` things were looked at, `wrong` of them break the rule."""

    question: str
    looked_at: int
    wrong: int


def queries(settled: Settled, event_ids: Sequence[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """The questions about a settlement, each with the SQL of its portions: one row (looked_at, wrong) each, to add up.

    `event_ids` are where to cut plays, in order.
    """
    period, of = settled.inputs.period, settled.inputs.calculation
    values = {
        "period": period,
        "before": add_months(period, -1),
        "first": f"{period}-01",
        "after": f"{add_months(period, 1)}-01",
        "calculation": of.calculation,
        "royalty_plays": royalties.royalty_plays(settled.inputs),
        "tracks_snapshot": of.tracks_snapshot,
        "clauses": indent(_clauses(of.calculation), "    ").strip(),
    }
    countries = sorted({pool.key.country for pool in settled.settlement.pools})
    is_large = sum(pool.streams for pool in settled.settlement.pools) > _STREAMS_AT_ONCE
    portions = {
        "markets": _conditions("country", countries[:-1] if is_large else []),
        "event_ids": _conditions("event_id", event_ids),
    }
    for path in sorted(QUERIES.glob("*.sql")):
        text = path.read_text()
        question = text.partition("\n")[0].removeprefix("-- ").removesuffix(".")
        cut_by = next((name for name in portions if f"{{{name}}}" in text), None)
        conditions = [{cut_by: portion} for portion in portions[cut_by]] if cut_by else [{}]
        yield question, [text.format(**values, **condition) for condition in conditions]


def cuts(settings: Settings, settled: Settled) -> list[str]:
    """Event ids that cut the plays of the month and its neighbours into portions, from a sample; none when few."""
    period = settled.inputs.period
    plays = f"lake.silver_audit.plays for version as of {settled.inputs.snapshots['silver_audit.plays']:d} as plays"
    around = "where played_on >= cast(? as date) and played_on < cast(? as date)"
    days = [f"{add_months(period, -1)}-01", f"{add_months(period, 2)}-01"]
    count = f"select count(*) from {plays} {around}"  # noqa: S608 - a number
    number = trino.query(settings, count, days, user="auditor").rows[0][0]
    portions = 1 + number // _STREAMS_AT_ONCE
    if portions == 1:
        return []
    percent = min(100.0, 100 * _SAMPLE / number)
    sample = f"select event_id from {plays} tablesample bernoulli ({percent}) {around}"  # noqa: S608 - numbers
    rows = trino.query(settings, sample, days, user="auditor").rows
    return royalties_lake.cut(sorted(event_id for (event_id,) in rows), portions)


def _conditions(column: str, cuts: Sequence[str]) -> list[str]:
    """Conditions that cut rows at `cuts` of a column. Values stand in the text: people run it as it is printed.

    Files that have none of a range are skipped: ids mostly follow time, and lines lie country by country.
    """
    return [
        condition.replace("?", "{}").format(*("'" + str(value).replace("'", "''") + "'" for value in values))
        for condition, values in royalties_lake.ranges(column, cuts)
    ]


def _clauses(calculation: str) -> str:
    """SQL of the clauses in force in a calculation, of which several questions are."""
    return (QUERIES / "parts" / "clauses.sql").read_text().format(calculation=calculation)


def checklist(settings: Settings, period: str, *, say: Say = lambda _: None) -> list[Item]:
    """Ask every question about `period`; `say` hears how far it is.

    Raises:
        FatalError: it was not calculated.
    """
    settled = royalties.kept(settings, period)
    items = []

    def answered(question: str, looked_at: int, wrong: int) -> None:
        items.append(Item(question, looked_at, wrong))
        say(f"{period}: {len(items)} questions are answered")

    for question, portions in queries(settled, cuts(settings, settled)):
        looked_at = wrong = 0
        for number, sql in enumerate(portions, start=1):
            more, more_wrong = trino.query(settings, sql, user="auditor").rows[0]
            looked_at, wrong = looked_at + more, wrong + more_wrong
            if len(portions) > 1:
                say(f"{period}: portion {number} of {len(portions)} is looked at")
        answered(question, looked_at, wrong)
    kept, again = royalties.recompute(settings, period, say=say)
    answered("Computed again from what is kept: the same bytes", 1, int(kept != again))
    if settled.state.state == CLOSED:
        with Ledger(settings) as ledger:
            booked = ledger.entries(period)
        expected = royalties.postings(settled.settlement, settled.inputs.opening, royalties.book_of(settings, settled))
        different = [
            (row["account"], row["payee_id"], row["kind"], row["currency"], row["amount_minor"]) for row in booked
        ] != [(row.account, row.payee_id, row.kind, row.currency, row.amount_minor) for row in expected]
        answered("Ledger: booked is what was approved", len(booked), int(different))
    return items
