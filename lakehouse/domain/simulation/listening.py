"""Sessions and plays of people, and the bursts of automata.

Both give `Plays`, columns of equal length. Moments are in milliseconds (players) or microseconds (platform) since 1970
UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakehouse.domain.ids import Int64s, uuid7_texts
from lakehouse.domain.simulation.audience import Audience, Clock, Floats, Taste
from lakehouse.domain.simulation.scenario import DAY_MS, MAX_LATE_DAYS, Scenario, Tracks
from lakehouse.domain.simulation.world import (
    BOT_PLAYERS,
    COARSE_DEVICE,
    CONTEXT_SHARE,
    CONTEXTS,
    DEVICE_SHARE,
    DEVICES,
    HOURS_WEEKEND,
    HOURS_WORKDAY,
    OFFLINE_DEVICES,
    PLAYERS,
    WEEKDAYS,
)

PLAYS_PER_SESSION = 5.6
MAX_PLAYS_PER_SESSION = 80
FAVOURITE_SHARE = 0.35
OTHER_DEVICE_SHARE = 0.2
#: Sessions without a connection, among those that could be.
OFFLINE_SHARE = 0.072
#: Most devices are back online within days; some travel for longer than a late delivery is allowed.
MEAN_OFFLINE_MS = 30 * 3_600_000
MEAN_JOURNEY_MS = 10 * DAY_MS
JOURNEY_SHARE = 0.1
TRACKS_BETWEEN_ADS = 3
AD_LENGTHS_MS = np.array([15_000, 20_000, 30_000])
LATENCY_MEDIAN_MS = 350
MEAN_SKIP_MS = 14_000
MIN_PLAY_MS = 250
#: Plays after which the user does something else before the next track, and how long.
PAUSE_SHARE = 0.04
MEAN_PAUSE_MS = 60_000
#: Sessions that end in the middle of a track; of all draws, those that end in a crash or by signing out.
STOP_SHARE = 0.62
CRASH_SHARE = 0.03
LOGOUT_SHARE = 0.04
BACK_SHARE = 0.1
APPLOAD_SHARE = 0.25
BOT_PLAYS_PER_DAY = 80
BOT_BURST = 40
#: Bots play just long enough to be paid for.
BOT_LEAST_MS = 30_500
BOT_MOST_MS = 45_000
BOT_SHARE_WITH_AD = 0.1
SATURDAY = 5
#: What farms of accounts do, under the name of the rule that should catch it; 0 is everybody else. Their players lie
#: about what they are.
ARTIFICIAL = (None, "overlapping-plays", "track-loop", "shared-device")
OVERLAPPING, LOOPING, SHARING = 1, 2, 3
#: Smaller audiences have no farms, which would be too large a part of them.
LEAST_USERS_WITH_FARMS = 100
USERS_PER_FARM = 1000
ACCOUNTS_ON_A_DEVICE = 12
FARM_DAYS = 0.15
#: Plays of an account on a day, the time from one start to the next, and the hour at which they begin.
FARM_PLAYS = {OVERLAPPING: 60, LOOPING: 120, SHARING: 6}
FARM_STEP_MS = {OVERLAPPING: 4_000, LOOPING: 33_000, SHARING: 90_000}
FARM_HOUR = {OVERLAPPING: 5, LOOPING: 2, SHARING: 9}

REASONS_START = ("clickrow", "trackdone", "fwdbtn", "backbtn", "appload", "autoplay")
REASONS_END = ("trackdone", "fwdbtn", "backbtn", "endplay", "logout", "unexpected-exit")
CLICKROW, TRACKDONE_START, FWD_START, BACK_START, APPLOAD, AUTOPLAY = range(6)
TRACKDONE, FWD, BACK, ENDPLAY, LOGOUT, CRASH = range(6)
RADIO = CONTEXTS.index("radio")

#: Players of people by device (three each), then those of bots.
ALL_PLAYERS = (*(name for device in DEVICES for name in PLAYERS[device]), *BOT_PLAYERS)

Bools = NDArray[np.bool_]


@dataclass(eq=False)
class Plays:
    """Plays as columns; indices refer to the audience, the catalogue and the vocabularies of this module."""

    user: Int64s
    track: Int64s
    session: Int64s
    session_start_ms: Int64s
    played_ms: Int64s
    received_us: Int64s
    ms_played: Int64s
    reason_start: Int64s
    reason_end: Int64s
    context: Int64s
    device: Int64s
    player: Int64s
    is_premium: Bools
    is_offline: Bools
    is_bot: Bools
    ad_after_ms: Int64s
    """Length of the ad that follows the play, 0 without one."""
    artificial: Int64s
    """Index into ARTIFICIAL."""

    def take(self, which: Int64s | Bools) -> Plays:
        """The plays at these positions, or those for which a mask holds."""
        return Plays(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    @classmethod
    def concat(cls, first: Plays, second: Plays) -> Plays:
        """The plays of both; sessions of `second` are renumbered after those of `first`."""
        shift = int(first.session.max(initial=-1)) + 1
        parts = {f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(cls)}
        parts["session"] = np.concatenate([first.session, second.session + shift])
        return cls(**parts)

    def session_ids(self, rng: np.random.Generator) -> pa.StringArray:
        """A UUIDv7 for each play's session, from the start of the session."""
        _, first, inverse = np.unique(self.session, return_index=True, return_inverse=True)
        return uuid7_texts(self.session_start_ms[first], rng).take(pa.array(inverse))


