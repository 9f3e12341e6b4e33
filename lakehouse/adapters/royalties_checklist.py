"""An auditor's checklist over a settled month: each item counts what breaks it, from the lake's plays to the ledger.

The questions that the lake can answer are the SQL files in `checklist/`, for anybody who signs in to Trino as the
auditor (`wavehouse royalties checklist --sql` prints them for a month). They count plays again in `silver_audit.plays`,
less what `play_flags` had against them, both as they were when the month was calculated, by none of the models that the
settlement was made from. Two more need the program: whether the whole comes out the same again, byte for byte, and
whether the books hold what was approved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from lakehouse.adapters import royalties, trino
from lakehouse.adapters.royalties import Settled
from lakehouse.adapters.royalties_ledger import Ledger
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties.periods import CLOSED
from lakehouse.domain.royalties.pools import add_months

QUERIES = Path(__file__).with_name("checklist")


@dataclass(frozen=True)
class Item:
    """A question of the auditor; `looked_at` things were looked at, `wrong` of them break the rule."""

    question: str
    looked_at: int
    wrong: int


def queries(settled: Settled) -> Iterator[tuple[str, str]]:
    """The questions, and the SQL that answers each with one row (looked_at, wrong), for a settlement."""
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
    for path in sorted(QUERIES.glob("*.sql")):
        text = path.read_text()
        yield text.partition("\n")[0].removeprefix("-- ").removesuffix("."), text.format(**values)


def _clauses(calculation: str) -> str:
    """SQL of the clauses in force in a calculation, of which several questions are."""
    return (QUERIES / "parts" / "clauses.sql").read_text().format(calculation=calculation)


def checklist(settings: Settings, period: str) -> list[Item]:
    """Ask every question about `period`.

    Raises:
        FatalError: it was not calculated.
    """
    settled = royalties.kept(settings, period)
    items = []
    for question, sql in queries(settled):
        looked_at, wrong = trino.query(settings, sql, user="auditor").rows[0]
        items.append(Item(question, looked_at, wrong))
    kept, again = royalties.recompute(settings, period)
    items.append(Item("Computed again from what is kept: the same bytes", 1, int(kept != again)))
    if settled.state.state == CLOSED:
        with Ledger(settings) as ledger:
            booked = ledger.entries(period)
        expected = royalties.postings(settled.settlement, settled.inputs.opening, royalties.book_of(settings, settled))
        different = [
            (row["account"], row["payee_id"], row["kind"], row["currency"], row["amount_minor"]) for row in booked
        ] != [(row.account, row.payee_id, row.kind, row.currency, row.amount_minor) for row in expected]
        items.append(Item("Ledger: booked is what was approved", len(booked), int(different)))
    return items
