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
from itertools import pairwise
from pathlib import Path
from textwrap import indent

from lakehouse.adapters import royalties, trino
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
    portions = {"markets": list(_markets(settled)), "event_ids": list(_ranges(event_ids)), "whole": [""]}
    for path in sorted(QUERIES.glob("*.sql")):
        text = path.read_text()
        question = text.partition("\n")[0].removeprefix("-- ").removesuffix(".")
        cut_by = next((name for name in portions if f"{{{name}}}" in text), None)
        yield (
            question,
            [text.format(**values, **dict.fromkeys(portions, each)) for each in portions[cut_by or "whole"]],
        )


def cuts(settings: Settings, settled: Settled) -> list[str]:
    """Event ids that cut the month's plays into portions, from a sample of them; none of a month that is small."""
    streams = _streams(settled)
    portions = 1 + streams // _STREAMS_AT_ONCE
    if portions == 1:
        return []
    inputs = settled.inputs
    rows = trino.query(
        settings,
        f"select event_id from lake.silver_audit.plays for version as of {inputs.snapshots['silver_audit.plays']:d} "  # noqa: S608
        f"as plays tablesample bernoulli ({min(100.0, 100 * _SAMPLE / streams)}) "
        "where played_on >= cast(? as date) and played_on < cast(? as date)",
        [f"{inputs.period}-01", f"{add_months(inputs.period, 1)}-01"],
        user="auditor",
    ).rows
    known = sorted(event_id for (event_id,) in rows)
    return sorted({known[len(known) * part // portions] for part in range(1, portions)}) if known else []


def _streams(settled: Settled) -> int:
    return sum(pool.streams for pool in settled.settlement.pools)


def _ranges(event_ids: Sequence[str]) -> Iterator[str]:
    """Conditions that cut plays at `event_ids`, in order. Ids mostly follow time, so that most files are skipped."""
    for low, high in pairwise([None, *event_ids, None]):
        bounds = [f"event_id >= '{_quoted(low)}'"] if low is not None else []
        bounds += [f"event_id < '{_quoted(high)}'"] if high is not None else []
        yield " and ".join(bounds) or "true"


def _markets(settled: Settled) -> Iterator[str]:
    """Conditions that cut lines and pools by country where a month is large."""
    countries = sorted({pool.key.country for pool in settled.settlement.pools})
    if _streams(settled) <= _STREAMS_AT_ONCE:
        yield "true"
    else:
        yield from (f"country = '{_quoted(country)}'" for country in countries)


def _quoted(text: str) -> str:
    return text.replace("'", "''")


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
        answers = [trino.query(settings, sql, user="auditor").rows[0] for sql in portions]
        answered(question, sum(looked_at for looked_at, _ in answers), sum(wrong for _, wrong in answers))
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
