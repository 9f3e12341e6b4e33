"""What must hold of every settlement, whatever the plays, revenue and contracts are."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.domain.royalties.contracts import ACTIVE, DISPUTED, Agreement, Book, Holder, Payee, Right, Terms, check
from lakehouse.domain.royalties.models import MODELS, PRO_RATA, USER_CENTRIC, Plays, Policy, Track, weigh
from lakehouse.domain.royalties.periods import Period, restate
from lakehouse.domain.royalties.pools import ExchangeRate, PoolKey, Revenue, convert, rate
from lakehouse.domain.royalties.settlement import Settlement, settle
from lakehouse.errors import RejectedInputError

PERIOD = "2026-10"
KEYS = [PoolKey(PERIOD, *pool) for pool in (("DE", "premium", "EUR"), ("JP", "free", "JPY"), ("KW", "premium", "KWD"))]
TRACKS = {f"t{n}": Track(f"t{n}", f"a{n % 2}", annual_streams=1000) for n in range(5)}
POLICY = Policy(professional_streams=20, professional_listeners=2, listener_cap=30)
RATES = [
    ExchangeRate(f"{month}-28", "EUR", quote, Fraction(rate))
    for month in (PERIOD, "2026-11")
    for quote, rate in (("JPY", "161.3"), ("KWD", "0.33"))
]
Month = list[Plays]

plays = st.lists(
    st.builds(
        lambda key, who, what, streams, chosen: Plays(key, f"u{who}", f"t{what}", streams, min(streams, chosen)),
        st.sampled_from(KEYS),
        st.integers(0, 3),
        st.integers(0, 4),
        st.integers(1, 40),
        st.integers(0, 40),
    ),
    max_size=25,
)
amounts = st.lists(st.integers(0, 10**9), min_size=3, max_size=3)
models = st.sampled_from(MODELS)


def book(model: str, share: Fraction = Fraction(7, 10), minimum: Fraction = Fraction(0)) -> Book:
    terms = Terms("c1", 1, ("world",), "2026-01", share=share, per_stream_minimum=minimum)
    agreement = Agreement("A", "P0", "master", model, "EUR", (terms,), "2026-01")
    rights = [
        Right(
            track,
            "master",
            "2026-01",
            (
                Holder("A", f"P{n}", Fraction(2, 3)),
                Holder("A", f"P{n + 1}", Fraction(1, 3), DISPUTED if n == 2 else ACTIVE),
            ),
        )
        for n, track in enumerate(TRACKS)
    ]
    made = Book({f"P{n}": Payee(f"P{n}", f"P{n}", "DE") for n in range(6)}, {"A": agreement}, rights)
    check(made)
    return made


def month(rows: Month, nets: list[int], contracts: Book) -> Settlement:
    revenue = [Revenue(key, net) for key, net in zip(KEYS, nets, strict=True)]
    return settle(PERIOD, revenue, weigh(rows, TRACKS, POLICY), contracts, RATES)


@given(plays, amounts, models, st.sampled_from([Fraction(0), Fraction(1, 300)]))
def test_lines_sum_to_their_pool(rows: Month, nets: list[int], model: str, minimum: Fraction) -> None:
    result = month(rows, nets, book(model, minimum=minimum))
    for pool, net in zip(result.pools, nets, strict=True):
        lines = [line for line in result.lines if line.key == pool.key]
        assert (
            sum(line.amount_minor for line in lines) == pool.claimed_minor == int(sum(row.exact_minor for row in lines))
        )
        assert pool.claimed_minor + pool.retained_minor == net
        assert all(abs(line.amount_minor - line.exact_minor) < 2 for line in lines)
        assert (
            sum({line.track_id: line.streams for line in lines}.values())
            == pool.streams
            == sum(row.streams for row in rows if row.key == pool.key)
        )


@given(plays, models)
def test_with_a_share_of_one_all_of_the_pool_is_paid(rows: Month, model: str) -> None:
    result = month(rows, [1000, 1001, 1009], book(model, share=Fraction(1)))
    assert all(pool.retained_minor == 0 for pool in result.pools if pool.streams)


@given(plays, amounts, models, st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_partitions_and_reruns_change_no_byte(
    rows: Month, nets: list[int], model: str, rng: random.Random, cut: int
) -> None:
    contracts = book(model)
    once = month(rows, nets, contracts)
    pieces = [  # each row in up to `cut` pieces, as partitions of the lake would hold it
        Plays(row.key, row.listener_id, row.track_id, row.streams // cut + extra, row.chosen // cut + of_chosen)
        for row in rows
        for extra, of_chosen in [(row.streams % cut, row.chosen % cut)] + [(0, 0)] * (cut - 1)
        if row.chosen // cut + of_chosen <= row.streams // cut + extra
    ]
    whole = Counter[tuple[PoolKey, str, str]]()
    for row in pieces:
        whole[row.key, row.listener_id, row.track_id] += row.streams
    if sum(whole.values()) != sum(row.streams for row in rows):  # a piece with more chosen than played can't be made
        pieces = list(rows)
    rng.shuffle(pieces)
    again = month(pieces, nets, contracts)
    assert again.to_json() == once.to_json()
    assert again.digest() == once.digest()
    uses = weigh(rows, TRACKS, POLICY)
    rng.shuffle(uses)
    revenue = [Revenue(key, net) for key, net in zip(KEYS, nets, strict=True)]
    rng.shuffle(revenue)
    assert settle(PERIOD, revenue, uses, contracts, reversed(RATES)).to_json() == once.to_json()


@given(plays, st.integers(2, 1000))
def test_user_centric_does_not_move_beyond_a_listeners_own_share(rows: Month, zeal: int) -> None:
    """u0 multiplies the plays of t0: what others give stays; only u0's own share shifts, towards t0."""
    more = [
        Plays(row.key, row.listener_id, row.track_id, row.streams * zeal, row.chosen)
        if (row.listener_id, row.track_id) == ("u0", "t0")
        else row
        for row in rows
    ]

    def votes(of: Month) -> dict[tuple[PoolKey, str], Fraction]:
        return {(use.key, use.track_id): Fraction(use.weight) for use in weigh(of, TRACKS) if use.model == USER_CENTRIC}

    before, after = votes(rows), votes(more)
    of_u0 = votes([row for row in rows if row.listener_id == "u0"])
    own_after = votes([row for row in more if row.listener_id == "u0"])
    for place, vote in before.items():
        assert after[place] - own_after.get(place, 0) == vote - of_u0.get(place, 0)
        assert after[place] >= vote if place[1] == "t0" else after[place] <= vote
    for key in KEYS:
        assert sum(v for (at, _), v in after.items() if at == key) == len({r.listener_id for r in rows if r.key == key})


