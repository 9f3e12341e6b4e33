"""The features of a recording: their names, their version, and what follows from others by a formula. Pure.

`analysis.py` computes them in one pass. A change of any number is a new `VERSION`. docs/architecture/features.md says
of each feature what it is, from which source, and how far it agrees with librosa.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

EXTRACTOR = "one-pass"
VERSION = "2.0.0"

#: Longer recordings are described by their middle part, so that memory stays bounded.
MAX_ANALYSED_S = 7200
#: A mean chroma flatter than this has no key.
_FLAT = 1e-6

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
#: Probe-tone ratings of Krumhansl and Kessler (1982), tonic first.
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


class Features(TypedDict):
    """A row of contract silver_audit.audio_features without its identity and fingerprint; units as there."""

    tempo_bpm: float
    tempo_confidence: float
    beat_times_s: list[float]
    beat_confidence: float
    musical_key: str
    musical_mode: str
    key_confidence: float
    loudness_lufs: float
    loudness_range_lu: float | None
    true_peak_dbtp: float
    spectral_centroid_hz: float
    spectral_bandwidth_hz: float
    spectral_rolloff_hz: float
    spectral_flatness: float
    spectral_contrast_mean: list[float]
    zero_crossing_rate: float
    rms_energy: float
    onset_rate_hz: float
    mfcc_mean: list[float]
    chroma_mean: list[float]
    danceability_index: float
    energy_index: float
    silence_start_ms: int | None
    silence_end_ms: int | None


def newest(rows: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Rows of silver_audit.audio_features by track_id, of each track the one with the highest extractor version."""
    by_track: dict[int, dict[str, Any]] = {}
    for row in rows:
        known = by_track.get(row["track_id"])
        if known is None or _version(row["extractor_version"]) > _version(known["extractor_version"]):
            by_track[row["track_id"]] = row
    return by_track


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def window(frames: int, rate_hz: int) -> tuple[int, int]:
    """First frame and number of frames to analyse of a recording: all of it, or the middle `MAX_ANALYSED_S`."""
    length = min(frames, MAX_ANALYSED_S * rate_hz)
    return (frames - length) // 2, length


def key_of(chroma: NDArray[Any]) -> tuple[str, str, float]:
    """Key of a mean chroma: tonic, `major` or `minor`, and the correlation with its profile (-1..1).

    Without any pitch the answer is C major with a confidence of 0.
    """
    if chroma.std() < _FLAT:
        return PITCH_CLASSES[0], "major", 0.0
    best = max(
        (float(np.corrcoef(chroma, np.roll(profile, tonic))[0, 1]), PITCH_CLASSES[tonic], mode)
        for mode, profile in (("major", MAJOR), ("minor", MINOR))
        for tonic in range(len(PITCH_CLASSES))
    )
    return best[1], best[2], best[0]


def danceability_index(tempo_bpm: float, tempo_confidence: float) -> float:
    """How regular a beat at a tempo people dance to is, 0..1: a formula, not an opinion of listeners.

    The tempo's confidence times a log-normal preference for 120 bpm with a deviation of half an octave.
    """
    if tempo_bpm <= 0:
        return 0.0
    return tempo_confidence * float(np.exp(-0.5 * (np.log2(tempo_bpm / 120) / 0.5) ** 2))


def energy_index(loudness_lufs: float, onset_rate_hz: float, centroid_hz: float) -> float:
    """How loud, busy and bright a recording is, 0..1: a formula, not an opinion of listeners.

    The mean of three linear scales: -40 to -5 LUFS, 0 to 8 onsets a second, a spectral centroid of 0 to 4,000 Hz.
    """
    scales = ((loudness_lufs + 40) / 35, onset_rate_hz / 8, centroid_hz / 4000)
    return sum(min(max(scale, 0.0), 1.0) for scale in scales) / len(scales)