def people(scenario: Scenario, crowd: Audience, tracks: Tracks, liking: Taste) -> Plays:
    """Plays of everybody who is not a bot."""
    rng = scenario.rng("people")
    owner, start_ms, day = _sessions(scenario, crowd, rng)
    plays_in = np.minimum(rng.geometric(1 / PLAYS_PER_SESSION, size=len(owner)), MAX_PLAYS_PER_SESSION)
    session = np.repeat(np.arange(len(owner)), plays_in)
    user = owner[session]
    first_of = np.cumsum(plays_in) - plays_in
    nth = np.arange(len(session)) - first_of[session]
    is_last = nth == plays_in[session] - 1

    device_of = np.where(
        rng.random(len(owner)) < OTHER_DEVICE_SHARE,
        rng.choice(len(DEVICES), size=len(owner), p=DEVICE_SHARE),
        crowd.device[owner],
    ).astype(np.int64)
    context_of = rng.choice(len(CONTEXTS), size=len(owner), p=CONTEXT_SHARE).astype(np.int64)
    premium_of = day >= crowd.premium_from_day[owner]
    portable = np.isin(device_of, [DEVICES.index(d) for d in OFFLINE_DEVICES])
    offline_of = premium_of & portable & (rng.random(len(owner)) < OFFLINE_SHARE)

    favourite = rng.random(len(session)) < FAVOURITE_SHARE
    dear = liking.favourites[user, rng.integers(0, liking.favourites.shape[1], size=len(session))]
    track = np.where(favourite, dear, liking.pick(user, rng))
    duration = tracks.duration_ms[track]
    ms_played, reason_end = _outcome(
        crowd.skips[user] * np.where(favourite, 0.5, 1.0), duration, is_last, device_of[session], rng
    )
    reason_start = _reason_start(nth, reason_end, context_of[session], rng)

    ad = np.where(
        ~premium_of[session] & ~is_last & (nth % TRACKS_BETWEEN_ADS == TRACKS_BETWEEN_ADS - 1),
        rng.choice(AD_LENGTHS_MS, size=len(session)),
        0,
    )
    pause = np.where(
        rng.random(len(session)) < PAUSE_SHARE, rng.exponential(MEAN_PAUSE_MS, size=len(session)), 0
    ).astype(np.int64)
    wall = ms_played + ad + pause + rng.integers(40, 900, size=len(session))
    before = np.cumsum(wall) - wall
    length_of = np.add.reduceat(wall, first_of)
    start_ms = _one_at_a_time(owner, start_ms, length_of)
    played_ms = start_ms[session] + before - before[first_of][session]
    latency_us = (rng.lognormal(np.log(LATENCY_MEDIAN_MS), 0.6, size=len(session)) * 1000).astype(np.int64)
    received_us = (played_ms + ms_played) * 1000 + latency_us
    # A device delivers all it recorded when it is online again.
    away = np.where(rng.random(len(owner)) < JOURNEY_SHARE, MEAN_JOURNEY_MS, MEAN_OFFLINE_MS)
    reconnect_ms = start_ms + length_of + (rng.exponential(size=len(owner)) * away).astype(np.int64)
    latest_ms = played_ms + MAX_LATE_DAYS * DAY_MS - 1
    delivered_us = np.minimum(reconnect_ms[session], latest_ms) * 1000 + nth
    is_offline = offline_of[session]
    plays = Plays(
        user=user,
        track=track,
        session=session,
        session_start_ms=start_ms[session],
        played_ms=played_ms,
        received_us=np.where(is_offline, np.maximum(received_us, delivered_us), received_us),
        ms_played=ms_played,
        reason_start=reason_start,
        reason_end=reason_end,
        context=context_of[session],
        device=device_of[session],
        player=device_of[session] * 3 + crowd.player[user],
        is_premium=premium_of[session],
        is_offline=is_offline,
        is_bot=np.zeros(len(session), dtype=np.bool_),
        ad_after_ms=ad,
        artificial=np.zeros(len(session), dtype=np.int64),
    )
    return plays.take((played_ms >= scenario.start_ms) & (played_ms + wall < scenario.end_ms))


