"""What a month brought in, by pool, and what one currency was worth in another.

A pool is a period, country, product tier and currency. Its net revenue is what subscribers and advertisers paid, less
taxes and fees; which part of it goes to rights holders is said by their contracts (contracts.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from lakehouse.domain.royalties.iso import COUNTRIES, DECIMALS
from lakehouse.errors import RejectedInputError

_PERIOD = re.compile(r"20\d\d-(0[1-9]|1[0-2])")


@dataclass(frozen=True, order=True)
class PoolKey:
    """A pool of money: month `YYYY-MM`, country (ISO 3166-1), tier (a plan, or ad-supported), currency (ISO 4217)."""

    period: str
    country: str
    tier: str
    currency: str

    def __str__(self) -> str:
        return "/".join((self.period, self.country, self.tier, self.currency))


@dataclass(frozen=True, order=True)
class Revenue:
    """The revenue of a pool in minor units of its currency; `subscribers` are those who paid in the period."""

    key: PoolKey
    subscription_minor: int
    advertising_minor: int = 0
    taxes_minor: int = 0
    fees_minor: int = 0
    subscribers: int = 0

    @property
    def net_minor(self) -> int:
        """What is left of all revenue after taxes and fees."""
        return self.subscription_minor + self.advertising_minor - self.taxes_minor - self.fees_minor


@dataclass(frozen=True, order=True)
class ExchangeRate:
    """On `day` (YYYY-MM-DD) one unit of `base` was worth `rate` units of `quote`; `source` says who published it."""

    day: str
    base: str
    quote: str
    rate: Fraction
    source: str = ""


def check_revenue(revenue: Iterable[Revenue], period: str) -> dict[PoolKey, Revenue]:
    """The revenue of `period` by pool, in order.

    Raises:
        RejectedInputError: with the row (from 1) and reason: bad_period, unknown_country, unknown_currency,
            negative_amount, negative_net, duplicate_pool.
    """
    pools: dict[PoolKey, Revenue] = {}
    for number, row in enumerate(revenue, start=1):
        amounts = (
            row.subscription_minor,
            row.advertising_minor,
            row.taxes_minor,
            row.fees_minor,
            row.subscribers,
        )
        key = row.key
        for is_good, reason, rule in (
            (key.period == period and _PERIOD.fullmatch(period), "bad_period", f"must be of the month {period}"),
            (key.country in COUNTRIES, "unknown_country", "must be an ISO 3166-1 alpha-2 code"),
            (key.currency in DECIMALS, "unknown_currency", "must be an ISO 4217 code"),
            (min(amounts) >= 0, "negative_amount", "no amount may be below zero"),
            (row.net_minor >= 0, "negative_net", "taxes and fees exceed the revenue"),
            (key not in pools, "duplicate_pool", "this pool came before"),
        ):
            if not is_good:
                raise RejectedInputError(
                    f"Revenue, row {number} ({key}): {rule}.",
                    reason=reason,
                    value=str(key),
                    hint="Ask finance for corrected figures; nothing of these was taken.",
                )
        pools[key] = row
    return dict(sorted(pools.items()))


def rate(rates: Iterable[ExchangeRate], period: str, base: str, quote: str) -> Fraction:
    """Units of `quote` for one unit of `base`: the last rate of month `period`, or the inverse of the opposite pair.

    Raises:
        RejectedInputError: no rate of that month (missing_rate), two for one day (ambiguous_rate), one that isn't above
            zero (bad_rate).
    """
    if base == quote:
        return Fraction(1)
    found: dict[str, Fraction] = {}
    for row in rates:
        if row.day[:7] != period or {row.base, row.quote} != {base, quote}:
            continue
        if row.rate <= 0:
            raise _no_rate(period, base, quote, "bad_rate", f"the rate of {row.day} isn't above zero")
        value = row.rate if row.base == base else 1 / row.rate
        if found.setdefault(row.day, value) != value:
            raise _no_rate(period, base, quote, "ambiguous_rate", f"two rates for {row.day}")
    if not found:
        raise _no_rate(period, base, quote, "missing_rate", "no rate of that month")
    return found[max(found)]


def _no_rate(period: str, base: str, quote: str, reason: str, rule: str) -> RejectedInputError:
    return RejectedInputError(
        f"Exchange rate {base}/{quote} for {period}: {rule}.",
        reason=reason,
        value=f"{base}/{quote}",
        hint="Add the published rate with its day and source to the exchange rates.",
    )


def convert(minor: int | Fraction, base: str, quote: str, unit_rate: Fraction) -> Fraction:
    """`minor` units of `base` in minor units of `quote`, exact; `unit_rate` is between whole units of both."""
    return Fraction(minor) * unit_rate * minor_units(quote) / minor_units(base)


def minor_units(currency: str) -> int:
    """Minor units in one unit of `currency`."""
    units: int = 10 ** DECIMALS[currency]
    return units


def add_months(period: str, months: int) -> str:
    """The month `months` after `period` (YYYY-MM)."""
    year, month = divmod(int(period[:4]) * 12 + int(period[5:]) - 1 + months, 12)
    return f"{year:04d}-{month + 1:02d}"


def months_between(first: str, last: str) -> int:
    """How many months `last` is after `first`."""
    return int(last[:4]) * 12 + int(last[5:]) - int(first[:4]) * 12 - int(first[5:])
