"""Which recordings are the same: by content hash, by acoustic fingerprint, and what their ISRCs say about it.

A raw chromaprint fingerprint is a row of 32-bit numbers, eight a second (chromaprint, algorithm 2: 0.1238 s). Two
encodings of a master differ in a few bits; their bit error rate decides (after Haitsma and Kalker, A Highly Robust
Audio Fingerprinting System, 2002, whose bound of 0.35 is for excerpts; whole tracks allow a stricter one).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lakehouse.domain.catalog.quality.rules import Rule

Fingerprint = NDArray[np.uint32]

MAX_BIT_ERROR_RATE = 0.15
#: Encoders pad: up to 2 s of difference at the start.
MAX_SHIFT = 16
#: Edits and mixes of other lengths are other recordings (ISO 3901, annex on when to assign an ISRC).
MIN_OVERLAP = 0.95
#: Every part of this length must agree, or one other verse would hide in a long track.
PART, MAX_PART_BIT_ERROR_RATE = 64, 0.30
#: Five seconds: shorter fingerprints are alike by chance.
MIN_LENGTH = 40
#: Encodings of audio that is too short for any fingerprint differ in length by their padding.
MAX_PADDING_MS = 250
_POPULAR = 50


@dataclass(frozen=True)
class Recording:
    """What decides about sameness. `key` names it in the findings; an empty fingerprint, that of very short audio,
    matches nothing.
    """

    key: str
    sha256: str
    fingerprint: Fingerprint
    isrc: str | None = None
    duration_ms: int | None = None


@dataclass(frozen=True)
class Pair:
    """Two recordings, in the order of their keys, and what is between them."""

    rule: Rule
    first: str
    second: str


def comparable_lengths(length: int) -> tuple[int, int]:
    """Shortest and longest fingerprint that `bit_error_rate` can find equal to one of `length` numbers."""
    slack = MAX_SHIFT / 4
    return math.floor(MIN_OVERLAP * length - slack), math.ceil((length + slack) / MIN_OVERLAP)


def bit_error_rate(first: Fingerprint, second: Fingerprint) -> float:
    """Smallest share of differing bits over the allowed shifts; 1.0 when too little overlaps or a part differs."""
    best = 1.0
    longest = max(len(first), len(second))
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        left, right = first[max(shift, 0) :], second[max(-shift, 0) :]
        length = min(len(left), len(right))
        if length == 0 or length < MIN_OVERLAP * longest - MAX_SHIFT / 4:
            continue
        wrong = np.bitwise_count(left[:length] ^ right[:length])
        rate = float(wrong.mean()) / 32
        if rate < best:
            whole = wrong[: length // PART * PART].reshape(-1, PART).mean(axis=1) / 32
            if not (whole > MAX_PART_BIT_ERROR_RATE).any():
                best = rate
    return best


def same_recording(first: Fingerprint, second: Fingerprint) -> bool:
    """Whether two fingerprints are of one recording in two encodings."""
    return bit_error_rate(first, second) <= MAX_BIT_ERROR_RATE


def between(first: Recording, second: Recording) -> list[Rule]:
    """What is between two recordings: whether they are the same, and what their ISRCs say then."""
    rules = []
    alike = same_recording(first.fingerprint, second.fingerprint)
    if first.sha256 == second.sha256:
        rules = [Rule.DUPLICATE_AUDIO]
    elif alike and min(len(first.fingerprint), len(second.fingerprint)) >= MIN_LENGTH:
        rules = [Rule.DUPLICATE_RECORDING]
    if first.isrc and second.isrc:
        if rules and first.isrc != second.isrc:
            rules.append(Rule.RECORDING_HAS_TWO_ISRCS)
        # Likeness by chance makes no duplicate, but with one ISRC it is no chance.
        elif not rules and first.isrc == second.isrc and not alike and not _same_in_length(first, second):
            rules.append(Rule.ISRC_REUSED)
    return rules


def _same_in_length(first: Recording, second: Recording) -> bool:
    """Whether two recordings without any fingerprint are of one length: more can't be known of them."""
    lengths = (first.duration_ms, second.duration_ms)
    if len(first.fingerprint) or len(second.fingerprint) or lengths[0] is None or lengths[1] is None:
        return False
    return abs(lengths[0] - lengths[1]) <= MAX_PADDING_MS


def compare(recordings: Sequence[Recording]) -> list[Pair]:
    """What is between the recordings of a catalogue; by keys, each pair once."""
    by_key = sorted(recordings, key=lambda recording: recording.key)
    found = {
        (first.key, second.key): (first, second)
        for pairs in (
            _pairs_of_equal(by_key, [r.sha256 for r in by_key]),
            _pairs_of_equal(by_key, [r.isrc for r in by_key]),
            _candidates(by_key),
        )
        for first, second in pairs
    }
    pairs_found = [Pair(rule, *keys) for keys, pair in found.items() for rule in between(*pair)]
    return sorted(pairs_found, key=lambda pair: (pair.first, pair.second, pair.rule.code))


def _pairs_of_equal(
    recordings: Sequence[Recording], values: Iterable[str | None]
) -> Iterator[tuple[Recording, Recording]]:
    groups: dict[str, list[Recording]] = defaultdict(list)
    for recording, value in zip(recordings, values, strict=True):
        if value:
            groups[value].append(recording)
    for group in groups.values():
        yield from combinations(group, 2)


def _candidates(recordings: Sequence[Recording]) -> Iterator[tuple[Recording, Recording]]:
    """Pairs that share a whole number of their fingerprints: at an error rate of 0.1, one number in thirty survives
    whole. Numbers of silence and other ones that many recordings share tell nothing.
    """
    with_sound = [recording for recording in recordings if len(recording.fingerprint)]
    if not with_sound:
        return
    numbers = [np.unique(recording.fingerprint) for recording in with_sound]
    owners = np.repeat(np.arange(len(numbers)), [len(found) for found in numbers])
    values = np.concatenate(numbers)
    order = np.argsort(values, kind="stable")
    values, owners = values[order], owners[order]
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    sizes = np.diff(np.r_[starts, len(values)])
    found: set[tuple[int, int]] = set()
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        if size <= _POPULAR:
            found.update(combinations(owners[start : start + size].tolist(), 2))
    for first, second in sorted(found):
        yield with_sound[first], with_sound[second]
