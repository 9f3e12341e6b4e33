"""What a settlement takes in and what it books, without engines."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from lakehouse.adapters import royalties, royalties_demo, royalties_files, royalties_lake
from lakehouse.adapters.royalties import Inputs, _adapter, _dump
from lakehouse.adapters.royalties_ledger import Posting
from lakehouse.domain.royalties.contracts import Book, build
from lakehouse.domain.royalties.models import MODELS, Use
from lakehouse.domain.royalties.pools import ExchangeRate, PoolKey, Revenue
from lakehouse.domain.royalties.settlement import Balance, Settlement, Settling, settle, volumes
from lakehouse.errors import FatalError, RejectedInputError

PERIOD = "2026-10"
POOLS = [PoolKey(PERIOD, "DE", "premium", "EUR"), PoolKey(PERIOD, "JP", "free", "JPY")]
TRACKS = [(n, 10 + n % 7, f"Artist {n % 7}") for n in range(1, 15)]


USES = [
    Use(key, model, str(track), track, Fraction(track, 3) if model == "user_centric" else track)
    for key in POOLS
    for model in MODELS
    for track, _, _ in TRACKS
]
REVENUE = (Revenue(POOLS[0], 1_000_000), Revenue(POOLS[1], 70_001))
RATES = tuple(royalties_demo.rates([PERIOD], ["EUR", "JPY"]))


def inputs() -> Inputs:
    sources = dict.fromkeys(("silver_audit.plays", "silver_audit.play_flags", "silver_audit.tracks"), 1)
    return Inputs(PERIOD, sources, REVENUE, "0" * 64, RATES)


def book() -> Book:
    raw = royalties_demo.standard_book(TRACKS)
    of_last = next(row for row in raw["agreements"] if row["agreement_id"] == "A16")
    of_last["advances"] = [{"advance_id": "first", "payee_id": "16", "period": PERIOD, "amount_minor": 500}]
    return build(raw)


def settled(rates: tuple[ExchangeRate, ...] = RATES) -> Settlement:
    return settle(PERIOD, REVENUE, USES, book(), rates)


def test_what_is_kept_is_read_as_it_was_written() -> None:
    again = _adapter(Inputs).validate_python(_dump(inputs()))
    assert again == inputs()
    document = settled().to_json()
    assert _adapter(Settlement).validate_json(document).to_json() == document


def test_a_calculation_is_named_by_all_that_it_is_computed_from() -> None:
    one = inputs()
    others = [
        replace(one, snapshots=one.snapshots | {"silver_audit.play_flags": 2}),
        replace(one, revenue=one.revenue[:1]),
        replace(one, book_sha256="1" * 64),
        replace(one, rates=()),
        replace(one, opening=(Balance("2026-09", "A10", "10", "EUR", deficit_minor=1),)),
    ]
    names = {made.calculation.calculation for made in [one, *others]}
    assert len(names) == 1 + len(others)
    assert inputs().calculation == one.calculation


def test_pool_by_pool_gives_what_all_at_once_gives() -> None:
    played = volumes(((use.track_id, use.streams) for use in USES if use.model == "pro_rata"), book(), PERIOD)
    settling = Settling(PERIOD, REVENUE, book(), played, RATES)
    lines = [line for key in POOLS for line in settling.settle_pool(key, [use for use in USES if use.key == key])]
    whole = settled()
    assert settling.finish().digest() == whole.digest()
    assert tuple(lines) == whole.lines


def test_a_line_counts_in_the_digest() -> None:
    other = [use._replace(streams=use.streams + 1) if use.track_id == "1" else use for use in USES]
    changed = settle(PERIOD, REVENUE, other, book(), RATES)
    assert [line.amount_minor for line in changed.lines] == [line.amount_minor for line in settled().lines]
    assert changed.lines_sha256 != settled().lines_sha256
    assert changed.digest() != settled().digest()


def test_the_books_of_the_demo_balance() -> None:
    settlement = settled()
    kinds = {entry.kind for entry in settlement.entries}
    assert kinds >= {"royalty", "reserve_held", "withholding_tax", "recoupment", "payable"}
    postings = royalties.postings(settlement, (), book())
    sums: dict[str, int] = defaultdict(int)
    owed: dict[str, int] = defaultdict(int)
    for row in postings:
        sums[row.currency] += row.amount_minor
        if row.account == "payee":
            owed[row.payee_id] -= row.amount_minor
    assert set(sums.values()) == {0}
    payable: dict[str, int] = defaultdict(int)
    for entry in settlement.entries:
        if entry.kind == "payable":
            payable[entry.payee_id] += entry.amount_minor
    assert {payee: amount for payee, amount in owed.items() if amount} == payable
    assert [(row.account, row.amount_minor) for row in postings if row.kind == "advance_paid"] == [
        ("advance", 500),
        ("cash", -500),
    ]


def test_an_advance_is_booked_by_the_settlement_that_takes_it_up() -> None:
    """Paid in August, first settled in October: booked then, not never, and not again in November."""
    raw = royalties_demo.standard_book(TRACKS)
    of_last = next(row for row in raw["agreements"] if row["agreement_id"] == "A16")
    of_last["advances"] = [{"advance_id": "first", "payee_id": "16", "period": "2026-08", "amount_minor": 500}]
    contracts = build(raw)
    october = settle(PERIOD, REVENUE, USES, contracts, RATES)
    november = settle("2026-11", [], [], contracts, (), october.balances)

    def advance(postings: list[Posting]) -> list[tuple[str, int]]:
        return [(row.kind, row.amount_minor) for row in postings if row.account == "advance"]

    booked = royalties.postings(october, (), contracts)
    assert sorted(advance(booked)) == [("advance_paid", 500), ("recoupment", -500)]
    assert advance(royalties.postings(november, october.balances, contracts)) == []


def test_an_unsound_settlement_is_not_booked() -> None:
    settlement = settled()
    first = next(entry for entry in settlement.entries if entry.kind == "payable")
    spoiled = [replace(e, amount_minor=e.amount_minor + 1) if e is first else e for e in settlement.entries]
    with pytest.raises(FatalError, match="don't sum to what is payable"):
        royalties.postings(replace(settlement, entries=tuple(spoiled)), (), book())


def test_a_missing_rate_is_named() -> None:
    with pytest.raises(RejectedInputError, match="JPY") as caught:
        settled(rates=())
    assert caught.value.reason == "missing_rate"


def test_markets_are_counted_in_portions_that_fit() -> None:
    portions = list(royalties_lake._portions({"DE": 1_000_000, "FR": 1_500_000, "JP": 900_000, "US": 7_000_000}))
    assert portions == [(["JP", "DE"], 1), (["FR"], 1), (["US"], 3)]
    assert list(royalties_lake._portions({})) == []


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
