"""What a recording sounds like: tempo, key, loudness and timbre from its samples. Pure.

One pass: the samples are brought to mono at 22.05 kHz once, and everything but loudness comes from one short-time
Fourier transform (2,048 samples, hop 512, Hann). A change of any number here is a new `VERSION`.

Sources
    loudness    ITU-R BS.1770-4, integrated and gated, on the full rate and all channels (see loudness.py)
    tempo       autocorrelation of the onset strength, weighted by a log-normal prior around 120 bpm
                (Ellis 2007, Beat Tracking by Dynamic Programming; librosa.feature.tempo)
    key         correlation of the mean chroma with the 24 key profiles of Krumhansl and Kessler (1982)
    MFCC        20 coefficients of 128 Slaney mel bands in dB (librosa.feature.mfcc)
    centroid, roll-off (85 %), zero crossings, RMS, onsets: librosa's definitions
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

EXTRACTOR = "librosa-basic"
VERSION = "1.1.0"

RATE_HZ = 22_050
FFT, HOP = 2048, 512
MFCC, MELS = 20, 128
ROLLOFF = 0.85
#: The beat is looked for in windows of 9 s (librosa's default), one every 93 ms: those between tell the same.
TEMPOGRAM_FRAMES, TEMPOGRAM_EVERY = 384, 4
#: Longer recordings are described by their middle part, so that memory stays bounded (about 1.2 GB at the limit).
MAX_ANALYSED_S = 900
#: A mean chroma flatter than this has no key.
_FLAT = 1e-6

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
#: Probe-tone ratings of Krumhansl and Kessler (1982), tonic first.
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)

Samples = NDArray[np.float32]


class Features(TypedDict):
    """One row of contract silver_audit.audio_features without its identity; units as there."""

    tempo_bpm: float
    tempo_confidence: float
    musical_key: str
    musical_mode: str
    key_confidence: float
    loudness_lufs: float
    spectral_centroid_hz: float
    spectral_rolloff_hz: float
    zero_crossing_rate: float
    rms_energy: float
    onset_rate_hz: float
    mfcc_mean: list[float]
    chroma_mean: list[float]


def extract(samples: Samples, rate_hz: int) -> Features:
    """Features of a recording: `samples` are float32 in -1..1 of shape (frames, channels).

    Raises:
        ValueError: fewer than 400 ms of samples, or a sample that is no finite number.
    """
    import librosa
    import soxr
    from librosa.onset import onset_strength

    from lakehouse.domain.audio import loudness

    if len(samples) < 0.4 * rate_hz:
        raise ValueError("fewer than 400 ms of samples: loudness is not defined (ITU-R BS.1770-4)")
    if not np.isfinite(samples).all():
        raise ValueError("samples that are no finite numbers")
    mono = soxr.resample(mixed(samples), rate_hz, RATE_HZ, quality="HQ")
    magnitude = np.abs(librosa.stft(mono, n_fft=FFT, hop_length=HOP))
    power = magnitude**2
    mel_db = librosa.power_to_db(librosa.feature.melspectrogram(S=power, sr=RATE_HZ, n_mels=MELS))
    onsets = onset_strength(S=mel_db, sr=RATE_HZ, hop_length=HOP)
    tempo_bpm, tempo_confidence = tempo(onsets)
    chroma = mean_chroma(power)
    key, mode, key_confidence = key_of(chroma)
    return {
        "tempo_bpm": tempo_bpm,
        "tempo_confidence": tempo_confidence,
        "musical_key": key,
        "musical_mode": mode,
        "key_confidence": key_confidence,
        "loudness_lufs": loudness.integrated(samples, rate_hz),
        "spectral_centroid_hz": centroid(magnitude),
        "spectral_rolloff_hz": float(
            librosa.feature.spectral_rolloff(S=magnitude, sr=RATE_HZ, roll_percent=ROLLOFF).mean()
        ),
        "zero_crossing_rate": float(librosa.feature.zero_crossing_rate(mono, hop_length=HOP).mean()),
        "rms_energy": float(librosa.feature.rms(y=mono, hop_length=HOP).mean()),
        "onset_rate_hz": onset_rate(onsets, len(mono) / RATE_HZ),
        "mfcc_mean": _floats(librosa.feature.mfcc(S=mel_db, n_mfcc=MFCC).mean(axis=1)),
        "chroma_mean": _floats(chroma),
    }


def mixed(samples: Samples) -> Samples:
    """The mean of the channels, of shape (frames,)."""
    # Channel by channel: numpy's mean over a short axis takes ten times as long.
    total = samples[:, 0].copy()
    for channel in range(1, samples.shape[1]):
        total += samples[:, channel]
    total /= samples.shape[1]
    return total


def centroid(magnitude: NDArray[Any]) -> float:
    """Mean over time of the magnitude-weighted mean frequency in Hz; a silent moment has 0 (librosa's definition)."""
    import librosa

    total = magnitude.sum(axis=0)
    weighted = librosa.fft_frequencies(sr=RATE_HZ, n_fft=FFT).astype(np.float32) @ magnitude
    return float(np.divide(weighted, total, out=np.zeros_like(total), where=total > np.finfo(total.dtype).tiny).mean())


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


def tempo(onsets: NDArray[Any]) -> tuple[float, float]:
    """Tempo in beats a minute from the onset strength by frame, and how strong the beat is, 0..1.

    librosa finds the lag; a parabola through its neighbours finds the tempo between two lags. The confidence is the
    autocorrelation there in relation to lag 0, averaged over time with strong moments counting for more, so that the
    noise of a sound without a beat does not pass for one. No onsets: 0 and 0.
    """
    import librosa
    from scipy.signal import get_window

    if not onsets.any():
        return 0.0, 0.0
    padded = np.pad(onsets, TEMPOGRAM_FRAMES // 2, mode="linear_ramp")
    frames = librosa.util.frame(padded, frame_length=TEMPOGRAM_FRAMES, hop_length=TEMPOGRAM_EVERY)
    hann = get_window("hann", TEMPOGRAM_FRAMES)[:, np.newaxis]
    tempogram = librosa.autocorrelate(frames * hann, axis=0)
    coarse = float(librosa.feature.tempo(tg=librosa.util.normalize(tempogram, axis=0), sr=RATE_HZ, hop_length=HOP)[0])
    strength = tempogram.mean(axis=1)
    if coarse <= 0 or strength[0] <= 0:
        return 0.0, 0.0
    frames_a_minute = 60 * RATE_HZ / HOP
    lag = round(frames_a_minute / coarse)
    before, here, after = (float(strength[i]) for i in (lag - 1, lag, lag + 1))
    curvature = before - 2 * here + after
    shift = 0.5 * (before - after) / curvature if curvature < 0 and here >= max(before, after) else 0.0
    return frames_a_minute / (lag + shift), min(max(here / float(strength[0]), 0.0), 1.0)


def mean_chroma(power: NDArray[Any]) -> NDArray[Any]:
    """Mean strength of the 12 pitch classes, C first, each frame scaled to its strongest; tuning is estimated."""
    import librosa

    if not power.any():
        return np.zeros(len(PITCH_CLASSES))
    # Tuning does not change within a recording: every eighth frame tells it as well, in an eighth of the time.
    tuning = librosa.estimate_tuning(S=np.ascontiguousarray(power[:, ::8]), sr=RATE_HZ, n_fft=FFT)
    chroma = librosa.feature.chroma_stft(S=power, sr=RATE_HZ, tuning=tuning, hop_length=HOP)
    return np.asarray(chroma.mean(axis=1))


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


def onset_rate(onsets: NDArray[Any], seconds: float) -> float:
    """Onsets a second."""
    from librosa.onset import onset_detect

    if not onsets.any():
        return 0.0
    return len(onset_detect(onset_envelope=onsets, sr=RATE_HZ, hop_length=HOP)) / seconds


def _floats(values: NDArray[Any]) -> list[float]:
    return [float(value) for value in values]