def bots(scenario: Scenario, crowd: Audience, tracks: Tracks) -> Plays:
    """Plays of bots: bursts on two tracks each, just long enough to be paid for, begun every few seconds."""
    rng = scenario.rng("bots")
    who = np.flatnonzero(crowd.is_bot)
    bursts = rng.poisson(BOT_PLAYS_PER_DAY / BOT_BURST * scenario.days, size=len(who))
    owner = np.repeat(who, bursts)
    start_ms = rng.integers(scenario.start_ms, max(scenario.end_ms - 600_000, scenario.start_ms + 1), size=len(owner))
    session = np.repeat(np.arange(len(owner)), BOT_BURST)
    user = owner[session]
    nth = np.tile(np.arange(BOT_BURST), len(owner))
    step = rng.integers(1_500, 4_000, size=len(session))
    played_ms = start_ms[session] + nth * 4_000 + step
    paying = np.flatnonzero(tracks.duration_ms >= BOT_LEAST_MS)
    targets = rng.choice(paying if len(paying) else np.arange(len(tracks)), size=(len(crowd), 2))
    track = targets[user, rng.integers(0, 2, size=len(session))]
    duration = tracks.duration_ms[track]
    ms_played = np.minimum(rng.integers(BOT_LEAST_MS, BOT_MOST_MS, size=len(session)), duration)
    latency_us = (rng.lognormal(np.log(LATENCY_MEDIAN_MS), 0.3, size=len(session)) * 1000).astype(np.int64)
    same = np.full(len(session), 1)
    plays = Plays(
        user=user,
        track=track,
        session=session,
        session_start_ms=start_ms[session],
        played_ms=played_ms,
        received_us=(played_ms + ms_played) * 1000 + latency_us,
        ms_played=ms_played,
        reason_start=same * CLICKROW,
        reason_end=np.where(ms_played == duration, TRACKDONE, FWD),
        context=same * CONTEXTS.index("playlist"),
        device=same * DEVICES.index("desktop"),
        player=len(ALL_PLAYERS) - len(BOT_PLAYERS) + user % len(BOT_PLAYERS),
        is_premium=np.zeros(len(session), dtype=np.bool_),
        is_offline=np.zeros(len(session), dtype=np.bool_),
        is_bot=np.ones(len(session), dtype=np.bool_),
        ad_after_ms=np.where(rng.random(len(session)) < BOT_SHARE_WITH_AD, AD_LENGTHS_MS[0], 0),
        artificial=np.zeros(len(session), dtype=np.int64),
    )
    return plays.take(played_ms + ms_played + plays.ad_after_ms < scenario.end_ms)


