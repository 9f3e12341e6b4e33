"""Thousands of generated months against the independent computation of tests/royalty_oracle.py, equal to the cent."""

from __future__ import annotations

import random
from collections import defaultdict
from fractions import Fraction
from typing import Any

import pytest

from lakehouse.adapters import royalties_demo
from lakehouse.domain.royalties import contracts
from lakehouse.domain.royalties.models import MODELS, Plays, Policy, Track, Use, weigh
from lakehouse.domain.royalties.pools import ExchangeRate, PoolKey, Revenue
from lakehouse.domain.royalties.settlement import settle
from tests import royalty_oracle as oracle
from tests.royalty_books import Books, PayOuts

MONTHS = ("2026-10", "2026-11", "2026-12")
BLOCKS, CASES = 14, 50  # three months a case: 2,100 settlements
POOLS = [
    ("DE", "premium", "EUR"),
    ("DE", "free", "EUR"),
    ("US", "premium", "USD"),
    ("JP", "free", "JPY"),
    ("KW", "premium", "KWD"),
]
PAYEES = [f"P{number}" for number in range(6)]
POLICY = {"cap": 12, "streams": 8, "listeners": 3}


def parts(rng: random.Random, count: int) -> list[str]:
    """`count` shares above zero that sum to 1."""
    weights = [rng.randint(1, 5) for _ in range(count)]
    return [f"{weight}/{sum(weights)}" for weight in weights]


def some_terms(rng: random.Random, number: int, territory: list[str], tiers: list[str]) -> dict[str, Any]:
    is_share = rng.random() < 0.7
    clause: dict[str, Any] = {"clause_id": f"c{number}", "version": 1, "territory": territory, "valid_from": "2026-10"}
    clause["share" if is_share else "rate"] = rng.choice(
        ["0.7", "0.3", "1/3", "0"] if is_share else ["0.004", "0.13", "1/7"]
    )
    if tiers:
        clause["tiers"] = tiers
    if rng.random() < 0.3:
        clause["per_stream_minimum"] = rng.choice(["0.01", "0.3"])
    if rng.random() < 0.3:
        clause["per_subscriber_minimum"] = rng.choice(["0.5", "2.25"])
    if rng.random() < 0.4:
        clause["escalation_over"] = rng.choice(["period", "agreement"])
        clause["escalations"] = [
            {"above_streams": above, "value": rng.choice(["0.6", "0.02", "2/9"])}
            for above in sorted(rng.sample(range(1, 60), 2))
        ]
    return clause


def some_months(rng: random.Random) -> list[tuple[str, str | None]]:
    """First and last months of one clause for ever, or of two of which the second follows after a month or two."""
    cut = rng.choice([0, 0, 1, 2])
    return [(MONTHS[0], MONTHS[cut - 1]), (MONTHS[cut], None)] if cut else [(MONTHS[0], None)]


def some_accounting(rng: random.Random) -> list[dict[str, Any]]:
    clauses: list[dict[str, Any]] = []
    for number, (first, last) in enumerate(some_months(rng)):
        whole = {MONTHS[0]: [1], MONTHS[1]: [1, 2]}.get(last or "", [1, 2, 3])  # a guarantee isn't cut
        for version in range(1, rng.choice([2, 2, 3])):
            clauses.append(
                {
                    "clause_id": f"k{number}",
                    "version": version,
                    "valid_from": first,
                    "valid_to": last,
                    "reserve": rng.choice(["0", "0.1", "1/3"]),
                    "release_after_months": rng.randint(1, 2),
                    "withholding": rng.choice(["0", "0.15"]),
                    "guarantee_minor": rng.choice([0, 2000]),
                    "guarantee_months": rng.choice(whole),
                }
            )
    return clauses


def some_holders(rng: random.Random, agreements: list[str]) -> list[dict[str, Any]]:
    holders = []
    names = rng.sample([(agreement, payee) for agreement in agreements for payee in PAYEES], rng.randint(1, 3))
    for (agreement_id, payee), share in zip(names, parts(rng, len(names)), strict=True):
        status = rng.choice(["active"] * 6 + ["disputed"])
        holders.append({"agreement_id": agreement_id, "payee_id": payee, "share": share, "status": status})
    if rng.random() < 0.15:
        holders[0] = {"agreement_id": agreements[0], "share": holders[0]["share"], "status": "unclaimed"}
    return holders


