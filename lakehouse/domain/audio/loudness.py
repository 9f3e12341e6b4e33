"""Integrated loudness of ITU-R BS.1770-4 in one pass over the samples. Pure.

The K-weighting is two second-order filters: a shelf for the head, then the high-pass RLB. The recommendation gives
their coefficients at 48 kHz; `k_weighting` computes them for other rates from the analogue prototypes that fit these
(Mansbridge, Finn and Reiss 2012, Implementation and Evaluation of Autonomous Multi-track Fader Control, AES 132).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Blocks below this do not count. A recording without any louder block is given this value.
SILENCE_LUFS = -70.0
#: Gated blocks last 400 ms and overlap by 75 %: four steps of 100 ms.
STEPS_A_BLOCK, STEPS_A_SECOND = 4, 10
#: A block takes part if it is no more than this below the mean of all audible blocks.
RELATIVE_GATE_LU = 10.0
#: Makes a 997 Hz sine of full scale in one front channel read -3.01.
OFFSET_LUFS = -0.691
#: Weights of left, right, centre, left surround and right surround; further channels have none.
CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)

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


def integrated(samples: NDArray[np.float32], rate_hz: int) -> float:
    """Loudness in LUFS, at least `SILENCE_LUFS`, of samples in -1..1 of shape (frames, channels).

    Raises:
        ValueError: less than one block of 400 ms.
    """
    step = rate_hz // STEPS_A_SECOND
    if len(samples) < STEPS_A_BLOCK * step:
        raise ValueError("fewer than 400 ms of samples: loudness is not defined (ITU-R BS.1770-4)")
    channels = min(samples.shape[1], len(CHANNEL_WEIGHTS))
    energy = weighted_energy(samples, np.array(CHANNEL_WEIGHTS[:channels]), step, *k_weighting(rate_hz))
    total = np.concatenate(([0.0], np.cumsum(energy)))
    blocks = (total[STEPS_A_BLOCK:] - total[:-STEPS_A_BLOCK]) / (STEPS_A_BLOCK * step)
    audible = blocks[blocks > _power(SILENCE_LUFS)]
    if not audible.size:
        return SILENCE_LUFS
    gated = audible[audible > audible.mean() * 10 ** (-RELATIVE_GATE_LU / 10)]
    return max(OFFSET_LUFS + 10 * math.log10(gated.mean()), SILENCE_LUFS)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET_LUFS) / 10))


@njit(cache=True)  # type: ignore[untyped-decorator]  # the library is not typed
def weighted_energy(
    samples: Any, weights: Any, step: int, shelf: Biquad, high_pass: Biquad
) -> Any:  # pragma: no cover - compiled
    """Sum of squares of the K-weighted samples of each `step` frames, channels weighted and added."""
    b0, b1, b2, a1, a2 = shelf
    c0, c1, c2, d1, d2 = high_pass
    energy = np.zeros(samples.shape[0] // step)
    for channel in range(len(weights)):
        u1, u2, v1, v2 = 0.0, 0.0, 0.0, 0.0  # the filters' memory (transposed direct form II)
        for block in range(len(energy)):
            total = 0.0
            for i in range(block * step, (block + 1) * step):
                x = np.float64(samples[i, channel])
                y = b0 * x + u1
                u1 = b1 * x - a1 * y + u2
                u2 = b2 * x - a2 * y
                z = c0 * y + v1
                v1 = c1 * y - d1 * z + v2
                v2 = c2 * y - d2 * z
                total += z * z
            energy[block] += weights[channel] * total
    return energy
