"""What finance reports about the simulated audience, and a month reported wrongly."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.domain.royalties.iso import minor_from_micros
from lakehouse.domain.royalties.pools import PoolKey, Revenue
from lakehouse.domain.royalties.revenue_file import AMOUNTS
from lakehouse.domain.simulation.world import FEES_PERCENT, MARKETS, Market

FREE, PREMIUM = "free", "premium"
INFLATION = 100


def revenue(first_day: date, last_day: date, users: pa.Table, impressions: pa.Table) -> list[Revenue]:
    """Revenue of each month from `first_day` to `last_day` (inclusive, UTC) by market and product.

    Premium: the market's net monthly price for every user's premium days in the month, and the taxes and fees on top
    of it; subscribers are those with a premium day. Free: the price of the ads shown, each once and none to bots, as
    the ledger knows them; advertisers are billed without tax. Fractions of a minor unit are dropped once an amount.
    Columns of `users` and `impressions` are those of the truth ledger.
    """
    good = impressions.filter(
        pc.and_(
            pc.is_null(impressions["defect"]), pc.invert(pc.or_(impressions["is_duplicate"], impressions["is_bot"]))
        )
    )
    months = pc.strftime(good["shown_at"], "%Y-%m")
    spent = pa.table({"period": months, "country": good["country"], "cost": good["cost_micros"]})
    by_market = spent.group_by(["period", "country"]).aggregate([("cost", "sum")]).to_pylist()
    micros = {(row["period"], row["country"]): row["cost_sum"] for row in by_market}
    since = users["premium_from"].to_numpy(zero_copy_only=False).astype("datetime64[D]")
    country = users["country"].to_numpy(zero_copy_only=False)
    lines = []
    for begin, end in _months(first_day, last_day):
        period, length = f"{begin:%Y-%m}", monthrange(begin.year, begin.month)[1]
        # Not-a-time (never premium) compares false with everything.
        began = np.maximum(since, np.datetime64(begin))
        days = np.where(since <= np.datetime64(end), (np.datetime64(end) - began).astype(np.int64) + 1, 0)
        for market in MARKETS:
            ads = minor_from_micros(micros.get((period, market.country), 0), market.currency)
            free = PoolKey(period, market.country, FREE, market.currency)
            of_market = days[country == market.country]
            lines += [
                Revenue(free, subscription_minor=0, advertising_minor=ads),
                _subscriptions(market, period, int(of_market.sum()), length, int((of_market > 0).sum())),
            ]
    return lines


def _subscriptions(market: Market, period: str, premium_days: int, length: int, subscribers: int) -> Revenue:
    """What subscribers paid: the net price, the fees of those who collect it, and the tax on both."""
    net = market.premium_price_minor * premium_days // length
    fees = net * FEES_PERCENT // 100
    taxes = (net + fees) * market.tax_percent // 100
    return Revenue(
        PoolKey(period, market.country, PREMIUM, market.currency),
        subscription_minor=net + fees + taxes,
        taxes_minor=taxes,
        fees_minor=fees,
        subscribers=subscribers,
    )


def spoiled(lines: list[Revenue]) -> list[Revenue]:
    """A month as a faulty export would deliver it: well-formed, with a matching control total, and wrong.

    The market with the least revenue is missing, the one with the most is a hundred times too high, and one that has
    its own currency is reported in another's.
    """
    totals: dict[str, int] = {}
    for line in lines:
        totals[line.key.country] = totals.get(line.key.country, 0) + line.net_minor
    ranked = sorted(totals, key=lambda place: (totals[place], place))
    missing, inflated = ranked[0], ranked[-1]
    foreign = next((place for place in ("GB", "JP", "US") if place not in (missing, inflated)), None)
    wrong = []
    for line in lines:
        country = line.key.country
        if country == missing and len(ranked) > 1:
            continue
        if country == inflated:
            money = (name for name in AMOUNTS if name.endswith("_minor"))
            wrong.append(replace(line, **{name: getattr(line, name) * INFLATION for name in money}))
        elif country == foreign:
            wrong.append(replace(line, key=replace(line.key, currency="EUR")))
        else:
            wrong.append(line)
    return wrong


def _months(first_day: date, last_day: date) -> list[tuple[date, date]]:
    """First and last day of the interval in each calendar month it touches."""
    spans = []
    begin = first_day
    while begin <= last_day:
        end = min(date(begin.year, begin.month, monthrange(begin.year, begin.month)[1]), last_day)
        spans.append((begin, end))
        begin = end + timedelta(days=1)
    return spans
