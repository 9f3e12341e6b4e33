"""Counting listeners in classes, as Trino does, weighs every track as counting them one by one."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from lakehouse.domain.royalties.models import MODELS, Plays, Policy, Track, Units, count_units, weigh, weigh_units
from lakehouse.domain.royalties.pools import PoolKey

POOLS = [PoolKey("2026-10", "DE", "premium", "EUR"), PoolKey("2026-10", "JP", "free", "JPY")]
ARTIST_OF = {"1": "a", "2": "a", "3": "b"}
POLICY = Policy(professional_streams=6, professional_listeners=2, listener_cap=5, minimum_annual_streams=3)
TRACKS = {track: Track(track, artist, annual_streams=3) for track, artist in ARTIST_OF.items()}


@st.composite
def heard(draw: st.DrawFn) -> list[Plays]:
    keys = st.tuples(st.sampled_from(POOLS), st.sampled_from("uvw"), st.sampled_from(sorted(ARTIST_OF)))
    numbers = st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
    rows = draw(st.dictionaries(keys, numbers, min_size=1))
    return [Plays(*key, *number) for key, number in rows.items()]


def in_classes(units: list[Units]) -> list[Units]:
    """As the view int_royalty_units groups them: listeners who streamed as much are one class."""
    sums: dict[tuple[object, ...], list[int]] = defaultdict(lambda: [0, 0])
    for row in units:
        of = sums[row._replace(streams=0, chosen=0)]
        of[0] += row.streams
        of[1] += row.chosen
    return [Units(*key)._replace(streams=n, chosen=c) for key, (n, c) in sums.items()]  # type: ignore[arg-type]


@given(plays=heard())
def test_classes_weigh_what_listeners_weigh(plays: list[Plays]) -> None:
    for key, units in count_units(plays, TRACKS).items():
        ours = weigh_units(key, in_classes(units), POLICY)
        assert sorted(ours) == sorted(use for use in weigh(plays, TRACKS, POLICY) if use.key == key)
        votes = sum(Fraction(use.weight) for use in ours if use.model == "user_centric")
        assert votes == len({row.listener_id for row in plays if row.key == key}), "one listener, one vote"


@given(plays=heard(), model=st.sampled_from(MODELS))
def test_a_model_alone_weighs_what_it_weighs_beside_others(plays: list[Plays], model: str) -> None:
    for key, units in count_units(plays, TRACKS).items():
        together = [use for use in weigh_units(key, units, POLICY) if use.model == model]
        assert weigh_units(key, units, POLICY, (model,)) == together
