"""How a pool of money is shared out: the one rounding rule of the platform.

Largest remainder (Hamilton's method): everyone gets the whole minor units of their exact share; the units that are left
go, one each, to the largest fractions. The parts add up to the pool, and nobody is more than one unit away from their
exact share. The SQL twin is dbt/models/marts/royalties/royalties.sql.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import lcm
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Any)  # what can be sorted: an int, a str, a tuple of them


def exact_sum(values: Iterable[int | Fraction]) -> Fraction:
    """The sum of many numbers with few denominators: integers are added up, not fractions."""
    numerators: dict[int, int] = {}
    for value in values:
        numerator, denominator = value.as_integer_ratio()
        numerators[denominator] = numerators.get(denominator, 0) + numerator
    return exact_total(numerators)


def exact_total(numerators: Mapping[int, int]) -> Fraction:
    """The sum of fractions that were added up by denominator already: `numerators` by their denominators."""
    common = lcm(*numerators)
    return Fraction(sum(number * (common // denominator) for denominator, number in numerators.items()), common)


def allocate(pool_minor: int, weights: Mapping[Key, int | Fraction]) -> dict[Key, int]:
    """Share `pool_minor` (minor units of one currency) by `weights`; exact, integers and fractions only.

    Equal fractions are served in the order of the key, so that the result never depends on the order of the input.
    Without any weight nothing is allocated.

    Raises:
        ValueError: the pool or a weight is negative.
    """
    if pool_minor < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("a pool and its weights can't be negative")
    total = exact_sum(weights.values())
    if total == 0:
        return dict.fromkeys(weights, 0)
    # Fractions with denominators below 2**b that differ do so by more than 2**-2b: as integers they compare exactly.
    bits = 2 * (max(weight.denominator for weight in weights.values()).bit_length() + total.numerator.bit_length())
    parts: dict[Key, int] = {}
    fractions: list[int] = []  # a pool can have millions: no more than a number each is held
    for key, weight in weights.items():
        denominator = weight.denominator * total.numerator  # of pool x weight / total
        parts[key], rest = divmod(pool_minor * weight.numerator * total.denominator, denominator)
        fractions.append((rest << bits) // denominator)
    left = pool_minor - sum(parts.values())
    if left == 0:
        return parts
    least = sorted(fractions, reverse=True)[left - 1]
    for key, fraction in zip(weights, fractions, strict=True):
        if fraction > least:
            parts[key] += 1
            left -= 1
    equals = sorted(key for key, fraction in zip(weights, fractions, strict=True) if fraction == least)
    for key in equals[:left]:
        parts[key] += 1
    return parts
