"""Identifiers: form, order and moment of UUIDv7 and of entity ids."""

from __future__ import annotations

import uuid

import numpy as np

from lakehouse.domain.ids import entity_ids, uuid7_texts

MOMENTS = np.array([0, 1, 1_790_812_800_123, (1 << 42) - 1], dtype=np.int64)


def test_uuid7_reads_back_as_version_7_with_its_moment() -> None:
    texts = uuid7_texts(np.repeat(MOMENTS, 50), np.random.default_rng(1)).to_pylist()
    parsed = [uuid.UUID(text) for text in texts]
    assert [str(u) for u in parsed] == texts
    assert {u.version for u in parsed} == {7}
    assert {u.variant for u in parsed} == {uuid.RFC_4122}
    assert [u.int >> 80 for u in parsed] == np.repeat(MOMENTS, 50).tolist()
    assert len(set(texts)) == len(texts)


def test_uuid7_depends_on_the_generator_alone() -> None:
    first, again, other = (uuid7_texts(MOMENTS, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.equals(again)
    assert not first.equals(other)


def test_no_uuids_for_no_moments() -> None:
    assert uuid7_texts(np.array([], dtype=np.int64), np.random.default_rng(1)).to_pylist() == []


def test_entity_ids_keep_the_order_of_moments_and_fit_63_bits() -> None:
    ids = entity_ids(MOMENTS, np.random.default_rng(3))
    assert np.all(np.diff(ids) > 0)
    assert ids.dtype == np.int64
    assert ids.min() >= 0
