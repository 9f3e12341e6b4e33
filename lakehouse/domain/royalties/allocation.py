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
#: Fractions whose first so many bits differ need no closer look.
_HEAD_BITS = 60


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

    def cut(weight: int | Fraction) -> tuple[int, int, int]:
        """Pool x weight / total: the whole units, and the numerator and denominator of what is left of it."""
        denominator = weight.denominator * total.numerator
        return *divmod(pool_minor * weight.numerator * total.denominator, denominator), denominator

    parts: dict[Key, int] = {}
    heads: list[int] = []  # the first bits of each fraction: a pool can have millions, each of thousands of bits
    for key, weight in weights.items():
        parts[key], rest, denominator = cut(weight)
        heads.append((rest << _HEAD_BITS) // denominator)
    left = pool_minor - sum(parts.values())
    if left == 0:
        return parts
    least = sorted(heads, reverse=True)[left - 1]
    equals: list[Key] = []
    for key, head in zip(weights, heads, strict=True):
        if head > least:
            parts[key] += 1
            left -= 1
        elif head == least:
            equals.append(key)
    # Fractions with denominators below 2**b that differ do so by more than 2**-2b: as integers they compare exactly.
    bits = 2 * (max(weights[key].denominator for key in equals).bit_length() + total.numerator.bit_length())

    def order(key: Key) -> tuple[int, Key]:
        _, rest, denominator = cut(weights[key])
        return -((rest << bits) // denominator), key

    for key in sorted(equals, key=order)[:left]:
        parts[key] += 1
    return parts
