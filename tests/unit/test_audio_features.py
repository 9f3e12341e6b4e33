"""Features of sounds whose features are known."""

from __future__ import annotations

import os
import subprocess
import sys

import librosa
import numpy as np
import pyloudnorm
import pytest

from lakehouse.config.settings import CHECKOUT
from lakehouse.contracts import load
from lakehouse.domain.audio import loudness
from lakehouse.domain.audio.features import (
    MAX_ANALYSED_S,
    Features,
    centroid,
    extract,
    key_of,
    mixed,
    newest,
    window,
)
from lakehouse.domain.audio.loudness import SILENCE_LUFS
from spark_jobs import compiled
from tests.audio_files import RATE_HZ, chord, clicks

#: Sounds that take other ways through the extraction.
EXTRACT = """
import numpy as np
from lakehouse.domain.audio.features import extract
from tests.audio_files import chord, clicks
for samples in (np.zeros(44_100, np.float32), chord(220, 3), clicks(120, 5)):
    extract(samples[:, None], 44_100)
    extract(np.stack([samples, samples[::-1]], axis=1), 48_000)
"""
IDENTITY = {"sha256", "extractor", "extractor_version", "track_id", "duration_ms"}


def test_features_are_the_columns_of_the_contract() -> None:
    columns = {column.name for column in load("silver_audit.audio_features").columns}
    assert set(Features.__annotations__) == columns - IDENTITY


@pytest.mark.parametrize("bpm", [90, 120, 140])
def test_tempo_of_a_metronome(bpm: int) -> None:
    features = extract(clicks(bpm, 20)[:, None], RATE_HZ)
    assert features["tempo_bpm"] == pytest.approx(bpm, rel=0.01)
    assert features["tempo_confidence"] > 0.5
    assert features["onset_rate_hz"] == pytest.approx(bpm / 60, rel=0.1)


def test_a_tone_has_no_convincing_beat() -> None:
    assert extract(chord(440, 10, (0,))[:, None], RATE_HZ)["tempo_confidence"] < 0.3


@pytest.mark.parametrize(
    ("tonic_hz", "steps", "key", "mode"),
    [
        (220.0, (0, 4, 7, 12), "A", "major"),
        (261.63, (0, 3, 7, 12), "C", "minor"),
        (185.0, (0, 4, 7, 12), "F#", "major"),
    ],
)
def test_key_of_a_chord(tonic_hz: float, steps: tuple[int, ...], key: str, mode: str) -> None:
    features = extract(chord(tonic_hz, 5, steps)[:, None], RATE_HZ)
    assert (features["musical_key"], features["musical_mode"]) == (key, mode)
    assert features["key_confidence"] > 0.5


def test_key_needs_pitch() -> None:
    assert key_of(np.full(12, 0.5)) == ("C", "major", 0.0)


def test_loudness_of_the_reference_tone() -> None:
    """ITU-R BS.1770-4: a 997 Hz sine at 0 dBFS in one channel reads -3.01 LUFS; ours is at half scale, -6.02 dB."""
    time = np.arange(RATE_HZ * 10) / RATE_HZ
    tone = (0.5 * np.sin(2 * np.pi * 997 * time)).astype(np.float32)
    assert extract(tone[:, None], RATE_HZ)["loudness_lufs"] == pytest.approx(-9.03, abs=0.1)


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_loudness_equals_an_independent_meter(rate_hz: int, channels: int) -> None:
    """pyloudnorm designs its filters in another way, which makes it read a little less."""
    rng = np.random.default_rng(rate_hz + channels)
    loud = np.cumsum(rng.normal(0, 0.01, (rate_hz * 6, channels)), axis=0)
    loud = (loud - loud.mean(axis=0)) / np.abs(loud).max()
    loud[rate_hz * 2 : rate_hz * 3] *= 0.001  # below both gates
    expected = pyloudnorm.Meter(rate_hz).integrated_loudness(loud)
    assert loudness.integrated(loud.astype(np.float32), rate_hz) == pytest.approx(expected, abs=0.1)


def test_mixing_is_the_mean_of_the_channels() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (1000, 3)).astype(np.float32)
    assert mixed(samples) == pytest.approx(samples.mean(axis=1), abs=1e-7)


def test_centroid_is_librosas() -> None:
    magnitude = np.abs(np.random.default_rng(2).normal(0, 1, (1025, 40))).astype(np.float32)
    magnitude[:, 7] = 0  # a silent moment
    expected = librosa.feature.spectral_centroid(S=magnitude, sr=22_050).mean()
    assert centroid(magnitude) == pytest.approx(float(expected), rel=1e-4)


def test_spectrum_of_a_tone() -> None:
    features = extract(chord(1000, 5, (0,))[:, None], RATE_HZ)
    assert features["spectral_centroid_hz"] == pytest.approx(1000, rel=0.02)
    assert features["zero_crossing_rate"] == pytest.approx(2 * 1000 / 22_050, rel=0.02)
    assert features["rms_energy"] == pytest.approx(0.1 / np.sqrt(2), rel=0.02)
    assert len(features["mfcc_mean"]) == 20
    assert int(np.argmax(features["chroma_mean"])) == 11  # 1 kHz is nearest to B5


def test_silence_has_defined_features() -> None:
    features = extract(np.zeros((RATE_HZ * 2, 2), np.float32), RATE_HZ)
    assert features["loudness_lufs"] == SILENCE_LUFS
    assert (features["tempo_bpm"], features["key_confidence"], features["onset_rate_hz"]) == (0.0, 0.0, 0.0)
    numbers = [value for value in features.values() if isinstance(value, float)]
    assert np.isfinite(numbers).all()
    assert np.isfinite(features["mfcc_mean"] + features["chroma_mean"]).all()


def test_what_cannot_be_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="400 ms"):
        extract(np.zeros((100, 1), np.float32), RATE_HZ)
    with pytest.raises(ValueError, match="finite"):
        extract(np.full((RATE_HZ, 1), np.nan, np.float32), RATE_HZ)


def test_long_recordings_are_described_by_their_middle() -> None:
    assert window(1000, 44_100) == (0, 1000)
    start, length = window(4 * 3600 * 44_100, 44_100)
    assert length == MAX_ANALYSED_S * 44_100
    assert start == (4 * 3600 - MAX_ANALYSED_S) * 44_100 // 2


def test_the_newest_extractor_version_wins() -> None:
    rows = [{"track_id": 1, "extractor_version": v} for v in ("1.9.0", "1.10.0", "1.2.0")]
    assert newest(rows) == {1: {"track_id": 1, "extractor_version": "1.10.0"}}


def test_workers_find_everything_compiled() -> None:
    environment = os.environ | compiled.ENVIRONMENT
    subprocess.run([sys.executable, "-m", "spark_jobs.compiled"], check=True, cwd=CHECKOUT)
    kept = sorted(compiled.CACHE.rglob("*.nb?"))
    assert kept
    subprocess.run([sys.executable, "-c", EXTRACT], check=True, cwd=CHECKOUT, env=environment)
    assert sorted(compiled.CACHE.rglob("*.nb?")) == kept
