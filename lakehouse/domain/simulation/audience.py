"""Who listens: market, time zone, product, habits and taste of each user."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakehouse.domain.ids import Int64s, entity_ids
from lakehouse.domain.simulation.scenario import DAY_MS, Scenario, Tracks
from lakehouse.domain.simulation.world import DEVICE_SHARE, MARKETS

BOT_SHARE = 0.005
#: Of those who begin on the free product, how many buy premium on some day of the interval.
UPGRADE_SHARE = 0.05
SESSIONS_PER_DAY = 0.86
SESSIONS_SPREAD = 0.8
MAX_SESSIONS_PER_DAY = 6.0
TASTES = 6
FAVOURITES = 5
POPULARITY_EXPONENT = 0.9
HOUR_MS = 3_600_000

Floats = NDArray[np.float64]

ZONES = tuple(dict.fromkeys(zone for market in MARKETS for zone, _ in market.zones))


@dataclass(frozen=True, eq=False)
class Audience:
    """All users as columns; the n-th entry of each is the n-th user."""

    user_id: Int64s
    market: Int64s
    zone: Int64s
    is_bot: NDArray[np.bool_]
    premium_from_day: Int64s
    """Day of the interval, counted from 0, from which the user is premium; beyond the interval if never."""
    sessions_per_day: Floats
    skips: Floats
    """Chance that the user skips a track."""
    device: Int64s
    player: Int64s

    def __len__(self) -> int:
        """Number of users."""
        return len(self.user_id)

    def table(self, scenario: Scenario) -> pa.Table:
        """The users for the ledger: id, market, time zone, first premium day (null if never) and whether a bot."""
        never = self.premium_from_day >= scenario.days
        since = [
            None if free else scenario.start + timedelta(days=max(int(day), 0))
            for day, free in zip(self.premium_from_day, never, strict=True)
        ]
        return pa.table(
            {
                "user_id": self.user_id,
                "country": [MARKETS[m].country for m in self.market],
                "time_zone": [ZONES[z] for z in self.zone],
                "premium_from": pa.array(since, pa.date32()),
                "is_bot": self.is_bot,
            }
        )


def audience(scenario: Scenario) -> Audience:
    """The users of `scenario`."""
    rng = scenario.rng("audience")
    count = scenario.users
    # Registered some time in the three years before, one millisecond apart at least: distinct moments, distinct ids.
    registered = np.sort(rng.integers(scenario.start_ms - 3 * 365 * DAY_MS, scenario.start_ms - DAY_MS, size=count))
    user_id = entity_ids(registered + np.arange(count), rng)
    market = rng.choice(len(MARKETS), size=count, p=_shares([m.weight for m in MARKETS])).astype(np.int64)
    zone = np.empty(count, dtype=np.int64)
    for index, place in enumerate(MARKETS):
        here = market == index
        known = [ZONES.index(name) for name, _ in place.zones]
        zone[here] = rng.choice(known, size=int(here.sum()), p=_shares([share for _, share in place.zones]))
    is_bot = np.zeros(count, dtype=np.bool_)
    is_bot[rng.choice(count, size=min(count, max(1, round(count * BOT_SHARE))), replace=False)] = True
    never = scenario.days + 1
    pays = rng.random(count) < np.array([m.premium_share for m in MARKETS])[market]
    upgrades = rng.random(count) < UPGRADE_SHARE
    premium_from = np.where(pays, -1, np.where(upgrades, rng.integers(0, scenario.days, size=count), never))
    mean = np.log(SESSIONS_PER_DAY) - SESSIONS_SPREAD**2 / 2
    return Audience(
        user_id=user_id,
        market=market,
        zone=zone,
        is_bot=is_bot,
        premium_from_day=np.where(is_bot, never, premium_from).astype(np.int64),
        sessions_per_day=np.minimum(rng.lognormal(mean, SESSIONS_SPREAD, size=count), MAX_SESSIONS_PER_DAY),
        skips=rng.beta(2, 5, size=count),
        device=rng.choice(len(DEVICE_SHARE), size=count, p=DEVICE_SHARE).astype(np.int64),
        player=rng.integers(0, 3, size=count),
    )


@dataclass(frozen=True, eq=False)
class Taste:
    """What users like to hear: a mixture of a few tastes, each with its own long-tailed charts, and favourites."""

    by_user: Floats
    """Cumulative chance of each taste, a row a user."""
    charts: tuple[Int64s, ...]
    """Tracks of each taste, the most popular first."""
    chances: tuple[Floats, ...]
    """Cumulative chance of the tracks of each taste."""
    favourites: Int64s
    """Tracks each user returns to, a row a user; one may stand twice, which only makes it dearer."""

    def pick(self, user: Int64s, rng: np.random.Generator) -> Int64s:
        """One track (index into the catalogue) for each entry of `user`, without regard to favourites."""
        taste = (rng.random(len(user))[:, None] > self.by_user[user]).sum(axis=1)
        track = np.empty(len(user), dtype=np.int64)
        for index, (chart, chance) in enumerate(zip(self.charts, self.chances, strict=True)):
            here = taste == index
            track[here] = chart[np.searchsorted(chance, rng.random(int(here.sum())))]
        return track


def taste(scenario: Scenario, users: int, tracks: Tracks) -> Taste:
    """Popularity falls with rank as rank^-0.9 over the whole catalogue; an artist belongs to one taste."""
    rng = scenario.rng("taste")
    rank = rng.permutation(len(tracks))
    weight = (rank + 1.0) ** -POPULARITY_EXPONENT
    groups = tracks.artist % TASTES
    present = np.unique(groups)
    charts, chances, totals = [], [], []
    for group in present:
        chart = np.flatnonzero(groups == group)
        chart = chart[np.argsort(rank[chart])].astype(np.int64)
        cumulative = np.cumsum(weight[chart])
        charts.append(chart)
        # The last entry is exactly 1, so that no draw from [0, 1) can fall behind it.
        chances.append(cumulative / cumulative[-1])
        totals.append(cumulative[-1])
    mixture = np.cumsum(rng.gamma(0.7, size=(users, len(present))) * np.array(totals) + 1e-12, axis=1)
    draft = Taste(mixture / mixture[:, -1:], tuple(charts), tuple(chances), np.empty((users, 0), dtype=np.int64))
    favourites = draft.pick(np.repeat(np.arange(users), FAVOURITES), rng).reshape(users, FAVOURITES)
    return Taste(draft.by_user, draft.charts, draft.chances, favourites)


@dataclass(frozen=True, eq=False)
class Clock:
    """Offsets of all time zones from UTC, by hour of local time, over the interval and a day on either side."""

    scenario: Scenario

    @cached_property
    def _offset_ms(self) -> Int64s:
        first = datetime.fromtimestamp(self.scenario.start_ms / 1000 - 86_400, tz=UTC)
        hours = [(first + timedelta(hours=h)).replace(tzinfo=None) for h in range((self.scenario.days + 2) * 24)]
        table = np.empty((len(ZONES), len(hours)), dtype=np.int64)
        for row, name in enumerate(ZONES):
            zone = ZoneInfo(name)
            offsets = [hour.replace(tzinfo=zone).utcoffset() or timedelta() for hour in hours]
            table[row] = [offset // timedelta(milliseconds=1) for offset in offsets]
        return table

    def utc_ms(self, local_ms: Int64s, zone: Int64s) -> Int64s:
        """Milliseconds since 1970 UTC of local wall times given as if they were UTC.

        An hour that does not exist or exists twice is read with the offset before the change.
        """
        hour = (local_ms - (self.scenario.start_ms - DAY_MS)) // HOUR_MS
        moment: Int64s = local_ms - self._offset_ms[zone, hour]
        return moment


def _shares(weights: list[float]) -> Floats:
    shares: Floats = np.array(weights) / sum(weights)
    return shares
