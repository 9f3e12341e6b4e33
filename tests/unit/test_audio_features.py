"""Features of sounds whose features are known."""

from __future__ import annotations

import os
import subprocess
import sys

import librosa
import numpy as np
import pyloudnorm
import pytest
from numpy.typing import NDArray

from lakehouse.config.settings import CHECKOUT
from lakehouse.contracts import load
from lakehouse.domain.audio import loudness
from lakehouse.domain.audio.analysis import Analysis, extract, mixed
from lakehouse.domain.audio.features import (
    MAX_ANALYSED_S,
    Features,
    danceability_index,
    energy_index,
    key_of,
    newest,
    window,
)
from lakehouse.domain.audio.loudness import SILENCE_LUFS
from spark_jobs import compiled
from tests.audio_files import RATE_HZ, chord, clicks

#: Sounds that take other ways through the extraction.
EXTRACT = """
import numpy as np
from lakehouse.domain.audio.analysis import extract
from tests.audio_files import chord, clicks
for samples in (np.zeros(44_100, np.float32), chord(220, 3), clicks(120, 5)):
    extract(samples[:, None], 44_100)
    extract(np.stack([samples, samples[::-1]], axis=1), 48_000)
"""
IDENTITY = {"sha256", "extractor", "extractor_version", "track_id", "duration_ms", "fingerprint"}


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
    meter = loudness.Meter(rate_hz, channels)
    meter.add(np.ascontiguousarray(loud.T, np.float32))
    assert meter.integrated_lufs() == pytest.approx(expected, abs=0.1)


def test_mixing_is_the_mean_of_the_channels() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (3, 1000)).astype(np.float32)
    assert mixed(samples) == pytest.approx(samples.mean(axis=0), abs=1e-7)


@pytest.fixture(scope="module")
def tune() -> NDArray[np.float32]:
    """15 s of a beat over changing chords, off concert pitch, with noise that swells: something of everything."""
    rng = np.random.default_rng(4)
    chords = [chord(tonic_hz * 1.012, 3.0) for tonic_hz in (220.0, 174.61, 261.63, 196.0, 220.0)]
    noise = rng.normal(0, 0.02, 15 * RATE_HZ) * np.linspace(0, 1, 15 * RATE_HZ)
    return (np.concatenate(chords) + clicks(105, 15) + noise).astype(np.float32)


def test_features_are_librosas_own(tune: NDArray[np.float32]) -> None:
    """The bounds of `wavehouse bench features`, which compares whole recordings in the same way."""
    mine = extract(tune[:, None], RATE_HZ)
    samples = librosa.resample(tune, orig_sr=RATE_HZ, target_sr=22_050)
    mel = librosa.feature.melspectrogram(y=samples)
    expected = {
        "spectral_centroid_hz": librosa.feature.spectral_centroid(y=samples).mean(),
        "spectral_bandwidth_hz": librosa.feature.spectral_bandwidth(y=samples).mean(),
        "spectral_rolloff_hz": librosa.feature.spectral_rolloff(y=samples).mean(),
        "spectral_flatness": librosa.feature.spectral_flatness(y=samples).mean(),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(samples).mean(),
        "rms_energy": librosa.feature.rms(y=samples).mean(),
        "onset_rate_hz": len(librosa.onset.onset_detect(y=samples)) / 15,
    }
    assert {name: mine[name] for name in expected} == pytest.approx(expected, rel=0.01)  # type: ignore[literal-required]
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=20).mean(axis=1)
    assert mine["mfcc_mean"] == pytest.approx(mfcc, rel=0.01, abs=0.05)
    assert mine["chroma_mean"] == pytest.approx(librosa.feature.chroma_stft(y=samples).mean(axis=1), abs=0.01)
    contrast = librosa.feature.spectral_contrast(y=samples).mean(axis=1)
    assert mine["spectral_contrast_mean"] == pytest.approx(contrast, rel=0.01)
    bpm, beats = librosa.beat.beat_track(y=samples)
    assert mine["tempo_bpm"] == pytest.approx(float(bpm[0]), rel=0.04)
    assert mine["beat_times_s"] == pytest.approx(librosa.frames_to_time(beats), abs=0.03)


def test_blocks_are_only_how_samples_arrive(tune: NDArray[np.float32]) -> None:
    """Features of one block and of many are the same, to the precision of float32."""
    whole = Analysis(RATE_HZ, 1)
    whole.add(tune[:, None])
    expected = whole.features()
    mine = extract(tune[:, None], RATE_HZ)
    for name, value in expected.items():
        if not isinstance(value, str):
            assert mine[name] == pytest.approx(value, rel=1e-4), name  # type: ignore[literal-required]


