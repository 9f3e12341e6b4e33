"""Properties of ids and of the checks on damaged files."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.domain.audio.containers import HEAD_BYTES, integrity, sniff
from lakehouse.domain.catalog.identifiers import name_key, tidy
from lakehouse.domain.catalog.ids import EPOCH, time_of_id, time_ordered_id
from tests.audio_files import chord, write

MOMENTS = st.integers(0, ((1 << 41) - 1) * 1000).map(lambda us: EPOCH + timedelta(microseconds=us))


@given(MOMENTS, st.text(), st.integers(0, 1 << 30))
def test_ids_fit_and_carry_their_moment(at: datetime, key: str, attempt: int) -> None:
    entity_id = time_ordered_id(at, key, attempt=attempt)
    assert 0 <= entity_id < 1 << 63
    assert timedelta(0) <= at - time_of_id(entity_id) < timedelta(milliseconds=1)
    assert entity_id == time_ordered_id(at, key, attempt=attempt)


@given(MOMENTS, MOMENTS, st.text(), st.text())
def test_ids_sort_by_time(one: datetime, other: datetime, key: str, other_key: str) -> None:
    if (one - EPOCH) // timedelta(milliseconds=1) < (other - EPOCH) // timedelta(milliseconds=1):
        assert time_ordered_id(one, key) < time_ordered_id(other, other_key)


@given(MOMENTS, st.text())
def test_the_next_attempt_is_another_id(at: datetime, key: str) -> None:
    assert len({time_ordered_id(at, key, attempt=attempt) for attempt in range(5)}) == 5


def test_ids_need_a_time_zone_and_a_covered_year() -> None:
    with pytest.raises(ValueError, match="time zone"):
        time_ordered_id(datetime(2026, 1, 1), "x")  # noqa: DTZ001
    with pytest.raises(ValueError, match="2020 to 2089"):
        time_ordered_id(datetime(2019, 12, 31, tzinfo=UTC), "x")


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert tidy(tidy(text)) == tidy(text)
    assert name_key(name_key(text)) == name_key(text)


@cache
def recording(suffix: str) -> bytes:
    with TemporaryDirectory() as folder:
        return write(Path(folder) / f"a{suffix}", chord(440, 2), title="T", artist="A").read_bytes()


def sound(data: bytes) -> bool:
    container = sniff(data[:HEAD_BYTES])
    found = integrity(io.BytesIO(data), container or "", len(data))
    return container is not None and not found.truncated and not found.corrupt


@given(st.data())
def test_every_changed_byte_of_an_ogg_file_is_noticed(data: st.DataObject) -> None:
    good = recording(".ogg")
    assert sound(good)
    place = data.draw(st.integers(0, len(good) - 1))
    change = data.draw(st.integers(1, 255))
    assert not sound(good[:place] + bytes([good[place] ^ change]) + good[place + 1 :])


@given(st.sampled_from([".ogg", ".wav", ".aiff"]), st.data())
def test_every_missing_end_is_noticed(suffix: str, data: st.DataObject) -> None:
    good = recording(suffix)
    assert sound(good)
    assert not sound(good[: data.draw(st.integers(0, len(good) - 1))])
