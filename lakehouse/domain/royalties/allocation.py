"""How a pool of money is shared out: the one rounding rule of the platform.

Largest remainder (Hamilton's method): everyone gets the whole minor units of their exact share; the units that are left
go, one each, to the largest fractions. The parts add up to the pool, and nobody is more than one unit away from their
exact share. The SQL twin is dbt/models/marts/royalties/royalties.sql.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Any)  # what can be sorted: an int, a str, a tuple of them


def allocate(pool_minor: int, weights: Mapping[Key, int | Fraction]) -> dict[Key, int]:
    """Share `pool_minor` (minor units of one currency) by `weights`; exact, integers and fractions only.

    Equal fractions are served in the order of the key, so that the result never depends on the order of the input.
    Without any weight nothing is allocated.

    Raises:
        ValueError: the pool or a weight is negative.
    """
    if pool_minor < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("a pool and its weights can't be negative")
    total = sum(weights.values())
    if total == 0:
        return dict.fromkeys(weights, 0)
    parts: dict[Key, int] = {}
    fractions: dict[Key, int | Fraction] = {}
    for key, weight in weights.items():
        parts[key], fractions[key] = divmod(pool_minor * weight, total)
    left = pool_minor - sum(parts.values())
    for key in sorted(weights, key=lambda key: (-fractions[key], key))[:left]:
        parts[key] += 1
    return parts
