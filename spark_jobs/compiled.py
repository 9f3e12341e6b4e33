"""The compiled functions of librosa and of our own, ready before workers need them.

    python -m spark_jobs.compiled

Inner loops are compiled by numba when they are first called, which takes half a minute, and kept in files.
Two processes that compile at once mix these files up: the index of one names the code of the other, and whoever loads
that calls a null pointer, now and ever after. So one process at a time compiles, and workers only read.
"""

from __future__ import annotations

import gc
import os
from functools import cache
from pathlib import Path

from infra.local.engines import cache_lock
from lakehouse.config.settings import CHECKOUT

#: Of the checkout, unless numba's own variable names another place: numba itself compiles anew for another processor or
#: another version of librosa.
CACHE = Path(os.environ.get("NUMBA_CACHE_DIR") or CHECKOUT / ".wavehouse" / "numba")
#: numba reads it when it is imported; workers inherit it.
ENVIRONMENT = {"NUMBA_CACHE_DIR": str(CACHE)}
RATE_HZ, SECONDS = 44_100, 10


def ensure() -> None:
    """Call everything that an extraction calls, so that it is compiled and kept."""
    os.environ |= ENVIRONMENT
    import numpy as np

    from lakehouse.domain.audio.analysis import extract  # not before: it imports numba

    noise = np.random.default_rng(0).normal(0, 0.1, (SECONDS * RATE_HZ, 2)).astype(np.float32)
    with cache_lock("numba"):
        extract(noise, RATE_HZ)


@cache
def kept() -> None:
    """Load, once a process, what an extraction calls, and leave it out of garbage collections from then on.

    Spark's Python workers collect garbage after each task, and to look through the objects of librosa and numba alone
    takes a tenth of a second.
    """
    import lakehouse.adapters.audio_probe
    import lakehouse.adapters.chromaprint
    import lakehouse.domain.audio.analysis  # noqa: F401

    gc.freeze()


if __name__ == "__main__":
    ensure()
