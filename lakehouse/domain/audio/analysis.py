"""What a recording sounds like, from its samples, in one pass over blocks of them. Pure.

Loudness is measured on the full rate and all channels, everything else on mono at 22.05 kHz from one short-time Fourier
transform (2,048 samples, hop 512, Hann), whose frames are described and forgotten. Kept are the mel bands of each frame
(22 kB a second of audio).

Importing this imports numba, whose cache has to be named before (see spark_jobs/compiled.py).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakehouse.domain.audio import loudness, spectrum
from lakehouse.domain.audio.features import PITCH_CLASSES, Features, danceability_index, energy_index, key_of
from lakehouse.domain.audio.spectrum import BANDS, BINS, FFT, HOP, MELS, RATE_HZ, TUNINGS

MFCC = 20
#: The beat is looked for in windows of 9 s (librosa's default), one every 186 ms: those between tell the same.
TEMPOGRAM_FRAMES, TEMPOGRAM_EVERY = 384, 8
#: Frames are transformed so many at a time: they fit into the processor's cache.
BATCH = 32
#: Seconds of a block, which is what is decoded at a time.
BLOCK_S = 2
#: A moment whose root mean square is this far below the loudest one is silent; so is one below the other, full scale.
SILENT_DB, _INAUDIBLE = 60.0, 1e-8
#: Decibels below the loudest mel band at which librosa's logarithm ends.
_RANGE_DB = 80.0

Samples = NDArray[np.float32]


def block_frames(rate_hz: int) -> int:
    """Frames of a block: `BLOCK_S` seconds, as a whole number of the loudness meter's steps."""
    return BLOCK_S * loudness.STEPS_A_SECOND * (rate_hz // loudness.STEPS_A_SECOND)


def extract(samples: Samples, rate_hz: int) -> Features:
    """Features of a recording in memory: `samples` are float32 in -1..1 of shape (frames, channels).

    Raises:
        ValueError: fewer than 400 ms of samples, or a sample that is no finite number.
    """
    analysis = Analysis(rate_hz, samples.shape[1])
    samples = np.ascontiguousarray(samples)
    length = block_frames(rate_hz)
    for start in range(0, len(samples), length):
        analysis.add(samples[start : start + length])
    return analysis.features()


class Analysis:
    """Describes a recording while its blocks go by."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        import soxr

        self._meter = loudness.Meter(rate_hz, channels)
        self._frames = 0
        self._rate_hz = rate_hz
        self._resampler = None
        if rate_hz != RATE_HZ:
            self._resampler = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")
        # Half a frame of silence in front, so that frame t is centred on sample t * HOP.
        self._waiting = np.zeros(FFT // 2, np.float32)
        self._last = np.float32(0)
        self._described = 0
        self._energy: list[NDArray[np.float64]] = []
        self._crossings: list[NDArray[np.float64]] = []
        self._sums = np.zeros(4)
        self._mel: list[Samples] = []
        self._contrast: list[Samples] = []
        self._classes = np.zeros((len(TUNINGS), len(PITCH_CLASSES)))
        self._pitches: list[Samples] = []
        self._buffers = _Buffers()

    def add(self, samples: Samples) -> Samples:
        """Take the next block; returns the samples of its mono mix at 22.05 kHz that are known by now.

        Every block but the last has `block_frames` frames, float32 in -1..1 of shape (frames, channels), contiguous.

        Raises:
            ValueError: a sample that is no finite number.
        """
        channels = loudness.by_channel(samples)
        mono = mixed(channels)
        if not np.isfinite(mono.sum()):
            raise ValueError("samples that are no finite numbers")
        self._meter.add(channels)
        self._frames += len(samples)
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono)
        self._describe(mono)
        return mono

    def features(self) -> Features:
        """The features of all blocks. Nothing can be added afterwards.

        Raises:
            ValueError: fewer than 400 ms of samples.
        """
        loudness_lufs = self._meter.integrated_lufs()
        if self._resampler is not None:
            self._describe(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        self._describe(np.zeros(FFT // 2, np.float32))
        self._count_hops(self._waiting, FFT // HOP - 1)
        seconds = self._frames / self._rate_hz
        mean_rise, median_rise, mfcc = _from_mel(np.concatenate(self._mel))
        self._mel.clear()
        tempo_bpm, tempo_confidence = tempo(median_rise)
        beat_times_s, beat_confidence = beats(median_rise, tempo_bpm)
        chroma = self._mean_chroma()
        key, mode, key_confidence = key_of(chroma)
        centroid, bandwidth, rolloff, flatness = (float(total) / self._described for total in self._sums)
        rms = self._rms()
        rate_hz = onset_rate(mean_rise, seconds)
        # Without the half frames in front and behind.
        heard = np.concatenate(self._energy)[FFT // HOP // 2 : -(FFT // HOP // 2)]
        silence_start_ms, silence_end_ms = silences(np.sqrt(heard / HOP), seconds)
        hertz = RATE_HZ / FFT
        return {
            "tempo_bpm": tempo_bpm,
            "tempo_confidence": tempo_confidence,
            "beat_times_s": beat_times_s,
            "beat_confidence": beat_confidence,
            "musical_key": key,
            "musical_mode": mode,
            "key_confidence": key_confidence,
            "loudness_lufs": loudness_lufs,
            "loudness_range_lu": self._meter.range_lu(),
            "true_peak_dbtp": self._meter.true_peak_dbtp(),
            "spectral_centroid_hz": centroid * hertz,
            "spectral_bandwidth_hz": bandwidth * hertz,
            "spectral_rolloff_hz": rolloff * hertz,
            "spectral_flatness": flatness,
            "spectral_contrast_mean": self._mean_contrast(),
            "zero_crossing_rate": self._zero_crossing_rate(),
            "rms_energy": float(rms.mean()),
            "onset_rate_hz": rate_hz,
            "mfcc_mean": mfcc,
            "chroma_mean": _floats(chroma),
            "danceability_index": danceability_index(tempo_bpm, tempo_confidence),
            "energy_index": energy_index(loudness_lufs, rate_hz, centroid * hertz),
            "silence_start_ms": silence_start_ms,
            "silence_end_ms": silence_end_ms,
        }

    def _describe(self, mono: Samples) -> None:
        """Describe all frames that are complete with these samples; the rest waits."""
        waiting = np.concatenate((self._waiting, mono))
        number = max((len(waiting) - FFT) // HOP + 1, 0)
        for start in range(0, number, BATCH):
            self._describe_frames(waiting[start * HOP :], min(BATCH, number - start))
        self._count_hops(waiting, number)
        self._waiting = waiting[number * HOP :]

    def _describe_frames(self, samples: Samples, number: int) -> None:
        from scipy.fft import rfft

        filters, buffers = _filters(), self._buffers
        frames, power, classes = (b[:number] for b in (buffers.frames, buffers.power, buffers.classes))
        mel = np.empty((number, MELS), np.float32)
        contrast = np.empty((2, number, BANDS), np.float32)
        spectrum.windowed(samples, filters.window, frames)
        parts = rfft(frames, axis=1, overwrite_x=True).view(np.float32)
        spectrum.describe(
            parts, filters.mel_first, filters.mel_start, filters.mel_weight, filters.bands,
            power, mel, contrast[0], contrast[1], self._sums,
        )  # fmt: skip
        np.matmul(power, filters.chroma, out=classes)
        spectrum.add_classes(classes.reshape(number, len(TUNINGS), -1), self._classes)
        found = spectrum.pitches(power, buffers.pitches)
        self._pitches.append(buffers.pitches[:found].copy())
        self._mel.append(mel)
        self._contrast.append(contrast)
        self._described += number

    def _count_hops(self, samples: Samples, number: int) -> None:
        energy, crossings = np.empty(number), np.empty(number)
        self._last = spectrum.hops(samples, number, self._last, energy, crossings)
        self._energy.append(energy)
        self._crossings.append(crossings)

    def _rms(self) -> NDArray[np.float64]:
        """Root mean square by frame."""
        rms: NDArray[np.float64] = np.sqrt(_by_frame(self._energy) / FFT)
        return rms

    def _zero_crossing_rate(self) -> float:
        return float(_by_frame(self._crossings).mean() / FFT)

    def _mean_chroma(self) -> NDArray[np.float64]:
        """Mean strength of the pitch classes at the recording's tuning, between those that were computed."""
        from librosa import pitch_tuning

        found = np.concatenate(self._pitches)
        if not len(found):
            return np.zeros(len(PITCH_CLASSES))
        tuning = pitch_tuning(found[found[:, 1] >= np.median(found[:, 1]), 0])
        return np.array([np.interp(tuning, TUNINGS, row) for row in self._classes.T]) / self._described

    def _mean_contrast(self) -> list[float]:
        """Mean distance in dB of each band's peaks from its valleys (librosa.feature.spectral_contrast)."""
        peaks, valleys = (_decibels(side) for side in np.concatenate(self._contrast, axis=1))
        least = [side.max() - _RANGE_DB for side in (peaks, valleys)]
        return _floats((np.maximum(peaks, least[0]) - np.maximum(valleys, least[1])).mean(axis=0))


class _Buffers:
    """Memory that each batch of frames uses again."""

    def __init__(self) -> None:
        self.frames = np.empty((BATCH, FFT), np.float32)
        self.power = np.empty((BATCH, BINS), np.float32)
        self.classes = np.empty((BATCH, len(TUNINGS) * len(PITCH_CLASSES)), np.float32)
        self.pitches = np.empty((BATCH * BINS // 2, 2), np.float32)


@cache
def _filters() -> spectrum.Filters:
    return spectrum.filters()


def _by_frame(hops: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Sums over the hops that a frame covers."""
    total = np.cumsum(np.concatenate([np.zeros(1), *hops]))
    covered = FFT // HOP
    summed: NDArray[np.float64] = np.maximum(total[covered:] - total[:-covered], 0.0)
    return summed


def _decibels(power: Samples) -> Samples:
    """Decibels of power, in place."""
    np.maximum(power, np.float32(spectrum.FLOOR), out=power)
    np.log(power, out=power)  # numpy's natural logarithm is vectorised
    power *= np.float32(10 / np.log(10))
    return power


def _from_mel(mel: Samples) -> tuple[Samples, Samples, list[float]]:
    """Onset strength by frame as mean and as median over the mel bands, and the mean MFCC, from mel power.

    The mean strength finds onsets, the median beats, as in librosa.
    """
    from scipy.fft import dct

    decibels = _decibels(mel)
    least = decibels.max() - np.float32(_RANGE_DB)
    frames = len(decibels)
    shift = 1 + FFT // (2 * HOP)
    rises = np.zeros((2, frames + shift), np.float32)
    spectrum.rises(decibels, least, rises[0, shift:], rises[1, shift:])
    np.maximum(decibels, least, out=decibels)
    # The transform is linear: that of the mean is the mean of the transforms.
    mfcc = dct(decibels.mean(axis=0, dtype=np.float64), type=2, norm="ortho")[:MFCC]
    return rises[0, :frames], rises[1, :frames], _floats(mfcc)


def mixed(channels: Samples) -> Samples:
    """The mean of the channels (channels, frames)."""
    # Channel by channel: numpy's mean over a short axis takes longer.
    total: Samples = channels[0].copy()
    for channel in channels[1:]:
        total += channel
    total /= len(channels)
    return total


def tempo(onsets: NDArray[Any]) -> tuple[float, float]:
    """Tempo in beats a minute from the onset strength by frame, and how strong the beat is, 0..1.

    The lag is librosa's (autocorrelation in windows, weighted by a log-normal prior around 120 bpm: Ellis 2007); a
    parabola through its neighbours finds the tempo between two lags. The confidence is the autocorrelation there in
    relation to lag 0, averaged over time with strong moments counting for more, so that the noise of a sound without a
    beat does not pass for one. No onsets: 0 and 0.
    """
    from librosa.feature import tempo as librosa_tempo

    if not onsets.any():
        return 0.0, 0.0
    normalised, strength = _autocorrelation(onsets)
    coarse = float(librosa_tempo(tg=normalised[:, np.newaxis], sr=RATE_HZ, hop_length=HOP)[0])
    if coarse <= 0 or strength[0] <= 0:
        return 0.0, 0.0
    frames_a_minute = 60 * RATE_HZ / HOP
    lag = round(frames_a_minute / coarse)
    before, here, after = (float(strength[i]) for i in (lag - 1, lag, lag + 1))
    curvature = before - 2 * here + after
    shift = 0.5 * (before - after) / curvature if curvature < 0 and here >= max(before, after) else 0.0
    return frames_a_minute / (lag + shift), min(max(here / float(strength[0]), 0.0), 1.0)


def _autocorrelation(onsets: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean over windows of their autocorrelation by lag: each scaled to its largest, and as it is."""
    from scipy.fft import irfft, next_fast_len, rfft
    from scipy.signal import get_window

    padded = np.pad(onsets, TEMPOGRAM_FRAMES // 2, mode="linear_ramp")
    windows = np.lib.stride_tricks.sliding_window_view(padded, TEMPOGRAM_FRAMES)[: len(onsets) : TEMPOGRAM_EVERY]
    hann = get_window("hann", TEMPOGRAM_FRAMES).astype(np.float32)
    length = next_fast_len(2 * TEMPOGRAM_FRAMES - 1, real=True)
    normalised, strength = np.zeros(TEMPOGRAM_FRAMES), np.zeros(TEMPOGRAM_FRAMES)
    for start in range(0, len(windows), BATCH):
        transformed = rfft(windows[start : start + BATCH] * hann, length, axis=1)
        power = transformed.real**2 + transformed.imag**2
        lags = irfft(power, length, axis=1)[:, :TEMPOGRAM_FRAMES]
        largest = np.abs(lags).max(axis=1)
        strength += lags.sum(axis=0)
        loud = largest > np.finfo(np.float32).tiny
        normalised += (lags[loud] / largest[loud, np.newaxis]).sum(axis=0)
    return normalised / len(windows), strength / len(windows)


def beats(onsets: NDArray[Any], tempo_bpm: float) -> tuple[list[float], float]:
    """Times of the beats in s (dynamic programming, Ellis 2007: librosa.beat.beat_track), and a confidence, 0..1.

    The confidence is 1 minus the mean onset strength of all frames over that of the beats: 0 where beats are as weak as
    any moment.
    """
    from librosa.beat import beat_track

    if tempo_bpm <= 0:
        return [], 0.0
    _, found = beat_track(onset_envelope=onsets, bpm=tempo_bpm, sr=RATE_HZ, hop_length=HOP)
    at_beats = float(onsets[found].mean()) if len(found) else 0.0
    confidence = max(1 - float(onsets.mean()) / at_beats, 0.0) if at_beats > 0 else 0.0
    return [round(float(frame) * HOP / RATE_HZ, 3) for frame in found], confidence


def silences(rms: NDArray[np.float64], seconds: float) -> tuple[int, int]:
    """Silence before the first and after the last moment that is audible, in ms; `rms` is by hop (23 ms).

    Audible is what is less than `SILENT_DB` below the loudest moment. Without any, all is silence before.
    """
    duration_ms = round(1000 * seconds)
    least = max(float(rms.max()) * 10 ** (-SILENT_DB / 20), _INAUDIBLE)
    audible = np.flatnonzero(rms > least)
    if not audible.size:
        return duration_ms, 0
    start_ms, end_ms = (round(1000 * int(hop) * HOP / RATE_HZ) for hop in (audible[0], audible[-1] + 1))
    return start_ms, max(duration_ms - end_ms, 0)


def onset_rate(onsets: NDArray[Any], seconds: float) -> float:
    """Onsets a second."""
    from librosa.onset import onset_detect

    if not onsets.any():
        return 0.0
    return len(onset_detect(onset_envelope=onsets, sr=RATE_HZ, hop_length=HOP)) / seconds


def _floats(values: NDArray[Any]) -> list[float]:
    return [float(value) for value in values]
