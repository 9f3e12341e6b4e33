"""What a settlement takes in and what it books, without engines."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from lakehouse.adapters import royalties, royalties_demo, royalties_files
from lakehouse.adapters.royalties import Inputs, _adapter, _dump
from lakehouse.domain.royalties.models import MODELS, Use
from lakehouse.domain.royalties.pools import PoolKey, Revenue
from lakehouse.domain.royalties.settlement import Settlement
from lakehouse.errors import FatalError, RejectedInputError

PERIOD = "2026-10"
POOLS = [PoolKey(PERIOD, "DE", "premium", "EUR"), PoolKey(PERIOD, "JP", "free", "JPY")]
TRACKS = [(n, 10 + n % 7, f"Artist {n % 7}") for n in range(1, 15)]


def inputs() -> Inputs:
    uses = [
        Use(key, model, str(track), track, Fraction(track, 3) if model == "user_centric" else track)
        for key in POOLS
        for model in MODELS
        for track, _, _ in TRACKS
    ]
    book = royalties_demo.standard_book(TRACKS)
    book["agreements"][6]["advances"] = [
        {"advance_id": "first", "payee_id": "16", "period": PERIOD, "amount_minor": 500}
    ]
    return Inputs(
        PERIOD,
        {"silver_audit.plays": 1},
        (Revenue(POOLS[0], 1_000_000), Revenue(POOLS[1], 70_001)),
        tuple(uses),
        book,
        tuple(royalties_demo.rates(PERIOD, ["EUR", "JPY"])),
    )


def test_what_is_kept_computes_to_the_same_bytes() -> None:
    made = inputs()
    document = made.settle().to_json()
    again = _adapter(Inputs).validate_python(_dump(made))
    assert again.settle().to_json() == document
    assert _adapter(Settlement).validate_json(document).to_json() == document


def test_every_clause_of_the_demo_is_at_work_and_the_books_balance() -> None:
    made = inputs()
    settlement = made.settle()
    kinds = {entry.kind for entry in settlement.entries}
    assert kinds >= {"royalty", "reserve_held", "withholding_tax", "recoupment", "payable"}
    postings = royalties.postings(settlement, made.book())
    sums: dict[str, int] = defaultdict(int)
    owed: dict[str, int] = defaultdict(int)
    for row in postings:
        sums[row.currency] += row.amount_minor
        if row.account == "payee":
            owed[row.payee_id] -= row.amount_minor
    assert set(sums.values()) == {0}
    payable = {entry.payee_id: entry.amount_minor for entry in settlement.entries if entry.kind == "payable"}
    assert {payee: amount for payee, amount in owed.items() if amount} == payable
    assert [(row.account, row.amount_minor) for row in postings if row.kind == "advance_paid"] == [
        ("advance", 500),
        ("cash", -500),
    ]


def test_an_unsound_settlement_is_not_booked() -> None:
    made = inputs()
    settlement = made.settle()
    first = next(entry for entry in settlement.entries if entry.kind == "payable")
    spoiled = [replace(e, amount_minor=e.amount_minor + 1) if e is first else e for e in settlement.entries]
    with pytest.raises(FatalError, match="don't sum to what is payable"):
        royalties.postings(replace(settlement, entries=tuple(spoiled)), made.book())


def test_a_missing_rate_is_named() -> None:
    with pytest.raises(RejectedInputError, match="JPY") as caught:
        replace(inputs(), rates=()).settle()
    assert caught.value.reason == "missing_rate"


def test_compare_gives_each_model_its_own_sums() -> None:
    made = inputs()
    settlement = made.settle()
    state = royalties.PeriodState(PERIOD, "calculated", settlement.digest(), "run")
    found = royalties.compare(royalties.Settled(state, made, settlement))
    assert {payee for payee, _ in found} == {str(10 + n) for n in range(7)}
    assert all(set(sums) == set(MODELS) for sums in found.values())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2026-13-01,EUR,JPY,164,ECB", "bad_day"),
        ("2026-10-30,EUR,JPX,164,ECB", "unknown_currency"),
        ("2026-10-30,EUR,JPY,-164,ECB", "bad_rate"),
        ("2026-10-30,EUR,JPY,0,ECB", "bad_rate"),
        ("2026-10-30,EUR,JPY,164", "bad_row"),
    ],
)
def test_a_bad_rate_is_refused_with_its_row(tmp_path: Path, row: str, reason: str) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(f"day,base,quote,rate,source\n2026-10-30,EUR,USD,1.1234,ECB\n{row}\n")
    with pytest.raises(RejectedInputError, match=r"rates\.csv, row 3") as caught:
        royalties_files.read_rates(path)
    assert caught.value.reason == reason


def test_rates_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("day,base,quote,rate,source\n2026-10-30,EUR,USD,1.1,ECB\n")
    assert royalties_files.read_rates(path)[0].rate == Fraction(11, 10)
