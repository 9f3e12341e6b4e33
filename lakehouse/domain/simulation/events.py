"""From plays to every record that is produced: events of all topics, deliveries repeated, and bad records.

Each table holds one row a record in order of delivery: the columns of its topic and the labels of the truth ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.domain.ids import Int64s, entity_ids, uuid7_texts
from lakehouse.domain.simulation import defects
from lakehouse.domain.simulation.audience import ZONES, Audience, audience, taste
from lakehouse.domain.simulation.listening import (
    ALL_PLAYERS,
    ARTIFICIAL,
    REASONS_END,
    REASONS_START,
    SHARING,
    TRACKDONE,
    Bools,
    Plays,
    bots,
    farm_accounts,
    farms,
    people,
)
from lakehouse.domain.simulation.scenario import DAY_MS, Scenario, Tracks
from lakehouse.domain.simulation.world import CAMPAIGNS, CONTEXTS, DEVICES, MARKETS

LIKE_SHARE = 0.06
FOLLOW_SHARE = 0.015
#: Tracks heard to the end that go into the listener's playlist.
PLAYLIST_SHARE = 0.01
TAKEN_BACK_SHARE = 0.08
MEAN_REGRET_MS = 3 * DAY_MS
#: Impressions that are clicked, by people and by automata.
CLICK_SHARE = 0.01
BOT_CLICK_SHARE = 0.05
#: Plays whose player reports how it went.
TELEMETRY_SHARE = 0.01
STARTUP_MEDIAN_MS = 420
#: What is played from the device starts without the network.
OFFLINE_STARTUP_MS = 35
MEAN_REBUFFERS = 0.08
REBUFFER_MEDIAN_MS = 900
FREE_BITRATES_BPS = np.array([96_000, 128_000, 160_000])
PREMIUM_BITRATES_BPS = np.array([160_000, 256_000, 320_000])
#: A device sends again what it holds no receipt for, at the latest after this time.
MAX_RESEND_US = 3 * DAY_MS * 1000
DUPLICATE_SHARE = 0.01
#: Most repetitions follow a receipt lost on the way, within seconds.
SOON_SHARE = 0.85
MEAN_SOON_US = 20_000_000

#: Plays that the player fetched ahead, and sessions away from the address at home.
PRELOAD_SHARE = 0.002
AWAY_SHARE = 0.3
HASHES = 2**63 - 1

MICROSECONDS = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, eq=False)
class Simulation:
    """All that is produced, in order of received_at, and the users behind it.

    Labels of every topic's table: `is_duplicate` (the event was delivered before), `is_late` (recorded without a
    connection), `is_bot` (made by an automaton that says so), `artificial` (the rule that should catch the play of a
    farm; null for all others), `defect` (what is wrong with the record; null for a good one).
    """

    plays: pa.Table
    ad_impressions: pa.Table
    likes: pa.Table
    follows: pa.Table
    playlist_edits: pa.Table
    ad_clicks: pa.Table
    playback_telemetry: pa.Table
    users: pa.Table


def simulate(scenario: Scenario, tracks: Tracks) -> Simulation:
    """Everything that happens in `scenario` on `tracks`."""
    crowd = audience(scenario)
    heard = people(scenario, crowd, tracks, taste(scenario, len(crowd), tracks))
    heard = heard.take(~np.isin(heard.user, farm_accounts(scenario, crowd)[0]))
    for others in (bots(scenario, crowd, tracks), farms(scenario, crowd, tracks)):
        heard = Plays.concat(heard, others)
    sessions = heard.session_ids(scenario.rng("sessions"))
    plays = _plays(scenario, crowd, tracks, heard, sessions)
    ads = _ad_impressions(scenario, crowd, heard, sessions)
    made = {
        "plays": plays,
        "ad_impressions": ads,
        "likes": _likes(scenario, crowd, tracks, heard),
        "follows": _follows(scenario, crowd, tracks, heard),
        "playlist_edits": _playlist_edits(scenario, crowd, tracks, heard),
        "ad_clicks": _ad_clicks(scenario, heard, ads),
        "playback_telemetry": _playback_telemetry(scenario, heard, plays),
    }
    for topic, table in made.items():
        records = [table, _repeated(scenario, topic, table)]
        if scenario.bad_events:
            records.append(defects.bad_records(scenario, topic, table, tracks.track_id))
        everything = pa.concat_tables(records)
        made[topic] = everything.take(np.argsort(everything["received_at"].to_numpy(), kind="stable"))
    return Simulation(users=crowd.table(scenario), **made)


def _moments(unix_us: Int64s) -> pa.Array:
    return pa.array(unix_us).cast(MICROSECONDS)


def _words(codes: Int64s, vocabulary: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(vocabulary)).cast(pa.string())


def _labelled(
    columns: dict[str, Any], *, is_late: Bools, is_bot: Bools, artificial: pa.Array | None = None
) -> pa.Table:
    count = len(is_bot)
    labels = {
        "is_duplicate": np.zeros(count, dtype=np.bool_),
        "is_late": is_late,
        "is_bot": is_bot,
        "artificial": pa.nulls(count, pa.string()) if artificial is None else artificial,
        "defect": pa.nulls(count, pa.string()),
    }
    return pa.table(columns | labels)


def _country(crowd: Audience, user: Int64s) -> pa.Array:
    return _words(crowd.market[user], tuple(m.country for m in MARKETS))


def _plays(scenario: Scenario, crowd: Audience, tracks: Tracks, heard: Plays, sessions: pa.Array) -> pa.Table:
    rng = scenario.rng("addresses and devices")
    homes = rng.integers(0, HASHES, size=len(crowd))
    elsewhere = rng.integers(0, HASHES, size=int(heard.session.max(initial=-1)) + 1)
    away = rng.random(len(elsewhere)) < AWAY_SHARE
    installed = rng.integers(0, HASHES, size=(len(crowd), len(DEVICES)))
    farm_device = rng.integers(0, HASHES)
    columns = {
        "event_id": uuid7_texts(heard.played_ms, scenario.rng("play ids")),
        "user_id": crowd.user_id[heard.user],
        "track_id": tracks.track_id[heard.track],
        "session_id": sessions,
        "played_at": _moments(heard.played_ms * 1000),
        "received_at": _moments(heard.received_us),
        "ms_played": heard.ms_played,
        "track_duration_ms": tracks.duration_ms[heard.track],
        "reason_start": _words(heard.reason_start, REASONS_START),
        "reason_end": _words(heard.reason_end, REASONS_END),
        "context": _words(heard.context, CONTEXTS),
        "device": _words(heard.device, DEVICES),
        "user_agent": _words(heard.player, ALL_PLAYERS),
        "tier": _words(heard.is_premium.astype(np.int64), ("free", "premium")),
        "country": _country(crowd, heard.user),
        "time_zone": _words(crowd.zone[heard.user], ZONES),
        "is_offline": heard.is_offline,
        "is_preload": (rng.random(len(heard.user)) < PRELOAD_SHARE) & (heard.artificial == 0),
        "client_ip_hash": np.where(away[heard.session], elsewhere[heard.session], homes[heard.user]),
        "device_hash": np.where(heard.artificial == SHARING, farm_device, installed[heard.user, heard.device]),
    }
    rule = pa.array(ARTIFICIAL).take(pa.array(heard.artificial))
    return _labelled(columns, is_late=heard.is_offline, is_bot=heard.is_bot, artificial=rule)


def _ad_impressions(scenario: Scenario, crowd: Audience, heard: Plays, sessions: pa.Array) -> pa.Table:
    rng = scenario.rng("ads")
    follows = np.flatnonzero(heard.ad_after_ms > 0)
    ads = heard.take(heard.ad_after_ms > 0)
    shown_ms = ads.played_ms + ads.ms_played + 20
    market = crowd.market[ads.user]
    campaign, creative = _campaigns(scenario, market, shown_ms, rng)
    price = np.array([m.ad_price_micros for m in MARKETS])[market]
    latency_us = (rng.lognormal(np.log(300), 0.5, size=len(shown_ms)) * 1000).astype(np.int64)
    columns = {
        "event_id": uuid7_texts(shown_ms, rng),
        "user_id": crowd.user_id[ads.user],
        "campaign_id": campaign,
        "creative_id": creative,
        "session_id": sessions.take(pa.array(follows)),
        "shown_at": _moments(shown_ms * 1000),
        "received_at": _moments((shown_ms + ads.ad_after_ms) * 1000 + latency_us),
        "cost_micros": (price * rng.lognormal(0, 0.25, size=len(shown_ms))).astype(np.int64),
        "currency": _words(market, tuple(m.currency for m in MARKETS)),
        "device": _words(ads.device, DEVICES),
        "user_agent": _words(ads.player, ALL_PLAYERS),
        "country": _country(crowd, ads.user),
        "time_zone": _words(crowd.zone[ads.user], ZONES),
    }
    return _labelled(columns, is_late=ads.is_offline, is_bot=ads.is_bot)


def _campaigns(scenario: Scenario, market: Int64s, shown_ms: Int64s, rng: np.random.Generator) -> tuple[Int64s, Int64s]:
    """Campaign and creative of each impression: any of those running in the market on that day, alike."""
    count = len(CAMPAIGNS)
    campaign_id = entity_ids(scenario.start_ms - np.arange(count, 0, -1) * DAY_MS, rng)
    first_creative = entity_ids(scenario.start_ms - np.arange(count, 0, -1) * DAY_MS + 1, rng)
    day = (shown_ms - scenario.start_ms) // DAY_MS
    running = np.zeros((len(MARKETS), scenario.days, count), dtype=np.bool_)
    for index, campaign in enumerate(CAMPAIGNS):
        begins, ends = int(campaign.begins * scenario.days), max(1, int(campaign.ends * scenario.days))
        for place, known in enumerate(MARKETS):
            running[place, begins:ends, index] = known.country in campaign.countries
    here = running[market, day]
    # The n-th of the running ones: where their count first exceeds n.
    nth = (rng.random(len(market)) * here.sum(axis=1)).astype(np.int64)
    chosen = np.argmax(np.cumsum(here, axis=1) > nth[:, None], axis=1)
    creatives = np.array([c.creatives for c in CAMPAIGNS])[chosen]
    return campaign_id[chosen], first_creative[chosen] + (rng.random(len(market)) * creatives).astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Changes:
    """What listeners give (a like, a follow, a place in a playlist) while they hear a track to its end, once for each
    thing, and what some take back later: first all that is given, then all that is taken back.
    """

    user: Int64s
    track: Int64s
    moment_ms: Int64s
    received_us: Int64s
    is_given: Bools
    is_late: Bools

    @classmethod
    def of(cls, scenario: Scenario, heard: Plays, thing: Int64s, share: float, rng: np.random.Generator) -> _Changes:
        """`thing` is what each play would have its listener give something for; `share` of the plays do."""
        pleased = (heard.reason_end == TRACKDONE) & ~heard.is_bot & (rng.random(len(heard.user)) < share)
        moved = heard.take(pleased)
        moments = moved.played_ms + (rng.random(len(moved.user)) * moved.ms_played).astype(np.int64)
        order = np.argsort(moments, kind="stable")
        # A thing is given once: only the first time counts.
        pairs = (moved.user * (int(thing.max(initial=0)) + 1) + thing[pleased])[order]
        first = order[np.sort(np.unique(pairs, return_index=True)[1])]
        given, given_ms = moved.take(first), moments[first]
        regret_ms = given_ms + 60_000 + rng.exponential(MEAN_REGRET_MS, size=len(given_ms)).astype(np.int64)
        regrets = (rng.random(len(given_ms)) < TAKEN_BACK_SHARE) & (regret_ms < scenario.end_ms)
        taken_back = int(regrets.sum())
        moment_ms = np.concatenate([given_ms, regret_ms[regrets]])
        is_late = np.concatenate([given.is_offline, np.zeros(taken_back, dtype=np.bool_)])
        latency_us = (rng.lognormal(np.log(250), 0.5, size=len(moment_ms)) * 1000).astype(np.int64)
        # What is given without a connection arrives with the play.
        with_play = np.concatenate([given.received_us + 500, np.zeros(taken_back, dtype=np.int64)])
        return cls(
            user=np.concatenate([given.user, given.user[regrets]]),
            track=np.concatenate([given.track, given.track[regrets]]),
            moment_ms=moment_ms,
            received_us=np.where(is_late, with_play, moment_ms * 1000 + latency_us),
            is_given=np.arange(len(moment_ms)) < len(given_ms),
            is_late=is_late,
        )

    def take(self, which: Int64s) -> _Changes:
        """The changes at these positions."""
        return _Changes(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


def _likes(scenario: Scenario, crowd: Audience, tracks: Tracks, heard: Plays) -> pa.Table:
    rng = scenario.rng("likes")
    made = _Changes.of(scenario, heard, heard.track, LIKE_SHARE, rng)
    columns = {
        "event_id": uuid7_texts(made.moment_ms, rng),
        "user_id": crowd.user_id[made.user],
        "track_id": tracks.track_id[made.track],
        "is_liked": made.is_given,
        "liked_at": _moments(made.moment_ms * 1000),
        "received_at": _moments(made.received_us),
        "country": _country(crowd, made.user),
    }
    return _labelled(columns, is_late=made.is_late, is_bot=np.zeros(len(made.user), dtype=np.bool_))


def _follows(scenario: Scenario, crowd: Audience, tracks: Tracks, heard: Plays) -> pa.Table:
    rng = scenario.rng("follows")
    made = _Changes.of(scenario, heard, tracks.artist[heard.track], FOLLOW_SHARE, rng)
    columns = {
        "event_id": uuid7_texts(made.moment_ms, rng),
        "user_id": crowd.user_id[made.user],
        "artist_id": tracks.artist_id[tracks.artist[made.track]],
        "is_followed": made.is_given,
        "followed_at": _moments(made.moment_ms * 1000),
        "received_at": _moments(made.received_us),
        "country": _country(crowd, made.user),
    }
    return _labelled(columns, is_late=made.is_late, is_bot=np.zeros(len(made.user), dtype=np.bool_))


def _playlist_edits(scenario: Scenario, crowd: Audience, tracks: Tracks, heard: Plays) -> pa.Table:
    """Each listener has one playlist: it is made with its first track, tracks go to its end, and some go out again."""
    rng = scenario.rng("playlist edits")
    made = _Changes.of(scenario, heard, heard.track, PLAYLIST_SHARE, rng)
    made = made.take(np.lexsort((made.moment_ms, made.user)))
    owner, first_of, whose = np.unique(made.user, return_index=True, return_inverse=True)
    playlist_id = entity_ids(made.moment_ms[first_of], rng)
    # How many tracks are in it before the edit is where a track is put.
    step = np.where(made.is_given, 1, -1)
    before = np.cumsum(step) - step
    place = before - before[first_of][whose]
    count, creations = len(made.user), len(owner)
    edited_ms = np.concatenate([made.moment_ms[first_of], made.moment_ms + 1])
    user = np.concatenate([owner, made.user])
    is_late = np.concatenate([made.is_late[first_of], made.is_late])
    what = np.concatenate([np.zeros(creations, dtype=np.int64), np.where(made.is_given, 1, 2)])
    columns = {
        "event_id": uuid7_texts(edited_ms, rng),
        "user_id": crowd.user_id[user],
        "playlist_id": np.concatenate([playlist_id, playlist_id[whose]]),
        "edit": _words(what, ("create", "add", "remove")),
        "track_id": pa.concat_arrays([pa.nulls(creations, pa.int64()), pa.array(tracks.track_id[made.track])]),
        "position": pa.concat_arrays([pa.nulls(creations, pa.int64()), pa.array(place, mask=~made.is_given)]),
        "edited_at": _moments(edited_ms * 1000),
        "received_at": _moments(np.concatenate([made.received_us[first_of], made.received_us + 1000])),
        "country": _country(crowd, user),
    }
    return _labelled(columns, is_late=is_late, is_bot=np.zeros(creations + count, dtype=np.bool_))


def _ad_clicks(scenario: Scenario, heard: Plays, ads: pa.Table) -> pa.Table:
    """Clicks on `ads`, the impressions that follow plays of `heard` with an ad: while the ad is heard."""
    rng = scenario.rng("ad clicks")
    length_ms = heard.ad_after_ms[heard.ad_after_ms > 0]
    is_bot = ads["is_bot"].to_numpy(zero_copy_only=False)
    clicked = np.flatnonzero(rng.random(ads.num_rows) < np.where(is_bot, BOT_CLICK_SHARE, CLICK_SHARE))
    on = ads.take(clicked)
    shown_ms = on["shown_at"].cast(pa.int64()).to_numpy() // 1000
    clicked_ms = shown_ms + 1_000 + (rng.random(len(clicked)) * (length_ms[clicked] - 1_000)).astype(np.int64)
    latency_us = (rng.lognormal(np.log(250), 0.5, size=len(clicked)) * 1000).astype(np.int64)
    columns = {
        "event_id": uuid7_texts(clicked_ms, rng),
        "user_id": on["user_id"],
        "impression_event_id": on["event_id"],
        **{name: on[name] for name in ("campaign_id", "creative_id", "session_id")},
        "clicked_at": _moments(clicked_ms * 1000),
        "received_at": _moments(clicked_ms * 1000 + latency_us),
        **{name: on[name] for name in ("device", "user_agent", "country")},
    }
    return _labelled(columns, is_late=np.zeros(len(clicked), dtype=np.bool_), is_bot=is_bot[clicked])


def _playback_telemetry(scenario: Scenario, heard: Plays, plays: pa.Table) -> pa.Table:
    """One report for a sample of `plays`, which are the plays of `heard`; it is sent after the play."""
    rng = scenario.rng("playback telemetry")
    sampled = np.flatnonzero(rng.random(plays.num_rows) < TELEMETRY_SHARE)
    of, went = plays.take(sampled), heard.take(sampled)
    count = len(sampled)
    measured_ms = went.played_ms + went.ms_played
    startup = rng.lognormal(np.log(STARTUP_MEDIAN_MS), 0.7, size=count)
    rebuffers = np.where(went.is_offline, 0, rng.poisson(MEAN_REBUFFERS, size=count))
    stood_ms = rebuffers * rng.lognormal(np.log(REBUFFER_MEDIAN_MS), 0.6, size=count)
    quality = rng.integers(0, len(FREE_BITRATES_BPS), size=count)
    columns = {
        "event_id": uuid7_texts(measured_ms, rng),
        **{name: of[name] for name in ("user_id", "track_id", "session_id")},
        "play_event_id": of["event_id"],
        "measured_at": _moments(measured_ms * 1000),
        "received_at": _moments(went.received_us + 500),
        "startup_ms": np.where(went.is_offline, OFFLINE_STARTUP_MS, startup).astype(np.int64),
        "rebuffers": rebuffers,
        "rebuffered_ms": stood_ms.astype(np.int64),
        "bitrate_bps": np.where(went.is_premium, PREMIUM_BITRATES_BPS[quality], FREE_BITRATES_BPS[quality]),
        **{name: of[name] for name in ("device", "user_agent", "country")},
    }
    return _labelled(columns, is_late=went.is_offline, is_bot=went.is_bot)


def _repeated(scenario: Scenario, topic: str, table: pa.Table) -> pa.Table:
    """Events delivered a second time: all as before but for the moment of receipt, seconds to days later."""
    rng = scenario.rng(f"{topic} duplicates")
    again = table.take(np.flatnonzero(rng.random(table.num_rows) < DUPLICATE_SHARE))
    received_us = again["received_at"].cast(pa.int64()).to_numpy()
    soon = 1 + rng.exponential(MEAN_SOON_US, size=len(received_us)).astype(np.int64)
    later = rng.integers(1, MAX_RESEND_US, size=len(received_us))
    delayed = received_us + np.minimum(np.where(rng.random(len(received_us)) < SOON_SHARE, soon, later), MAX_RESEND_US)
    delayed = np.minimum(delayed, scenario.horizon_us - 1)
    again = again.set_column(again.schema.get_field_index("received_at"), "received_at", _moments(delayed))
    return again.set_column(
        again.schema.get_field_index("is_duplicate"), "is_duplicate", pc.or_(again["is_duplicate"], True)
    )