def farm_accounts(scenario: Scenario, crowd: Audience) -> tuple[Int64s, Int64s]:
    """Users (indices) that are run by a farm, and what each does (index into ARTIFICIAL)."""
    people = np.flatnonzero(~crowd.is_bot)
    if len(crowd) < LEAST_USERS_WITH_FARMS:
        return people[:0], people[:0]
    alone = max(1, len(crowd) // USERS_PER_FARM)
    does = np.repeat([OVERLAPPING, LOOPING, SHARING], [alone, alone, ACCOUNTS_ON_A_DEVICE]).astype(np.int64)
    return scenario.rng("farm accounts").choice(people, size=len(does), replace=False).astype(np.int64), does


def farms(scenario: Scenario, crowd: Audience, tracks: Tracks) -> Plays:
    """Plays of accounts that a farm runs on some days, with the players of people; see ARTIFICIAL."""
    rng = scenario.rng("farms")
    who, does = farm_accounts(scenario, crowd)
    active = rng.random((len(ARTIFICIAL), scenario.days)) < FARM_DAYS
    active[:, rng.integers(0, scenario.days)] = True
    # Accounts on one device are used on the same days, which is what gives them away.
    account, day = np.nonzero(active[does])
    plays_in = np.array([0, *FARM_PLAYS.values()])[does[account]]
    session = np.repeat(np.arange(len(account)), plays_in)
    nth = np.arange(len(session)) - (np.cumsum(plays_in) - plays_in)[session]
    kind = does[account][session]
    user = who[account][session]
    start_ms = scenario.start_ms + day * DAY_MS + np.array([0, *FARM_HOUR.values()])[does[account]] * 3_600_000
    step = np.array([0, *FARM_STEP_MS.values()])[kind]
    played_ms = start_ms[session] + nth * step + rng.integers(0, 900, size=len(session))
    paying = np.flatnonzero(tracks.duration_ms >= BOT_LEAST_MS)
    paying = paying if len(paying) else np.arange(len(tracks))
    targets = rng.choice(paying, size=len(ARTIFICIAL))
    track = np.where(kind == LOOPING, targets[kind], rng.choice(paying, size=len(session))).astype(np.int64)
    duration = tracks.duration_ms[track]
    ms_played = np.minimum(rng.integers(BOT_LEAST_MS, BOT_LEAST_MS + 1_000, size=len(session)), duration)
    latency_us = (rng.lognormal(np.log(LATENCY_MEDIAN_MS), 0.3, size=len(session)) * 1000).astype(np.int64)
    same = np.full(len(session), 1)
    phone = DEVICES.index("phone")
    return Plays(
        user=user,
        track=track,
        session=session,
        session_start_ms=start_ms[session],
        played_ms=played_ms,
        received_us=(played_ms + ms_played) * 1000 + latency_us,
        ms_played=ms_played,
        reason_start=same * CLICKROW,
        reason_end=np.where(ms_played == duration, TRACKDONE, FWD),
        context=same * CONTEXTS.index("playlist"),
        device=same * phone,
        player=phone * 3 + crowd.player[user],
        is_premium=day[session] >= crowd.premium_from_day[user],
        is_offline=np.zeros(len(session), dtype=np.bool_),
        is_bot=np.zeros(len(session), dtype=np.bool_),
        ad_after_ms=same * 0,
        artificial=kind,
    )


def _sessions(scenario: Scenario, crowd: Audience, rng: np.random.Generator) -> tuple[Int64s, Int64s, Int64s]:
    """User, start and local day (from 0) of each session, by user and start.

    Days are the users' own; one more on either side covers the whole UTC interval.
    """
    days = np.arange(-1, scenario.days + 1)
    weekday = (scenario.start.weekday() + days) % 7
    humans = np.flatnonzero(~crowd.is_bot)
    rate = crowd.sessions_per_day[humans][:, None] * np.array(WEEKDAYS)[weekday][None, :]
    count = rng.poisson(rate)
    owner = np.repeat(np.repeat(humans, len(days)), count.ravel())
    column = np.repeat(np.tile(np.arange(len(days)), len(humans)), count.ravel())
    hours = [np.cumsum(np.array(h) / sum(h)) for h in (HOURS_WORKDAY, HOURS_WEEKEND)]
    draw = rng.random(len(owner))
    weekend = weekday[column] >= SATURDAY
    hour = np.where(weekend, np.searchsorted(hours[1], draw), np.searchsorted(hours[0], draw))
    # Rounding may leave the last cumulative share a hair below 1.
    within = np.minimum(hour, 23) * 3_600_000 + rng.integers(0, 3_600_000, size=len(owner))
    local_ms = scenario.start_ms + days[column] * DAY_MS + within
    start_ms = Clock(scenario).utc_ms(local_ms, crowd.zone[owner])
    order = np.lexsort((start_ms, owner))
    return owner[order].astype(np.int64), start_ms[order], days[column][order]


def _one_at_a_time(owner: Int64s, start_ms: Int64s, length_ms: Int64s) -> Int64s:
    """Starts moved later where a user would otherwise hear two sessions at once; in order of user and start.

    start'[i] = max over j <= i of (start[j] + lengths of j .. i-1): a running maximum once lengths are summed up.
    """
    first_of_user, rank = np.unique(owner, return_index=True, return_inverse=True)[1:]
    summed = np.cumsum(length_ms) - length_ms
    summed -= summed[first_of_user][rank]
    # Users are told apart by steps that none of their values can reach, so that one running maximum does for all.
    base = start_ms - summed
    step = int(np.ptp(base)) + 1 if len(base) else 1
    latest: Int64s = np.maximum.accumulate(base + rank * step)
    return latest - rank * step + summed


def _outcome(
    skips: Floats, duration: Int64s, is_last: Bools, device: Int64s, rng: np.random.Generator
) -> tuple[Int64s, Int64s]:
    """How long each play lasted, and why it ended."""
    size = len(duration)
    skipped = rng.random(size) < skips
    ending = rng.random(size)
    stopped = is_last & ~skipped & (ending < STOP_SHARE)
    short = MIN_PLAY_MS + rng.exponential(MEAN_SKIP_MS, size=size)
    some = rng.random(size) * duration
    ms_played = np.where(skipped, short, np.where(stopped, some, duration)).astype(np.int64)
    cut = skipped | stopped
    coarse = cut & (device == DEVICES.index(COARSE_DEVICE))
    ms_played = np.where(coarse, np.maximum(ms_played // 1000 * 1000, 1000), ms_played)
    ms_played = np.clip(ms_played, np.minimum(MIN_PLAY_MS, duration), duration)
    why_stopped = np.select([ending < CRASH_SHARE, ending < CRASH_SHARE + LOGOUT_SHARE], [CRASH, LOGOUT], ENDPLAY)
    why_skipped = np.where(rng.random(size) < BACK_SHARE, BACK, FWD)
    return ms_played, np.where(skipped, why_skipped, np.where(stopped, why_stopped, TRACKDONE)).astype(np.int64)


def _reason_start(nth: Int64s, reason_end: Int64s, context: Int64s, rng: np.random.Generator) -> Int64s:
    """Why each play began: the first of a session by the user, the others by what ended the one before."""
    follows = np.array([TRACKDONE_START, FWD_START, BACK_START, CLICKROW, CLICKROW, CLICKROW])
    before = np.roll(reason_end, 1)
    after = np.where((before == TRACKDONE) & (context == RADIO), AUTOPLAY, follows[before])
    opening = np.where(rng.random(len(nth)) < APPLOAD_SHARE, APPLOAD, CLICKROW)
    return np.where(nth == 0, opening, after).astype(np.int64)
