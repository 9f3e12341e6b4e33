"""How much each track weighs in a pool: three models of sharing on the same plays, all exact.

- pro rata: a play is a play.
- user-centric: every listener of a pool has one vote, split over what they played.
- artist-centric: plays are weighed by who made and who chose the track (figures: `Policy`).

Only the ratio of weights within a pool and a model counts. Sources: docs/architecture/royalties.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from lakehouse.domain.royalties.allocation import exact_total
from lakehouse.domain.royalties.pools import PoolKey
from lakehouse.errors import RejectedInputError

PRO_RATA, USER_CENTRIC, ARTIST_CENTRIC = "pro_rata", "user_centric", "artist_centric"
MODELS = (PRO_RATA, USER_CENTRIC, ARTIST_CENTRIC)


@dataclass(frozen=True, order=True)
class Plays:
    """Payable streams of a listener and track in a pool; `chosen` of them were looked for (search, own library)."""

    key: PoolKey
    listener_id: str
    track_id: str
    streams: int
    chosen: int = 0


@dataclass(frozen=True, order=True)
class Track:
    """What the artist-centric model asks about a track; `annual_streams` are of the year to the period's end."""

    track_id: str
    artist_id: str
    is_noise: bool = False
    annual_streams: int = 0


@dataclass(frozen=True)
class Policy:
    """The figures of the artist-centric model; those of Deezer (2023) and, for the annual minimum, Spotify (2024)."""

    professional_streams: int = 1000
    professional_listeners: int = 500
    professional_boost: Fraction = Fraction(2)
    chosen_boost: Fraction = Fraction(2)
    listener_cap: int = 1000
    noise_weight: Fraction = Fraction(0)
    minimum_annual_streams: int = 1000


class Use(NamedTuple):
    """What a track weighs in a pool under a model, and the streams it was really played."""

    key: PoolKey
    model: str
    track_id: str
    streams: int
    weight: int | Fraction


class Units(NamedTuple):
    """Streams of a track in a pool by all listeners who streamed `pool_streams` in the pool and `month_streams` in all.

    What the models need to know of listeners, without naming any. The facts about the artist are of the month, over
    all pools; `annual_streams` is the track's sum of the year to the period's end.
    """

    track_id: str
    artist_id: str
    pool_streams: int
    month_streams: int
    streams: int
    chosen: int
    artist_streams: int
    artist_listeners: int
    annual_streams: int
    is_noise: bool = False


def weigh_units(
    key: PoolKey, units: Iterable[Units], policy: Policy | None = None, models: Collection[str] = MODELS
) -> list[Use]:
    """The weight of every track of the pool `key` under each of `models`, in order, whatever the order of `units`.

    With N streams by listeners who streamed D in the pool, the user-centric weight is the sum of N / D.
    """
    policy = policy or Policy()
    boost, boost_in = policy.chosen_boost.as_integer_ratio()
    streams: dict[str, int] = defaultdict(int)
    # Sums by track as numerators by denominator: a few integers a track, however many units it has.
    votes: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    centric: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    factor: dict[str, Fraction | int] = {}
    is_user_centric, is_artist_centric = USER_CENTRIC in models, ARTIST_CENTRIC in models
    for row in units:
        track = row.track_id
        streams[track] += row.streams
        if is_user_centric:
            votes[track][row.pool_streams] += row.streams
        if is_artist_centric:
            weight = (row.streams - row.chosen) * boost_in + row.chosen * boost
            if row.month_streams > policy.listener_cap:
                centric[track][boost_in * row.month_streams] += weight * policy.listener_cap
            else:
                centric[track][boost_in] += weight
            if track not in factor:
                factor[track] = _factor(row, policy)
    uses: list[Use] = []
    for track in sorted(streams):
        number = streams[track]
        if is_artist_centric:
            uses.append(Use(key, ARTIST_CENTRIC, track, number, exact_total(centric[track]) * factor[track]))
        if PRO_RATA in models:
            uses.append(Use(key, PRO_RATA, track, number, number))
        if is_user_centric:
            uses.append(Use(key, USER_CENTRIC, track, number, exact_total(votes[track])))
    return uses


def _factor(row: Units, policy: Policy) -> Fraction | int:
    """By what the artist-centric model multiplies the plays of a track."""
    if row.annual_streams < policy.minimum_annual_streams:
        return 0
    factor: Fraction | int = 1
    if row.artist_streams >= policy.professional_streams and row.artist_listeners >= policy.professional_listeners:
        factor *= policy.professional_boost
    if row.is_noise:
        factor *= policy.noise_weight
    return factor


def weigh(plays: Iterable[Plays], tracks: Mapping[str, Track], policy: Policy | None = None) -> list[Use]:
    """The weight of every track played, under each model, in order.

    The professional artists and the cap of a listener are counted over all pools of the period: plays must be whole.

    Raises:
        RejectedInputError: negative_plays (also more chosen than played), several_periods, unknown_track.
    """
    counted = count_units(plays, tracks)
    return sorted(use for key, units in counted.items() for use in weigh_units(key, units, policy))


def count_units(plays: Iterable[Plays], tracks: Mapping[str, Track]) -> dict[PoolKey, list[Units]]:
    """What Trino counts in a lake of plays (dbt/models/intermediate/int_royalty_units.sql), from a list of them.

    Raises:
        RejectedInputError: as `weigh` does.
    """
    merged: dict[tuple[PoolKey, str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for number, row in enumerate(plays, start=1):
        if not 0 <= row.chosen <= row.streams:
            raise _rejected(number, row, "negative_plays", "streams and chosen ones must be 0 <= chosen <= streams")
        if row.track_id not in tracks:
            raise _rejected(number, row, "unknown_track", "the track isn't known")
        before = merged[row.key, row.listener_id, row.track_id]
        merged[row.key, row.listener_id, row.track_id] = (before[0] + row.streams, before[1] + row.chosen)
    if len({key.period for key, _, _ in merged}) > 1:
        raise RejectedInputError("Plays of several periods.", reason="several_periods")

    of_listener: dict[tuple[PoolKey, str], int] = defaultdict(int)
    month_of_listener: dict[str, int] = defaultdict(int)
    artist_streams: dict[str, int] = defaultdict(int)
    artist_listeners: dict[str, set[str]] = defaultdict(set)
    for (key, listener, track), (streams, _) in merged.items():
        if streams:
            artist = tracks[track].artist_id
            of_listener[key, listener] += streams
            month_of_listener[listener] += streams
            artist_streams[artist] += streams
            artist_listeners[artist].add(listener)
    units: dict[PoolKey, list[Units]] = defaultdict(list)
    for (key, listener, track), (streams, chosen) in merged.items():
        if streams:
            facts = tracks[track]
            units[key].append(
                Units(
                    track,
                    facts.artist_id,
                    of_listener[key, listener],
                    month_of_listener[listener],
                    streams,
                    chosen,
                    artist_streams[facts.artist_id],
                    len(artist_listeners[facts.artist_id]),
                    facts.annual_streams,
                    facts.is_noise,
                )
            )
    return units


def _rejected(number: int, row: Plays, reason: str, rule: str) -> RejectedInputError:
    return RejectedInputError(
        f"Plays, row {number} (listener {row.listener_id}, track {row.track_id}): {rule}.",
        reason=reason,
        value=row.track_id,
    )
