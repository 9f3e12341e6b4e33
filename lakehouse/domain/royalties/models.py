"""How much each track weighs in a pool: three models of sharing on the same plays, all exact.

- pro rata: a play is a play.
- user-centric: every listener of a pool has one vote, split over what they played.
- artist-centric: plays are weighed by who made and who chose the track (figures: `Policy`).

Only the ratio of weights within a pool and a model counts. Sources: docs/architecture/royalties.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

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


@dataclass(frozen=True, order=True)
class Use:
    """What a track weighs in a pool under a model, and the streams it was really played."""

    key: PoolKey
    model: str
    track_id: str
    streams: int
    weight: int | Fraction


def weigh(plays: Iterable[Plays], tracks: Mapping[str, Track], policy: Policy | None = None) -> list[Use]:
    """The weight of every track played, under each model, in order.

    The professional artists and the cap of a listener are counted over all pools of the period: plays must be whole.

    Raises:
        RejectedInputError: negative_plays (also more chosen than played), several_periods, unknown_track.
    """
    policy = policy or Policy()
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

    by_listener: dict[tuple[PoolKey, str], int] = defaultdict(int)
    month_of_listener: dict[str, int] = defaultdict(int)
    artist_streams: dict[str, int] = defaultdict(int)
    artist_listeners: dict[str, set[str]] = defaultdict(set)
    for (key, listener, track), (streams, _) in merged.items():
        if streams:
            artist = tracks[track].artist_id
            by_listener[key, listener] += streams
            month_of_listener[listener] += streams
            artist_streams[artist] += streams
            artist_listeners[artist].add(listener)

    streams_of: dict[tuple[PoolKey, str], int] = defaultdict(int)
    votes: dict[tuple[PoolKey, str], Fraction] = defaultdict(Fraction)
    artist_weight: dict[tuple[PoolKey, str], Fraction] = defaultdict(Fraction)
    for (key, listener, track), (streams, chosen) in merged.items():
        if streams:
            streams_of[key, track] += streams
            votes[key, track] += Fraction(streams, by_listener[key, listener])
            cap = Fraction(policy.listener_cap, max(policy.listener_cap, month_of_listener[listener]))
            artist_weight[key, track] += cap * (streams - chosen + chosen * policy.chosen_boost)

    uses: list[Use] = []
    for (key, track), streams in streams_of.items():
        facts = tracks[track]
        factor = Fraction(1)
        if (
            artist_streams[facts.artist_id] >= policy.professional_streams
            and len(artist_listeners[facts.artist_id]) >= policy.professional_listeners
        ):
            factor *= policy.professional_boost
        if facts.is_noise:
            factor *= policy.noise_weight
        if facts.annual_streams < policy.minimum_annual_streams:
            factor *= 0
        uses += [
            Use(key, PRO_RATA, track, streams, streams),
            Use(key, USER_CENTRIC, track, streams, votes[key, track]),
            Use(key, ARTIST_CENTRIC, track, streams, artist_weight[key, track] * factor),
        ]
    return sorted(uses)


def _rejected(number: int, row: Plays, reason: str, rule: str) -> RejectedInputError:
    return RejectedInputError(
        f"Plays, row {number} (listener {row.listener_id}, track {row.track_id}): {rule}.",
        reason=reason,
        value=row.track_id,
    )
