"""The demo's contracts: every kind of clause is at work in three months of a small catalogue, and the books add up."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import pytest

from lakehouse.adapters import royalties_demo
from lakehouse.domain.royalties import contracts
from lakehouse.domain.royalties.models import MODELS, Use
from lakehouse.domain.royalties.periods import restate
from lakehouse.domain.royalties.pools import PoolKey, Revenue
from lakehouse.domain.royalties.settlement import Adjustment, Balance, Settlement, settle

MONTHS = ("2026-08", "2026-09", "2026-10")
#: (country, currency): net revenue of a month in minor units and streams, free and premium; about those of the demo.
MARKETS = {
    ("BR", "BRL"): ((10_991, 17_916), (151_754, 9_927)),
    ("DE", "EUR"): ((3_747, 10_864), (120_686, 13_859)),
    ("GB", "GBP"): ((4_945, 12_896), (133_833, 15_031)),
    ("IN", "INR"): ((93_192, 17_360), (493_189, 5_199)),
    ("JP", "JPY"): ((4_396, 8_826), (55_673, 6_556)),
    ("KW", "KWD"): ((2_235, 1_778), (31_840, 1_047)),
    ("SE", "SEK"): ((16_778, 4_073), (627_091, 7_345)),
    ("US", "USD"): ((13_973, 29_586), (300_700, 26_341)),
}
#: Parts of 1,000 streams, by place of the artist; twelve, two more than the template has places for.
POPULARITY = (110, 200, 280, 20, 90, 30, 70, 45, 35, 100, 10, 10)
TRACKS = [(100 * artist + n, artist, f"Artist {artist}") for artist in range(11, 23) for n in range(1, 4)]
BOOK = contracts.build(royalties_demo.standard_book(TRACKS))
#: Whose October streams turn out to be artificial.
CAUGHT = 22


def revenue(period: str) -> list[Revenue]:
    rows = []
    for (country, currency), (free, premium) in MARKETS.items():
        rows.append(Revenue(PoolKey(period, country, "free", currency), 0, free[0]))
        rows.append(Revenue(PoolKey(period, country, "premium", currency), premium[0], subscribers=premium[1] // 100))
    return rows


def uses(period: str, *, without: int | None = None) -> list[Use]:
    made = []
    for (country, currency), pools in MARKETS.items():
        for tier, (_, streams) in zip(("free", "premium"), pools, strict=True):
            for track_id, artist_id, _ in TRACKS:
                count = streams * POPULARITY[artist_id - 11] // 3000
                if count and artist_id != without:
                    key = PoolKey(period, country, tier, currency)
                    weights = (count, Fraction(count, 1 + track_id % 7), count * (1 + artist_id % 2))
                    made += [Use(key, m, str(track_id), count, w) for m, w in zip(MODELS, weights, strict=True)]
    return made


def run() -> list[Settlement]:
    """The three months, and a fourth in which the streams of one artist are taken back from October."""
    rates = royalties_demo.rates([*MONTHS, "2026-11"], [currency for _, currency in MARKETS])
    results: list[Settlement] = []
    opening: tuple[Balance, ...] = ()
    for period in MONTHS:
        results.append(settle(period, revenue(period), uses(period), BOOK, rates, opening))
        opening = results[-1].balances
    october = results[-1]
    again = settle(
        october.period, revenue(october.period), uses(october.period, without=CAUGHT), BOOK, rates, results[-2].balances
    )
    found: list[Adjustment] = restate(october, [], again, "2026-11", "artificial plays")
    results.append(settle("2026-11", revenue("2026-11"), [], BOOK, rates, opening, found))
    results.append(settle("2026-12", [], [], BOOK, [], results[-1].balances))
    return results


@pytest.fixture(scope="module")
def months() -> list[Settlement]:
    return run()


def test_every_kind_of_entry_account_and_rule_occurs(months: list[Settlement]) -> None:
    kinds = {entry.kind for month in months for entry in month.entries}
    assert kinds == {
        "brought_forward",
        "royalty",
        "true_up",
        "adjustment",
        "reserve_held",
        "reserve_released",
        "recoupment",
        "withholding_tax",
        "carried_forward",
        "payable",
        "suspense",
    }
    lines = [line for month in months for line in month.lines]
    assert {line.account for line in lines} == {"payable", "dispute", "unclaimed"}
    assert {line.rule for line in lines} == {"share", "rate", "per_stream_minimum", "per_subscriber_minimum"}
    assert {line.model for line in lines} == set(MODELS)
    assert {line.share_type for line in lines} == {"master", "performance", "mechanical"}
    assert {line.clause.rpartition("/")[2] for line in lines} == {"world@1", "free@1", "home@1"}
    assert {len(line.chain) for line in lines} == {1, 2, 3}
    assert {entry.currency for month in months for entry in month.entries} == {"EUR", "USD", "JPY", "KWD"}


def test_every_clause_decides_something(months: list[Settlement]) -> None:
    """What is in the template without an effect would show nothing."""
    october = months[2]
    net = {row.key: row.net_minor for row in revenue("2026-10")}
    by_agreement: dict[str, set[Fraction]] = defaultdict(set)
    for line in october.lines:
        if line.rule == "share" and line.weight:
            by_agreement[line.agreement_id].add(line.exact_minor / net[line.key] / line.weight)
    # The steps of an escalation give a share between them; a tier's and a territory's own stand beside the world's.
    assert all(Fraction("0.5") < share < Fraction("0.58") for share in by_agreement["A12"])
    assert all(Fraction("0.52") < share < Fraction("0.6") for share in by_agreement["A15"])
    assert by_agreement["A17"] == {Fraction("0.56"), Fraction("0.48")}
    assert by_agreement["A20"] == {Fraction("0.55"), Fraction("0.58")}
    assert by_agreement["A21"] == by_agreement["A22"] == {Fraction("0.55")}  # nothing of their own
    # All streams since the agreement began count: the share of artist 12 rises from month to month.
    shares = [next(x.exact_minor / x.weight for x in m.lines if x.agreement_id == "A12") for m in months[:3]]
    assert shares == sorted(set(shares))
    # The thirds of a track in a pool are equal before rounding, and a unit apart at most after it.
    thirds: dict[object, list[tuple[Fraction, int]]] = defaultdict(list)
    for line in october.lines:
        if line.agreement_id == "A17" and line.track_id == "1703":
            thirds[line.key].append((line.exact_minor, line.amount_minor))
    for parts in thirds.values():
        assert len(parts) == 3
        assert len({exact for exact, _ in parts}) == 1
        assert max(n for _, n in parts) - min(n for _, n in parts) <= 1
    # Label, artist and producer.
    assert {line.chain for line in october.lines if line.agreement_id == "A13"} == {
        ("label-13",),
        ("label-13", "13"),
        ("label-13", "13", "producer-13"),
    }


def test_most_pools_leave_something_to_the_platform_and_all_add_up(months: list[Settlement]) -> None:
    pools = [pool for month in months[:3] for pool in month.pools]
    for month in months:
        for pool in month.pools:
            claimed = sum(line.amount_minor for line in month.lines if line.key == pool.key)
            assert pool.net_minor == claimed + pool.retained_minor
            assert pool.unlicensed_streams == 0
    assert sum(pool.retained_minor > 0 for pool in pools) > 0.9 * len(pools)
    # What goes out is near what services are known to pay: 60 to 80 % of net revenue over all pools of a currency.
    for currency in {pool.key.currency for pool in pools}:
        net = sum(pool.net_minor for pool in pools if pool.key.currency == currency)
        claimed = sum(pool.claimed_minor for pool in pools if pool.key.currency == currency)
        assert Fraction(60, 100) < Fraction(claimed, net) < Fraction(80, 100), currency


def test_reserves_and_advances_come_to_nothing_in_the_end(months: list[Settlement]) -> None:
    def total(kind: str) -> int:
        return sum(entry.amount_minor for month in months for entry in month.entries if entry.kind == kind)

    still_held = sum(reserve.amount_minor for row in months[-1].balances for reserve in row.reserves)
    assert total("reserve_held") + total("reserve_released") + still_held == 0
    advanced = 190_000
    unrecouped = sum(row.unrecouped_minor for row in months[-1].balances)
    assert total("recoupment") + advanced == unrecouped


def test_a_catalogue_of_one_track_has_a_sound_book() -> None:
    book = contracts.build(royalties_demo.standard_book([(1, 7, 'An "odd": name')]))
    assert book.payees["7"].name == 'An "odd": name'
    assert {right.share_type for right in book.rights} == {"master", "performance", "mechanical"}


def test_rates_fit_together() -> None:
    """Every pair once, and by any way round the same: no two rates of a day can contradict each other."""
    made = royalties_demo.rates(["2026-10"], ["SEK", "XAF"])
    of = {(row.base, row.quote): row.rate for row in made}
    assert {currency for pair in of for currency in pair} == {"EUR", "JPY", "KWD", "SEK", "USD"}
    assert len(of) == len(made) == 10
    assert of["EUR", "SEK"] == Fraction("11.2")
    assert of["EUR", "JPY"] * of["JPY", "SEK"] == of["EUR", "SEK"]
    assert {row.day for row in made} == {"2026-10-28"}