def test_beats_lie_where_the_clicks_are() -> None:
    features = extract(clicks(120, 20)[:, None], RATE_HZ)
    off = [abs(time_s - round(time_s * 2) / 2) for time_s in features["beat_times_s"]]
    assert len(off) >= 35
    assert max(off) < 0.05
    assert features["beat_confidence"] > 0.8


@pytest.mark.parametrize(
    ("levels_dbfs", "expected_lu"),
    [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20), ((-50, -35, -20, -35, -50), 15)],
)
def test_loudness_range_of_the_standards_own_cases(levels_dbfs: tuple[int, ...], expected_lu: int) -> None:
    """EBU Tech 3342, table 1, cases 1 to 4: a stereo sine of 1,000 Hz, 20 s at each level; within 1 LU."""
    time = np.arange(20 * 48_000) / 48_000
    tone = np.concatenate([10 ** (level / 20) * np.sin(2 * np.pi * 1000 * time) for level in levels_dbfs])
    meter = loudness.Meter(48_000, 2)
    meter.add(np.stack([tone, tone]).astype(np.float32))
    assert meter.range_lu() == pytest.approx(expected_lu, abs=1)


@pytest.mark.parametrize(("part", "phase_degrees", "level", "expected_dbtp"), [
    (4, 0, 0.5, -6.0), (4, 45, 0.5, -6.0), (6, 60, 0.5, -6.0), (8, 67.5, 0.5, -6.0), (4, 45, 1.41, 3.0),
])  # fmt: skip
def test_true_peak_of_the_standards_own_cases(
    part: int, phase_degrees: float, level: float, expected_dbtp: float
) -> None:
    """EBU Tech 3341, table 1, cases 15 to 19: sines of a part of the sampling rate; +0.2, -0.4 dB."""
    time = np.arange(48_000)
    tone = level * np.sin(2 * np.pi * time / part + np.deg2rad(phase_degrees))
    tone *= np.minimum(1, np.minimum(time, time[::-1]) / 4800)  # fades in and out, as the standard has it
    meter = loudness.Meter(48_000, 1)
    meter.add(tone[None].astype(np.float32))
    assert expected_dbtp - 0.4 <= meter.true_peak_dbtp() <= expected_dbtp + 0.2


def test_stretches_that_are_passed_over_hold_no_peak() -> None:
    rng = np.random.default_rng(5)
    samples = (rng.normal(0, 0.1, 20_000) * np.abs(np.sin(np.arange(20_000) / 900))).astype(np.float32)
    oversampled = [np.convolve(samples, phase)[: len(samples)] for phase in loudness.PHASES]
    meter = loudness.Meter(44_100, 1)
    meter.add(samples[None])
    expected = max(np.abs(samples).max(), np.abs(oversampled).max())
    assert meter.true_peak_dbtp() == pytest.approx(20 * np.log10(expected), abs=1e-3)


def test_silence_at_both_ends() -> None:
    sound = np.pad(chord(440, 2), (RATE_HZ // 2, RATE_HZ // 4))
    features = extract(sound[:, None], RATE_HZ)
    assert features["silence_start_ms"] == pytest.approx(500, abs=25)
    assert features["silence_end_ms"] == pytest.approx(250, abs=50)


def test_indices_are_their_formulas() -> None:
    assert danceability_index(120, 0.8) == pytest.approx(0.8)
    assert danceability_index(240, 0.8) == pytest.approx(0.8 * np.exp(-2))
    assert danceability_index(0, 0) == 0
    assert energy_index(-5, 8, 4000) == pytest.approx(1)
    assert energy_index(-22.5, 4, 2000) == pytest.approx(0.5)
    assert energy_index(-70, 0, 0) == 0


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
    assert (features["beat_times_s"], features["loudness_range_lu"]) == ([], None)
    assert (features["silence_start_ms"], features["silence_end_ms"]) == (2000, 0)
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


def test_numba_is_not_loaded_before_its_cache_is_named() -> None:
    """It reads where the cache is when it is imported, and the job's main names it later than its own imports."""
    check = "import sys, spark_jobs.extract_features; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=CHECKOUT)


def test_workers_find_everything_compiled() -> None:
    environment = os.environ | compiled.ENVIRONMENT
    subprocess.run([sys.executable, "-m", "spark_jobs.compiled"], check=True, cwd=CHECKOUT)
    kept = sorted(compiled.CACHE.rglob("*.nb?"))
    assert kept
    subprocess.run([sys.executable, "-c", EXTRACT], check=True, cwd=CHECKOUT, env=environment)
    assert sorted(compiled.CACHE.rglob("*.nb?")) == kept