@given(plays, amounts, st.integers(2, 1000))
def test_user_centric_pay_outs_do_not_move_beyond_a_listeners_own_share(
    rows: Month, nets: list[int], zeal: int
) -> None:
    """u0 multiplies the plays of t0: what is paid shifts by no more than u0's own money, and only to t0."""
    more = [
        replace(row, streams=row.streams * zeal) if (row.listener_id, row.track_id) == ("u0", "t0") else row
        for row in rows
    ]
    contracts = book(USER_CENTRIC)
    before, after = month(rows, nets, contracts), month(more, nets, contracts)
    assert [pool.claimed_minor for pool in after.pools] == [pool.claimed_minor for pool in before.pools]
    for pool in before.pools:
        heard_by_u0 = {row.track_id for row in rows if (row.key, row.listener_id) == (pool.key, "u0")}
        listeners = {row.listener_id for row in rows if row.key == pool.key}
        own = Fraction(7, 10) * pool.net_minor / len(listeners) if "u0" in listeners else Fraction(0)
        shifted = Fraction(0)
        claim = sum((line.exact_minor for line in before.lines if line.key == pool.key), Fraction(0))
        for was, now in zip(before.lines, after.lines, strict=True):
            assert now.line_id == was.line_id
            if was.key != pool.key:
                continue
            moved = now.exact_minor - was.exact_minor
            # Before and after, a line has its part of the whole units of the claim, rounded up or down.
            part = moved * pool.claimed_minor / claim if claim else Fraction(0)
            assert abs(now.amount_minor - was.amount_minor - part) < 2
            if was.track_id not in heard_by_u0:
                assert moved == 0
                assert abs(now.amount_minor - was.amount_minor) <= 1
            assert moved >= 0 if was.track_id == "t0" else moved <= 0
            shifted += max(Fraction(0), moved)
        assert shifted <= own


