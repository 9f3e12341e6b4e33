from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.domain.royalties import terms
from lakehouse.domain.royalties.allocation import allocate

weights = st.dictionaries(st.integers(1, 2**63 - 1), st.integers(0, 10**12), min_size=1, max_size=30)


@given(st.integers(0, 10**15), weights)
def test_every_minor_unit_is_given_away_and_nobody_is_a_unit_off(pool: int, shares: dict[int, int]) -> None:
    parts = allocate(pool, shares)
    total = sum(shares.values())
    assert sum(parts.values()) == (pool if total else 0)
    for key, part in parts.items():
        assert abs(part - (Fraction(pool * shares[key], total) if total else 0)) < 1


@given(st.integers(0, 10**6), weights, st.randoms())
def test_the_order_of_the_input_does_not_matter(pool: int, shares: dict[int, int], random: object) -> None:
    items = list(shares.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert allocate(pool, dict(items)) == allocate(pool, shares)


#: Shares whose parts of a pool are equal, or differ in their hundredth bit only.
close = st.builds(
    lambda whole, more, under: Fraction(whole * 2**100 + more, 2**100 + under),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(-1, 1),
)


@given(st.integers(0, 100), st.dictionaries(st.integers(1, 99), close, min_size=1, max_size=12))
def test_the_largest_fractions_are_served_first_however_close_they_are(pool: int, shares: dict[int, Fraction]) -> None:
    total = sum(shares.values())
    exact = {key: pool * share / total if total else Fraction(0) for key, share in shares.items()}
    expected = {key: int(part) for key, part in exact.items()}
    left = (pool if total else 0) - sum(expected.values())
    for key in sorted(exact, key=lambda key: (expected[key] - exact[key], key))[:left]:
        expected[key] += 1
    assert allocate(pool, shares) == expected


def test_equal_fractions_are_served_by_key() -> None:
    assert allocate(100, {3: 1, 1: 1, 2: 1}) == {1: 34, 2: 33, 3: 33}
    assert allocate(10, {1: 1, 2: 4, 3: 6}) == {1: 1, 2: 4, 3: 5}


@pytest.mark.parametrize(("pool", "shares"), [(-1, {1: 1}), (1, {1: -1})])
def test_negative_money_or_weights_are_refused(pool: int, shares: dict[int, int]) -> None:
    with pytest.raises(ValueError, match="negative"):
        allocate(pool, shares)


def test_the_pool_is_the_share_of_revenue_and_the_platform_keeps_the_fraction() -> None:
    assert terms.share_bps("2026-10") == 7000
    assert terms.pool_minor(101, "2026-10") == 70
    with pytest.raises(KeyError):
        terms.share_bps("1999-12")
