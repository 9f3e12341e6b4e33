"""Loudness in one pass over the samples: integrated and true peak (ITU-R BS.1770-4), range (EBU Tech 3342). Pure.

The K-weighting is two second-order filters: a shelf for the head, then the high-pass RLB. The recommendation gives
their coefficients at 48 kHz; `k_weighting` computes them for other rates from the analogue prototypes that fit these
(Mansbridge, Finn and Reiss 2012, Implementation and Evaluation of Autonomous Multi-track Fader Control, AES 132).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Blocks below this do not count. A recording without any louder block is given this value.
SILENCE_LUFS = -70.0
#: Gated blocks last 400 ms and overlap by 75 %: four steps of 100 ms.
STEPS_A_BLOCK, STEPS_A_SECOND = 4, 10
#: A block takes part if it is no more than this below the mean of all audible blocks.
RELATIVE_GATE_LU = 10.0
#: Loudness range: windows of 3 s, this far below their mean they do not count, and the two percentiles it spans.
STEPS_A_WINDOW, RANGE_GATE_LU, RANGE_PERCENTILES = 30, 20.0, (10, 95)
#: Makes a 997 Hz sine of full scale in one front channel read -3.01.
OFFSET_LUFS = -0.691
#: Weights of left, right, centre, left surround and right surround; further channels have none.
CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)

#: Four-fold oversampling: the filter of BS.1770-4, annex 2, by phase. The last two phases mirror the first two.
_PHASES = (
    (0.001708984375, 0.010986328125, -0.0196533203125, 0.033203125, -0.0594482421875, 0.1373291015625,
     0.97216796875, -0.102294921875, 0.047607421875, -0.026611328125, 0.014892578125, -0.00830078125),
    (-0.0291748046875, 0.029296875, -0.0517578125, 0.089111328125, -0.16650390625, 0.465087890625,
     0.77978515625, -0.2003173828125, 0.1015625, -0.0582275390625, 0.0330810546875, -0.0189208984375),
)  # fmt: skip
TAPS: Final = 12
PHASES = np.array([*_PHASES, *(phase[::-1] for phase in reversed(_PHASES))], np.float32)
#: No phase can bring out more than this many times the largest sample it sees.
GAIN = float(np.abs(PHASES).sum(axis=1).max())
#: A true peak is at least this [dBTP]; of digital silence, too.
LOWEST_PEAK_DBTP = -120.0

Biquad = tuple[float, float, float, float, float]
_SHELF_HZ, _SHELF_Q, _SHELF_DB, _SHELF_EXPONENT = (
    1681.974450955533,
    0.7071752369554196,
    3.999843853973347,
    0.4996667741545416,
)
_PASS_HZ, _PASS_Q = 38.13547087602444, 0.5003270373238773


def k_weighting(rate_hz: int) -> tuple[Biquad, Biquad]:
    """Shelf and high-pass at a sample rate, each as (b0, b1, b2, a1, a2) with a0 = 1."""
    k = math.tan(math.pi * _SHELF_HZ / rate_hz)
    high = 10 ** (_SHELF_DB / 20)
    middle = high**_SHELF_EXPONENT
    a0 = 1 + k / _SHELF_Q + k * k
    shelf = (
        (high + middle * k / _SHELF_Q + k * k) / a0,
        2 * (k * k - high) / a0,
        (high - middle * k / _SHELF_Q + k * k) / a0,
        2 * (k * k - 1) / a0,
        (1 - k / _SHELF_Q + k * k) / a0,
    )
    k = math.tan(math.pi * _PASS_HZ / rate_hz)
    a0 = 1 + k / _PASS_Q + k * k
    return shelf, (1.0, -2.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / _PASS_Q + k * k) / a0)


class Meter:
    """Measures while blocks of samples go by; its memory grows by 80 bytes a second of audio.

    Every block but the last must be a whole number of steps of 100 ms (`step` frames).
    """

    def __init__(self, rate_hz: int, channels: int) -> None:
        self.step = rate_hz // STEPS_A_SECOND
        self._weights = np.zeros(channels + channels % 2)
        weighted = min(channels, len(CHANNEL_WEIGHTS))
        self._weights[:weighted] = CHANNEL_WEIGHTS[:weighted]
        self._filters = k_weighting(rate_hz)
        self._memory = np.zeros((len(self._weights), 4))
        self._energy: list[NDArray[np.float64]] = []
        self._history = np.zeros((channels, TAPS - 1), np.float32)
        self._peak = np.float32(0)

    def add(self, samples: NDArray[np.float32]) -> None:
        """Samples in -1..1 of shape (channels, frames), each channel contiguous."""
        energy = np.zeros(samples.shape[1] // self.step)
        for first in range(0, min(len(samples), len(CHANNEL_WEIGHTS)), 2):
            pair = slice(first, first + 2)
            # A channel without a partner is its own, of no weight.
            second = samples[min(first + 1, len(samples) - 1)]
            weighted_energy(
                samples[first], second, self._weights[pair], self.step, *self._filters, self._memory[pair], energy
            )
        self._energy.append(energy)
        beginnings = np.concatenate((self._history, samples[:, : TAPS - 1]), axis=1)
        for part in (*beginnings, *samples):
            self._peak = true_peak(part, part.view(np.int32), PHASES, np.float32(GAIN), self._peak)
        self._history = np.concatenate((self._history, samples), axis=1)[:, 1 - TAPS :].copy()

    def integrated_lufs(self) -> float:
        """Gated loudness of all blocks so far, at least `SILENCE_LUFS`.

        Raises:
            ValueError: less than one block of 400 ms.
        """
        blocks = self._means(STEPS_A_BLOCK)
        if not blocks.size:
            raise ValueError("fewer than 400 ms of samples: loudness is not defined (ITU-R BS.1770-4)")
        audible = blocks[blocks > _power(SILENCE_LUFS)]
        if not audible.size:
            return SILENCE_LUFS
        gated = audible[audible > audible.mean() * 10 ** (-RELATIVE_GATE_LU / 10)]
        return max(_lufs(gated.mean()), SILENCE_LUFS)

    def range_lu(self) -> float | None:
        """Loudness range: from the 10th to the 95th percentile of audible windows of 3 s; None when there is none."""
        windows = self._means(STEPS_A_WINDOW)
        audible = windows[windows > _power(SILENCE_LUFS)]
        if not audible.size:
            return None
        gated = audible[audible > audible.mean() * 10 ** (-RANGE_GATE_LU / 10)]
        low, high = np.percentile(gated, RANGE_PERCENTILES)
        return _lufs(high) - _lufs(low)

    def true_peak_dbtp(self) -> float:
        """Largest sample of any channel, oversampled four times, in dB of full scale; at least `LOWEST_PEAK_DBTP`."""
        return max(20 * math.log10(float(self._peak)), LOWEST_PEAK_DBTP) if self._peak > 0 else LOWEST_PEAK_DBTP

    def _means(self, steps: int) -> NDArray[np.float64]:
        """Weighted mean square of every window of so many steps, one a step."""
        total = np.cumsum(np.concatenate([np.zeros(1), *self._energy]))
        means: NDArray[np.float64] = (total[steps:] - total[:-steps]) / (steps * self.step)
        return means


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET_LUFS) / 10))


def _lufs(power: float) -> float:
    return OFFSET_LUFS + 10 * math.log10(power)


@njit(cache=True)  # type: ignore[untyped-decorator]  # the library is not typed
def by_channel(samples: Any) -> Any:  # pragma: no cover - compiled
    """Samples (frames, channels) as (channels, frames), copied."""
    channels = np.empty((samples.shape[1], samples.shape[0]), np.float32)
    for channel in range(samples.shape[1]):
        target = channels[channel]
        for i in range(samples.shape[0]):
            target[i] = samples[i, channel]
    return channels


@njit(cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]  # the library is not typed
def weighted_energy(
    first: Any,
    second: Any,
    weights: Any,
    step: int,
    shelf: Biquad,
    high_pass: Biquad,
    memory: Any,
    energy: Any,
) -> None:  # pragma: no cover - compiled
    """Add the K-weighted sum of squares of two channels to `energy`, by `step` samples, each times its weight.

    Two channels at once: a filter waits for its own last value, and the processor computes the other's meanwhile.
    `memory` is the filters' state (channel, 4) in transposed direct form II.
    """
    b0, b1, b2, a1, a2 = shelf
    c0, c1, c2, d1, d2 = high_pass
    p1, p2, q1, q2 = memory[0, 0], memory[0, 1], memory[0, 2], memory[0, 3]
    r1, r2, s1, s2 = memory[1, 0], memory[1, 1], memory[1, 2], memory[1, 3]
    for block in range(len(energy)):
        total, other = 0.0, 0.0
        one, two = first[block * step : (block + 1) * step], second[block * step : (block + 1) * step]
        for i in range(step):
            x, v = np.float64(one[i]), np.float64(two[i])
            y, w = b0 * x + p1, b0 * v + r1
            p1, r1 = (b1 * x + p2) - a1 * y, (b1 * v + r2) - a1 * w
            p2, r2 = b2 * x - a2 * y, b2 * v - a2 * w
            z, u = c0 * y + q1, c0 * w + s1
            q1, s1 = (c1 * y + q2) - d1 * z, (c1 * w + s2) - d1 * u
            q2, s2 = c2 * y - d2 * z, c2 * w - d2 * u
            total += z * z
            other += u * u
        energy[block] += weights[0] * total + weights[1] * other
    memory[0, 0], memory[0, 1], memory[0, 2], memory[0, 3] = p1, p2, q1, q2
    memory[1, 0], memory[1, 1], memory[1, 2], memory[1, 3] = r1, r2, s1, s2


#: Samples that are judged together whether they can hold a new peak.
_JUDGED: Final = 256
_MAGNITUDE: Final = np.int32(0x7FFFFFFF)


@njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]  # the library is not typed
def true_peak(samples: Any, bits: Any, phases: Any, gain: Any, peak: Any) -> Any:  # pragma: no cover - compiled
    """The larger of `peak` and the largest magnitude of a channel that is oversampled four times.

    The first eleven samples are history. Stretches too small for a new peak are not oversampled, which
    changes nothing of the result. `bits` is the same memory as integers: magnitudes of floats are ordered as their bits
    are, and of integers the compiler vectorises a maximum.
    """
    oversampled = np.empty(_JUDGED, np.float32)
    oversampled_bits = oversampled.view(np.int32)
    for start in range(0, len(samples) - TAPS + 1, _JUDGED):
        part = samples[start : start + _JUDGED + TAPS - 1]
        size = len(part) - TAPS + 1
        largest = _largest(bits[start : start + _JUDGED + TAPS - 1])
        peak = max(peak, largest)
        if largest * gain <= peak:
            continue
        for phase in range(4):
            h0, h1, h2, h3 = phases[phase, 0], phases[phase, 1], phases[phase, 2], phases[phase, 3]
            h4, h5, h6, h7 = phases[phase, 4], phases[phase, 5], phases[phase, 6], phases[phase, 7]
            h8, h9, h10, h11 = phases[phase, 8], phases[phase, 9], phases[phase, 10], phases[phase, 11]
            for i in range(size):
                oversampled[i] = (
                    h0 * part[i + 11] + h1 * part[i + 10] + h2 * part[i + 9] + h3 * part[i + 8] + h4 * part[i + 7]
                    + h5 * part[i + 6] + h6 * part[i + 5] + h7 * part[i + 4] + h8 * part[i + 3] + h9 * part[i + 2]
                    + h10 * part[i + 1] + h11 * part[i]
                )  # fmt: skip
            peak = max(peak, _largest(oversampled_bits[:size]))
    return peak


@njit(cache=True)  # type: ignore[untyped-decorator]  # the library is not typed
def _largest(bits: Any) -> Any:  # pragma: no cover - compiled
    """Largest magnitude of floats that are given as their bits."""
    largest = np.zeros(1, np.int32)
    most = np.int32(0)
    for i in range(len(bits)):
        most = max(most, bits[i] & _MAGNITUDE)
    largest[0] = most
    return largest.view(np.float32)[0]