def some_book(rng: random.Random) -> dict[str, Any]:
    payees: list[dict[str, Any]] = [{"payee_id": name, "name": name, "country": "DE"} for name in PAYEES]
    for number, payee in enumerate(payees):  # down the list only: no circles
        below = PAYEES[number + 1 :]
        if below and rng.random() < 0.3:
            chosen = rng.sample(below, min(len(below), rng.randint(1, 2)))
            shares = parts(rng, len(chosen) + rng.randint(0, 1))
            payee["passes_on"] = [
                {"payee_id": name, "share": share, "valid_from": rng.choice(MONTHS)}
                for name, share in zip(chosen, shares, strict=False)
            ]
    agreements = []
    for number, share_type in enumerate(["master", "master", "performance", "mechanical"]):
        terms = [some_terms(rng, 1, ["world"], [])]
        if rng.random() < 0.4:
            terms.append(some_terms(rng, 2, ["DE", "JP"], []))
            if rng.random() < 0.5:
                terms.append(some_terms(rng, 3, ["DE"], ["free"]))
        if rng.random() < 0.3:
            terms.append({**terms[0], "version": 2, "per_stream_minimum": "0.02"})
        agreement: dict[str, Any] = {
            "agreement_id": f"A{number}",
            "licensor": rng.choice(PAYEES),
            "share_type": share_type,
            "model": rng.choice(MODELS),
            "currency": rng.choice(list(oracle.DECIMALS)),
            "valid_from": "2026-10",
            "terms": terms,
        }
        if rng.random() < 0.6:
            agreement["accounting"] = some_accounting(rng)
        if rng.random() < 0.5:
            agreement["advances"] = [
                {
                    "advance_id": f"v{n}",
                    "payee_id": rng.choice(PAYEES),
                    "period": rng.choice(["2026-08", *MONTHS]),
                    "amount_minor": rng.randint(0, 900),
                }
                for n in range(2)
            ]
        agreements.append(agreement)
    rights = []
    for track in range(7):  # t7 has none
        for share_type, of in (("master", ["A0", "A1"]), ("performance", ["A2"]), ("mechanical", ["A3"])):
            if share_type != "master" and rng.random() < 0.6:
                continue
            right = {"track_id": f"t{track}", "share_type": share_type}
            for first, last in some_months(rng):
                rights.append({**right, "valid_from": first, "valid_to": last, "holders": some_holders(rng, of)})
    return {"payees": payees, "agreements": agreements, "rights": rights}


@pytest.mark.parametrize("block", range(BLOCKS))
def test_equal_to_the_cent(block: int) -> None:
    for number in range(CASES):
        compare(block * CASES + number)


def compare(seed: int) -> None:
    rng = random.Random(seed)
    raw = some_book(rng)
    rates = {
        (base, quote): Fraction(rng.randint(1, 400), 100)
        for base in oracle.DECIMALS
        for quote in oracle.DECIMALS
        if base < quote
    }
    tracks: dict[str, Any] = {
        f"t{n}": {"artist": f"a{n % 3}", "noise": rng.random() < 0.1, "annual": rng.choice([5, 1000, 99999])}
        for n in range(8)
    }
    compare_months(seed, rng, raw, rates, tracks, [0, 3, 14, 28])


