"""What is refused changes nothing: of a month that is calculated already, and of the revenue that was taken before."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lakehouse.adapters import finance_files, lake, royalties, royalties_ledger, trino
from lakehouse.adapters.royalties import Inputs
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties.revenue_file import render
from lakehouse.errors import RejectedInputError
from tests.conftest import wavehouse, wavehouse_json

pytestmark = pytest.mark.stack

PLAYED = "select max(period) from lake.gold.royalty_pools where streams > 0"
#: What readers see of a month: its calculations, and of each what was written.
SEEN = """
select settlements.calculation, settlements.calculation_kind, settlements.settlement_digest,
    (select count(*) from lake.gold.settlement_units as u where u.calculation = settlements.calculation) as units,
    (select count(*) from lake.gold.settlement_lines as l where l.calculation = settlements.calculation) as line_rows,
    (select count(*) from lake.gold.settlement_entries as e where e.calculation = settlements.calculation) as entries
from lake.gold.settlements as settlements where settlements.period = ? order by settlements.calculation
"""


def performance(book: dict[str, Any]) -> dict[str, Any]:
    """The agreement that is there whatever artists the catalogue has."""
    found: dict[str, Any] = next(row for row in book["agreements"] if row["agreement_id"] == "performance")
    return found


def ambiguous(book: dict[str, Any]) -> None:
    """Beside "free everywhere" a clause of all tiers in Germany: which one is it for free in Germany?"""
    terms = performance(book)["terms"]
    terms += [
        terms[0] | {"clause_id": "free", "tiers": ["free"]},
        terms[0] | {"clause_id": "germany", "territory": ["DE"]},
    ]


def negative(book: dict[str, Any]) -> None:
    advance = {"advance_id": "signing", "payee_id": "publisher", "period": "2026-08", "amount_minor": -1}
    performance(book)["advances"] = [advance]


def unknown_payee(book: dict[str, Any]) -> None:
    book["rights"][0]["holders"][0]["payee_id"] = "nobody"


BOOKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "ambiguous_terms": ambiguous,
    "negative_amount": negative,
    "unknown_payee": unknown_payee,
}


def state(settings: Settings, period: str) -> tuple[Any, ...]:
    """All that the ledger and the published tables say of a month."""
    with royalties_ledger.Ledger(settings) as ledger:
        known = ledger.periods(), ledger.steps(period)
    return (*known, royalties.kept(settings, period), trino.query(settings, SEEN, [period]).rows)


def test_a_calculated_month_stays_as_it_was(books: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    period = trino.query(books, PLAYED).rows[0][0]
    settled, _ = royalties.run(books, period, by="run")
    before = state(books, period)
    assert [row[1] for row in before[3]].count("current") == 1
    for reason, spoil in BOOKS.items():
        book = copy.deepcopy(royalties.demo_book(books))  # parts of it are the template
        spoil(book)
        with pytest.raises(RejectedInputError) as refused:
            royalties.run(books, period, by="run", book=book)
        assert refused.value.reason == reason
        assert state(books, period) == before, reason
        path = tmp_path / f"{reason}.json"
        path.write_text(json.dumps(book))
        done = wavehouse("royalties", "run", "--period", period, "--contracts", str(path), check=False)
        assert done.returncode == RejectedInputError.exit_code
        assert f"({reason})" in done.stderr
        assert state(books, period) == before, reason

    # A rate is missed only when units have been counted already, of another calculation.
    with pytest.raises(RejectedInputError) as refused:
        royalties.run(books, period, by="run", rates=[])
    assert refused.value.reason == "missing_rate"
    assert state(books, period) == before

    gather = royalties.gather

    def without_a_market(*arguments: Any, **options: Any) -> Inputs:
        inputs = gather(*arguments, **options)
        played = {pool.key for pool in settled.settlement.pools if pool.streams}
        gone = min(played)
        return replace(inputs, revenue=tuple(row for row in inputs.revenue if row.key != gone))

    with monkeypatch.context() as patched:
        patched.setattr(royalties, "gather", without_a_market)
        with pytest.raises(RejectedInputError) as refused:
            royalties.run(books, period, by="run")
    assert refused.value.reason == "missing_revenue"
    assert state(books, period) == before

    # Nothing of it is in the way of the month: again it gives what it gave.
    assert royalties.recompute(books, period) == (settled.state.digest, settled.state.digest)
    again, changed = royalties.run(books, period, by="run")
    assert (again.state.digest, changed) == (settled.state.digest, False)
    assert state(books, period) == before


def test_a_refused_file_leaves_the_revenue_of_its_month(played: Settings, tmp_path: Path) -> None:
    period = trino.query(played, PLAYED).rows[0][0]
    right = render(finance_files.read_truth(played, period))
    rows = right.splitlines(keepends=True)
    paid = next(n for n, row in enumerate(rows) if ",premium," in row)
    currency, amount = rows[paid].split(",")[3:5]
    negative_row = rows[paid].replace(f"{currency},{amount},", f"{currency},-{amount},", 1)
    total = rows[-1].split(",")
    spoiled = {
        "control_total_mismatch": [*rows[:-1], ",".join([*total[:4], str(int(total[4]) + 1), *total[5:]])],
        "row_count_mismatch": [*rows[:paid], *rows[paid + 1 :]],
        "negative_amount": [*rows[:paid], negative_row, *rows[paid + 1 :]],
        "missing_trailer": rows[:-1],
    }

    def bronze() -> tuple[int, list[dict[str, Any]]]:
        snapshot = lake.catalog(played).load_table("bronze.revenue").current_snapshot()
        assert snapshot is not None
        kept = lake.read(played, "bronze.revenue").to_pylist()
        return snapshot.snapshot_id, sorted(kept, key=lambda row: (row["period"], row["country"], row["tier"]))

    path = tmp_path / f"revenue-{period}.csv"
    path.write_text(right)
    wavehouse("revenue", "load", str(path))
    before = bronze()
    assert any(row["period"] == period for row in before[1])
    for reason, lines in spoiled.items():
        path.write_text("".join(lines))
        done = wavehouse("revenue", "load", str(path), check=False)
        assert done.returncode == RejectedInputError.exit_code
        assert json.loads(path.with_name(path.name + ".rejected").read_text())["reason"] == reason
        assert bronze() == before, reason
    # The right file again is no change either, and its verdict is gone.
    path.write_text(right)
    (taken,) = wavehouse_json("revenue", "load", str(path))["taken"]
    assert (taken["period"], taken["changed"]) == (period, False)
    assert not path.with_name(path.name + ".rejected").exists()
    assert bronze() == before
