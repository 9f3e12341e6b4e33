"""What one frame of a short-time Fourier transform says, compiled. Pure.

librosa's definitions, frame by frame, so that no spectrogram is ever held: power, centroid, bandwidth, roll-off,
flatness, contrast, mel bands, pitch classes, and peaks for the tuning.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

RATE_HZ, FFT, HOP = 22_050, 2048, 512
BINS: Final = FFT // 2 + 1
MELS: Final = 128
ROLLOFF: Final = 0.85
#: Spectral contrast: below 200 Hz and six octaves above (Jiang et al. 2002; librosa.feature.spectral_contrast).
BANDS: Final = 7
_QUANTILE = 0.02
#: Smallest power that a logarithm is taken of.
FLOOR: Final = 1e-10
#: Peaks for the tuning lie in this range of bins (150 to 4,000 Hz) and above this share of the frame's largest power.
_PITCH_FROM: Final = 14
_PITCH_TO: Final = 372
_PITCH_SHARE: Final = 0.1
#: Parts of a semitone for which pitch classes are computed; between them they are interpolated.
TUNINGS = (-0.5, -0.3, -0.1, 0.1, 0.3, 0.5)
CLASSES: Final = 12
_NOTHING = 1e-9

Floats = NDArray[np.float32]


class Filters(NamedTuple):
    """What is computed once: see `filters`."""

    window: Floats
    mel_first: NDArray[np.int32]
    mel_start: NDArray[np.int32]
    mel_weight: Floats
    chroma: Floats
    bands: NDArray[np.int32]


def filters() -> Filters:
    """Window, mel bands as (first bin, offset of weights, weights), pitch classes (bins, tunings x 12), contrast bands.

    A contrast band is a row (first bin, bin after the last, bins of its peaks and valleys).
    """
    from librosa import fft_frequencies
    from librosa.filters import chroma as chroma_filter
    from librosa.filters import get_window
    from librosa.filters import mel as mel_filter

    mel = mel_filter(sr=RATE_HZ, n_fft=FFT, n_mels=MELS)
    parts = [np.flatnonzero(row) for row in mel]
    chroma = np.concatenate([chroma_filter(sr=RATE_HZ, n_fft=FFT, tuning=tuning) for tuning in TUNINGS])
    # Far from its pitch a filter is next to nothing, and such numbers make processors slow (they are denormal).
    chroma[chroma < _NOTHING] = 0
    return Filters(
        window=get_window("hann", FFT, fftbins=True).astype(np.float32),
        mel_first=np.array([part[0] if len(part) else 0 for part in parts], np.int32),
        mel_start=np.cumsum([0, *map(len, parts)]).astype(np.int32),
        mel_weight=np.concatenate([row[part] for row, part in zip(mel, parts, strict=True)]).astype(np.float32),
        chroma=np.ascontiguousarray(chroma.T.astype(np.float32)),
        bands=_bands(fft_frequencies(sr=RATE_HZ, n_fft=FFT)),
    )


def _bands(frequencies: NDArray[np.float64]) -> NDArray[np.int32]:
    """As librosa cuts them: a band takes the bin below it too, and all but the last leave their highest to the next."""
    edges = [0.0, *(200.0 * 2.0**octave for octave in range(BANDS))]
    rows = []
    for band in range(BANDS):
        inside = np.flatnonzero((frequencies >= edges[band]) & (frequencies <= edges[band + 1]))
        first, end = int(inside[0]) - (band > 0), int(inside[-1]) + 1
        if band == BANDS - 1:
            end = BINS
        most = max(int(np.rint(_QUANTILE * (end - first))), 1)
        rows.append((first, end - (band < BANDS - 1), most))
    return np.array(rows, np.int32)


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]  # the library is not typed
def windowed(samples: Any, window: Any, frames: Any) -> None:  # pragma: no cover - compiled
    """Fill `frames` (number, FFT) with the frames of `samples`, one a hop, times the window."""
    for t in range(frames.shape[0]):
        for i in range(FFT):
            frames[t, i] = samples[t * HOP + i] * window[i]


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]  # the library is not typed
def hops(samples: Any, number: int, last: Any, energy: Any, crossings: Any) -> Any:  # pragma: no cover - compiled
    """Sum of squares and zero crossings of `number` hops; returns the last sample, which is `last` of the next call."""
    for hop in range(number):
        total, crossed = np.float32(0), 0
        start = hop * HOP
        for i in range(start, start + HOP):
            total += samples[i] * samples[i]
        crossed += (samples[start] < -FLOOR) != (last < -FLOOR)
        for i in range(start + 1, start + HOP):
            crossed += (samples[i] < -FLOOR) != (samples[i - 1] < -FLOOR)
        last = samples[start + HOP - 1]
        energy[hop], crossings[hop] = total, crossed
    return last


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]  # the library is not typed
def describe(
    spectrum: Any,
    mel_first: Any,
    mel_start: Any,
    mel_weight: Any,
    bands: Any,
    power: Any,
    mel: Any,
    peaks: Any,
    valleys: Any,
    sums: Any,
) -> None:  # pragma: no cover - compiled
    """Describe frames: `spectrum` is (frames, 2 x BINS), real and imaginary parts in turn.

    Fills power (frames, BINS), mel power (frames, MELS), contrast's peaks and valleys (frames, BANDS), and adds
    centroid, bandwidth, roll-off (all in bins) and flatness of every frame to `sums`.
    """
    magnitude = np.empty(BINS, np.float32)
    lanes = np.empty(64, np.float64)
    high, low = np.empty(16, np.float32), np.empty(16, np.float32)
    for t in range(spectrum.shape[0]):
        row = power[t]
        parts = spectrum[t]
        for k in range(BINS):
            value = parts[2 * k] * parts[2 * k] + parts[2 * k + 1] * parts[2 * k + 1]
            row[k] = value
            magnitude[k] = np.sqrt(value)
        total, weighted, floored = np.float32(0), np.float32(0), np.float32(0)
        for k in range(BINS):
            total += magnitude[k]
            weighted += magnitude[k] * np.float32(k)
            floored += max(row[k], np.float32(FLOOR))
        if total > 0:
            centre = weighted / total
            spread = np.float32(0)
            for k in range(BINS):
                away = np.float32(k) - centre
                spread += magnitude[k] * away * away
            sums[0] += centre
            sums[1] += np.sqrt(spread / total)
            sums[2] += _rolloff(magnitude, np.float32(ROLLOFF) * total)
        sums[3] += _flatness(row, lanes, floored)
        for band in range(MELS):
            first, start = mel_first[band], mel_start[band]
            value = np.float32(0)
            weights = mel_weight[start : mel_start[band + 1]]
            bins = row[first:]
            for i in range(len(weights)):
                value += weights[i] * bins[i]
            mel[t, band] = value
        for band in range(BANDS):
            peaks[t, band], valleys[t, band] = _extremes(
                magnitude, bands[band, 0], bands[band, 1], bands[band, 2], high, low
            )


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]  # the library is not typed
def _rolloff(magnitude: Any, threshold: Any) -> Any:  # pragma: no cover - compiled
    """First bin up to which the magnitudes add up to the threshold; stretches of 25 bins first, then one by one."""
    below = np.float32(0)
    for start in range(0, BINS, 25):
        part = np.float32(0)
        for k in range(start, start + 25):
            part += magnitude[k]
        if below + part >= threshold:
            for k in range(start, start + 25):
                below += magnitude[k]
                if below >= threshold:
                    return np.float32(k)
            return np.float32(start + 24)
        below += part
    return np.float32(BINS - 1)


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]  # the library is not typed
def _flatness(row: Any, lanes: Any, floored: Any) -> Any:  # pragma: no cover - compiled
    """Geometric by arithmetic mean of the power; one logarithm for the product of sixteen bins."""
    for lane in range(64):
        lanes[lane] = 1.0
    for start in range(0, BINS - 1, 64):
        for lane in range(64):
            lanes[lane] *= np.float64(max(row[start + lane], np.float32(FLOOR)))
    logs = np.log(np.float64(max(row[BINS - 1], np.float32(FLOOR))))
    for lane in range(64):
        logs += np.log(lanes[lane])
    return np.exp(logs / BINS) * BINS / floored


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]  # the library is not typed
def _extremes(
    magnitude: Any, first: int, end: int, most: int, high: Any, low: Any
) -> tuple[Any, Any]:  # pragma: no cover - compiled
    """Mean of the `most` largest and of the `most` smallest of a band; both lists are kept sorted, worst last."""
    if most == 1:
        largest, smallest = magnitude[first], magnitude[first]
        for k in range(first, end):
            largest = max(largest, magnitude[k])
            smallest = min(smallest, magnitude[k])
        return largest, smallest
    for i in range(most):
        high[i], low[i] = np.float32(-1), np.float32(3e38)
    for k in range(first, end):
        value = magnitude[k]
        if value > high[most - 1]:
            i = most - 1
            while i > 0 and high[i - 1] < value:
                high[i] = high[i - 1]
                i -= 1
            high[i] = value
        if value < low[most - 1]:
            i = most - 1
            while i > 0 and low[i - 1] > value:
                low[i] = low[i - 1]
                i -= 1
            low[i] = value
    above, below = np.float32(0), np.float32(0)
    for i in range(most):
        above += high[i]
        below += low[i]
    return above / most, below / most


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]  # the library is not typed
def add_classes(raw: Any, sums: Any) -> None:  # pragma: no cover - compiled
    """Add the pitch classes of frames (frames, tunings, 12), each frame scaled to its strongest, to `sums`."""
    for t in range(raw.shape[0]):
        for tuning in range(raw.shape[1]):
            strongest = np.float32(0)
            for c in range(CLASSES):
                strongest = max(strongest, raw[t, tuning, c])
            if strongest > np.float32(1e-37):
                for c in range(CLASSES):
                    sums[tuning, c] += raw[t, tuning, c] / strongest


@njit(cache=True)  # type: ignore[untyped-decorator]  # the library is not typed
def pitches(power: Any, found: Any) -> int:  # pragma: no cover - compiled
    """Spectral peaks of the frames: (Hz, height) into `found`; returns how many (librosa.piptrack)."""
    number = 0
    for t in range(power.shape[0]):
        row = power[t]
        least = _PITCH_SHARE * row.max()
        for k in range(_PITCH_FROM, _PITCH_TO):
            here, before, after = row[k], row[k - 1], row[k + 1]
            if not here > least or not (here > before or before <= least) or here < after:
                continue
            slope, bend = 0.5 * (after - before), after + before - 2 * here
            shift = -slope / bend if abs(slope) < abs(bend) else 0.0
            found[number, 0] = (k + shift) * RATE_HZ / FFT
            found[number, 1] = here + 0.5 * slope * shift
            number += 1
    return number


@njit(cache=True)  # type: ignore[untyped-decorator]  # the library is not typed
def rises(decibels: Any, least: Any, mean: Any, median: Any) -> None:  # pragma: no cover - compiled
    """Mean and median over the mel bands of what each rose by since the frame before; nothing is below `least`."""
    rise = np.empty(MELS, np.float32)
    for t in range(1, decibels.shape[0]):
        total = np.float32(0)
        for band in range(MELS):
            value = max(decibels[t, band], least) - max(decibels[t - 1, band], least)
            rise[band] = max(value, np.float32(0))
            total += rise[band]
        mean[t - 1] = total / MELS
        median[t - 1] = np.median(rise)
