"""Counting listeners in classes, as Trino does, weighs every track as the domain does listener by listener."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from lakehouse.adapters.royalties import Class, weigh_classes
from lakehouse.domain.royalties.models import Plays, Policy, Track, weigh
from lakehouse.domain.royalties.pools import PoolKey

POOLS = [PoolKey("2026-10", "DE", "premium", "EUR"), PoolKey("2026-10", "JP", "free", "JPY")]
ARTIST_OF = {"1": "a", "2": "a", "3": "b"}
POLICY = Policy(professional_streams=6, professional_listeners=2, listener_cap=5, minimum_annual_streams=3)


@st.composite
def heard(draw: st.DrawFn) -> dict[tuple[PoolKey, str, str], tuple[int, int]]:
    keys = st.tuples(st.sampled_from(POOLS), st.sampled_from("uvw"), st.sampled_from(sorted(ARTIST_OF)))
    numbers = st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
    return draw(st.dictionaries(keys, numbers, min_size=1))


def classes(rows: dict[tuple[PoolKey, str, str], tuple[int, int]]) -> list[Class]:
    """What the view int_royalty_weights holds of these plays."""
    in_pool: dict[tuple[PoolKey, str], int] = defaultdict(int)
    in_month: dict[str, int] = defaultdict(int)
    for (key, listener, _), (streams, _) in rows.items():
        in_pool[key, listener] += streams
        in_month[listener] += streams
    sums: dict[tuple[PoolKey, str, int, int], list[int]] = defaultdict(lambda: [0, 0])
    for (key, listener, track), (streams, chosen) in rows.items():
        of = sums[key, track, in_pool[key, listener], in_month[listener]]
        of[0] += streams
        of[1] += chosen
    return [
        Class(key, track, ARTIST_OF[track], pool, month, streams, chosen)
        for (key, track, pool, month), (streams, chosen) in sums.items()
    ]


@given(rows=heard(), annual=st.fixed_dictionaries({track: st.integers(0, 6) for track in ARTIST_OF}))
def test_classes_weigh_what_listeners_weigh(
    rows: dict[tuple[PoolKey, str, str], tuple[int, int]], annual: dict[str, int]
) -> None:
    plays = [Plays(key, listener, track, *numbers) for (key, listener, track), numbers in rows.items()]
    tracks = {track: Track(track, artist, annual_streams=annual[track]) for track, artist in ARTIST_OF.items()}
    artists = {
        artist: (
            sum(row.streams for row in plays if ARTIST_OF[row.track_id] == artist),
            len({row.listener_id for row in plays if ARTIST_OF[row.track_id] == artist}),
        )
        for artist in set(ARTIST_OF.values())
    }
    ours = weigh_classes(classes(rows), artists, annual, POLICY)
    theirs = weigh(plays, tracks, POLICY)
    assert [(u.key, u.model, u.track_id, u.streams, Fraction(u.weight)) for u in ours] == [
        (u.key, u.model, u.track_id, u.streams, Fraction(u.weight)) for u in theirs
    ]