@given(plays, st.integers(0, 10**6), st.integers(0, 4), st.integers(1, 5))
def test_more_plays_never_lower_the_tracks_pro_rata_amount(rows: Month, net: int, track: int, extra: int) -> None:
    def amount(of: Month) -> int:
        single = {f"t{n}": Right(f"t{n}", "master", "2026-01", (Holder("A", f"P{n}", Fraction(1)),)) for n in range(5)}
        contracts = Book(book(PRO_RATA).payees, book(PRO_RATA).agreements, list(single.values()))
        return sum(
            line.amount_minor for line in month(of, [net, 0, 0], contracts).lines if line.track_id == f"t{track}"
        )

    assert amount([*rows, Plays(KEYS[0], "u9", f"t{track}", extra)]) >= amount(rows)


def paid_out(result: Settlement) -> dict[str, int]:
    """What each payee is paid, in minor units of EUR."""
    return {row.payee_id: row.amount_minor for row in result.entries if row.kind == "payable"}


def exact_pay_outs(result: Settlement) -> tuple[dict[str, Fraction], dict[str, Fraction]]:
    """By payee the exact amount in minor units of EUR, and how far rounding may take the pay-out from it.

    An allocation rounds the sum of a pool down, and so takes less than one unit from a line, and then gives or takes
    less than one more; a conversion rounds each currency once, by a half at most.
    """
    exact, slack = defaultdict[str, Fraction](Fraction), defaultdict[str, Fraction](Fraction)
    seen = set()
    for line in result.lines:
        if line.account == "payable":
            unit = convert(1, line.key.currency, "EUR", rate(RATES, PERIOD, line.key.currency, "EUR"))
            exact[line.payee_id] += unit * line.exact_minor
            slack[line.payee_id] += 2 * unit
            if (line.payee_id, line.key.currency) not in seen:
                seen.add((line.payee_id, line.key.currency))
                slack[line.payee_id] += Fraction(1, 2)
    return exact, slack


@given(plays, amounts, models, st.integers(2, 50))
def test_scaling_revenue_scales_pay_outs(rows: Month, nets: list[int], model: str, factor: int) -> None:
    """Exact amounts to the digit; what is paid to the unit that rounding allows, however large the factor."""
    contracts = book(model)
    once, scaled = month(rows, nets, contracts), month(rows, [net * factor for net in nets], contracts)
    for line, larger in zip(once.lines, scaled.lines, strict=True):
        assert larger.line_id == line.line_id
        assert larger.exact_minor == line.exact_minor * factor
        assert -2 < larger.amount_minor - line.exact_minor * factor < 1
    for pool, larger_pool in zip(once.pools, scaled.pools, strict=True):
        # A claim is the exact sum rounded down: scaling it before can win less than `factor` units.
        assert 0 <= larger_pool.claimed_minor - factor * pool.claimed_minor < factor
    exact, slack = exact_pay_outs(once)
    paid = paid_out(scaled)
    assert paid.keys() <= exact.keys()
    for payee, amount in exact.items():
        assert abs(paid.get(payee, 0) - factor * amount) <= slack[payee]


@given(plays, amounts, models, st.integers(2, 50))
def test_scaling_revenue_of_whole_claims_scales_pools_to_the_unit(
    rows: Month, nets: list[int], model: str, factor: int
) -> None:
    """With a share of one the claim of a pool is whole: all of it scales, and each line but for its own fraction."""
    contracts = book(model, share=Fraction(1))
    once, scaled = month(rows, nets, contracts), month(rows, [net * factor for net in nets], contracts)
    assert [pool.claimed_minor for pool in scaled.pools] == [factor * pool.claimed_minor for pool in once.pools]
    for line, larger in zip(once.lines, scaled.lines, strict=True):
        assert abs(larger.amount_minor - factor * line.exact_minor) < 1
        if line.exact_minor == line.amount_minor:
            assert larger.amount_minor == factor * line.amount_minor