def test_the_demo_equal_to_the_cent() -> None:
    """The demo's contracts: each kind of clause in one book."""
    catalogue = [(n, 10 + n // 3, f"Artist {10 + n // 3}") for n in range(36)]
    raw = royalties_demo.standard_book(catalogue)
    quoted = {currency for _, _, currency in POOLS}
    for seed in range(12):
        rates = {(row.base, row.quote): row.rate for row in royalties_demo.rates(["2026-10"], quoted)}
        tracks = {str(n): {"artist": str(artist), "noise": False, "annual": 1000} for n, artist, _ in catalogue}
        compare_months(seed, random.Random(seed), raw, rates, tracks, [150, 300])


def compare_months(
    seed: int,
    rng: random.Random,
    raw: dict[str, Any],
    rates: dict[tuple[str, str], Fraction],
    tracks: dict[str, Any],
    plays_a_month: list[int],
) -> None:
    book = contracts.build(raw)
    state = nothing_carried()
    balances: Any = ()
    books = Books()
    for period in MONTHS:
        pools, plays = some_plays(rng, tracks, plays_a_month)
        before = dict(state["streams"])
        lines = {
            pool: oracle.pool_lines(period, pool, net, heads, plays, {**tracks, **POLICY}, raw, rates, before)
            for pool, (net, heads) in pools.items()
        }
        payable = oracle.pay_out(period, lines, raw, rates, state, plays)

        result = settle(period, *as_delivered(period, pools, plays, tracks), book, quoted(rates), balances)
        books.add(result, balances, book)
        balances = result.balances
        for pool in pools:
            key = PoolKey(period, *pool)
            product = {
                line.line_id.removeprefix(f"{key}/"): line.amount_minor for line in result.lines if line.key == key
            }
            assert product == lines[pool], (seed, pool)
        paid = {(row.agreement_id, row.payee_id): row.amount_minor for row in result.entries if row.kind == "payable"}
        assert paid == payable, (seed, period)
        for balance in balances:
            assert balance.unrecouped_minor == state["advances"].get((balance.agreement_id, balance.payee_id), 0), seed


Pools = dict[oracle.Pool, tuple[int, int]]  # net revenue in minor units, subscribers


def nothing_carried() -> dict[str, Any]:
    return {"earned": {}, "streams": {}, "reserves": {}, "advances": {}, "taken": set()}


def some_plays(rng: random.Random, tracks: dict[str, Any], plays_a_month: list[int]) -> tuple[Pools, list[oracle.Play]]:
    pools = {pool: (rng.choice([0, 101, rng.randint(0, 10**5)]), rng.randint(0, 9)) for pool in rng.sample(POOLS, 3)}
    plays = [
        (rng.choice(list(pools)), f"u{rng.randint(0, 4)}", rng.choice(list(tracks)), rng.random() < 0.3)
        for _ in range(rng.choice(plays_a_month))
    ]
    return pools, plays


def as_delivered(
    period: str, pools: Pools, plays: list[oracle.Play], tracks: dict[str, Any]
) -> tuple[list[Revenue], list[Use]]:
    """Revenue and uses as the product takes them."""
    facts = {name: Track(name, row["artist"], row["noise"], row["annual"]) for name, row in tracks.items()}
    policy = Policy(professional_streams=8, professional_listeners=3, listener_cap=12)
    played = [Plays(PoolKey(period, *pool), who, what, 1, int(chosen)) for pool, who, what, chosen in plays]
    revenue = [Revenue(PoolKey(period, *pool), net, subscribers=heads) for pool, (net, heads) in pools.items()]
    return revenue, weigh(played, facts, policy)


def quoted(rates: dict[tuple[str, str], Fraction]) -> list[ExchangeRate]:
    return [ExchangeRate(f"{period}-28", *pair, value) for period in MONTHS for pair, value in rates.items()]


def with_other_accounts(rng: random.Random, raw: dict[str, Any]) -> dict[str, Any]:
    """The book with other reserves, taxes, guarantees and amounts paid ahead: the same lines, other accounts."""
    agreements = []
    for row in raw["agreements"]:
        other = {"advances": [a | {"amount_minor": rng.randint(0, 900)} for a in row.get("advances", [])]}
        other["accounting"] = some_accounting(rng) if rng.random() < 0.8 else []
        agreements.append(row | other)
    return raw | {"agreements": agreements}


@pytest.mark.parametrize("block", range(BLOCKS // 2))
def test_corrected_accounts_equal_to_the_cent(block: int) -> None:
    """Two months are closed by one book; that their accounts should have been others is found out in the third.

    In all, what was paid and what is carried is what the other book gives from the start, as the oracle has it.
    """
    corrections = 0
    for seed in range(block * CASES, (block + 1) * CASES):
        rng = random.Random(seed)
        raw = some_book(rng)
        other = with_other_accounts(rng, raw)
        pairs = [(base, quote) for base in oracle.DECIMALS for quote in oracle.DECIMALS if base < quote]
        rates = {pair: Fraction(rng.randint(1, 400), 100) for pair in pairs}
        tracks = {f"t{n}": {"artist": f"a{n % 3}", "noise": False, "annual": 1000} for n in range(8)}
        state, made = nothing_carried(), PayOuts()
        right, paid = defaultdict[tuple[str, str], int](int), defaultdict[tuple[str, str], int](int)
        book, corrected_book = contracts.build(raw), contracts.build(other)
        for period in MONTHS:
            pools, plays = some_plays(rng, tracks, [0, 3, 14, 28])
            before = dict(state["streams"])
            lines = {
                pool: oracle.pool_lines(period, pool, net, heads, plays, {**tracks, **POLICY}, other, rates, before)
                for pool, (net, heads) in pools.items()
            }
            for account, amount in oracle.pay_out(period, lines, other, rates, state, plays).items():
                right[account] += amount
            if period == MONTHS[-1]:
                for closed in rng.sample(MONTHS[:-1], 2):
                    made.restate(closed, period, corrected_book, quoted(rates))
            by = corrected_book if period == MONTHS[-1] else book
            result = made.settle(period, *as_delivered(period, pools, plays, tracks), by, quoted(rates))
            for entry in result.entries:
                if entry.kind == "payable":
                    paid[entry.agreement_id, entry.payee_id] += entry.amount_minor
        corrections += len(made.account_adjustments)
        for balance in made.balances:
            account = (balance.agreement_id, balance.payee_id)
            paid[account] -= balance.overpaid_minor
            assert balance.unrecouped_minor == state["advances"].get(account, 0), (seed, account)
            held = [(reserve.release_in, reserve.amount_minor) for reserve in balance.reserves]
            assert sorted(held) == sorted(state["reserves"].get(account, [])), (seed, account)
        assert {name: n for name, n in paid.items() if n} == {name: n for name, n in right.items() if n}, seed
    assert corrections > CASES