@given(plays, plays, plays, amounts, models)
def test_restatements_net_to_the_difference(
    first: Month, second: Month, third: Month, nets: list[int], model: str
) -> None:
    contracts = book(model)
    closed, better, best = (month(rows, nets, contracts) for rows in (first, second, third))
    one = restate(closed, [], better, "2026-11", "late plays")
    two = restate(closed, one, best, "2026-12", "fraud")
    lines: dict[str, int] = defaultdict(int)
    for line in closed.lines:
        lines[line.line_id] += line.amount_minor
    for row in [*one, *two]:
        lines[row.corrects] += row.amount_minor
    assert {name: n for name, n in lines.items() if n} == {
        row.line_id: row.amount_minor for row in best.lines if row.amount_minor
    }
    assert restate(closed, [*one, *two], best, "2027-01", "again") == []
    revenue = [Revenue(PoolKey("2026-11", key.country, key.tier, key.currency), 0) for key in KEYS]
    result = settle("2026-11", revenue, [], contracts, RATES, closed.balances, one)
    booked = {row.refers_to for row in result.entries if row.kind in {"adjustment", "suspense"}}
    assert booked <= {row.corrects for row in one}


@given(plays, amounts, models, st.sets(st.integers(0, 24)))
def test_a_fraud_decision_after_the_close_is_adjusted_and_can_be_taken_back(
    rows: Month, nets: list[int], model: str, flagged: set[int]
) -> None:
    contracts = book(model)
    closed = month(rows, nets, contracts)
    honest = month([row for place, row in enumerate(rows) if place not in flagged], nets, contracts)
    out = restate(closed, [], honest, "2026-11", "flagged")
    names = {line.line_id: line.amount_minor for line in honest.lines}
    changed = {line.line_id for line in closed.lines if line.amount_minor != names.get(line.line_id, 0)}
    assert {row.corrects for row in out} == changed | {
        line.line_id
        for line in honest.lines
        if line.amount_minor and line.line_id not in {old.line_id for old in closed.lines}
    }
    back = restate(closed, out, closed, "2026-12", "not fraud after all")
    net: dict[str, int] = defaultdict(int)
    for row in [*out, *back]:
        net[row.corrects] += row.amount_minor
    assert not any(net.values())


@given(plays, amounts, models)
def test_an_account_is_the_sum_of_its_entries(rows: Month, nets: list[int], model: str) -> None:
    sums: dict[str, int] = defaultdict(int)
    for entry in month(rows, nets, book(model)).entries:
        sign = {"payable": -1, "suspense": 0}.get(entry.kind, 1)
        sums[entry.payee_id] += sign * entry.amount_minor
    assert not any(sums.values())


def test_a_period_goes_one_way() -> None:
    period = Period(PERIOD).calculate("d1").calculate("d2")
    with pytest.raises(RejectedInputError, match="anew"):
        period.approve("Ada", "d1")
    with pytest.raises(RejectedInputError, match="sign"):
        period.approve(" ", "d2")
    with pytest.raises(RejectedInputError, match="approved"):
        period.close(None)
    approved = period.approve("Ada", "d2")
    assert approved.calculate("d2") == approved
    with pytest.raises(RejectedInputError, match="don't change"):
        approved.calculate("d3")
    with pytest.raises(RejectedInputError, match="2026-09 must be closed"):
        approved.close(Period("2026-09"))
    assert approved.reject() == Period(PERIOD)
    closed = approved.close(None)
    assert closed.calculate("d2") == closed
    for step in (
        lambda: closed.close(None),
        lambda: closed.approve("Ada", "d2"),
        lambda: closed.calculate("d3"),
        closed.reject,
    ):
        with pytest.raises(RejectedInputError, match="closed") as refusal:
            step()
        assert refusal.value.reason == "closed"


def test_a_month_is_not_settled_on_balances_of_another() -> None:
    result = month([Plays(KEYS[0], "u0", "t0", 1)], [1000, 0, 0], book(PRO_RATA))
    with pytest.raises(RejectedInputError, match="wrong_period"):
        settle(PERIOD, [], [], book(PRO_RATA), RATES, result.balances)
    with pytest.raises(RejectedInputError, match="own figures"):
        restate(result, [], result, PERIOD, "nothing")
