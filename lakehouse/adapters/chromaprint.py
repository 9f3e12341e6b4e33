"""Acoustic fingerprints by libchromaprint (Debian: libchromaprint1), called in this process.

Its program `fpcalc` would decode the file a second time. The numbers are those of AcoustID (algorithm 2).
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakehouse.errors import FatalError

#: Chromaprint works at this rate; resampling with soxr first is cheaper than leaving it to chromaprint.
RATE_HZ = 11_025
#: The usual length that is fingerprinted, as fpcalc's: enough to tell recordings apart.
FINGERPRINT_S = 120
_ALGORITHM = 1  # CHROMAPRINT_ALGORITHM_TEST2, which is the default and is written as 2 elsewhere


class Fingerprinter:
    """Fingerprints one recording from blocks of mono samples; what comes after `length_s` [s] is not heard, and None
    hears all.

    Raises:
        FatalError: the library is not installed, or refuses.
    """

    def __init__(self, rate_hz: int, *, length_s: int | None = FINGERPRINT_S) -> None:
        import soxr

        self._resampler = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")
        self._missing = None if length_s is None else length_s * rate_hz
        self._context = ctypes.c_void_p(_library().chromaprint_new(_ALGORITHM))
        self._must(_library().chromaprint_start(self._context, RATE_HZ, 1))

    def add(self, samples: NDArray[np.float32]) -> None:
        """The next samples, in -1..1."""
        if self._missing is None:
            self._feed(samples, last=False)
        elif self._missing > 0:
            self._feed(samples[: self._missing], last=False)
            self._missing -= len(samples)

    def finish(self) -> str:
        """The fingerprint in chromaprint's compressed form, as fpcalc prints it; empty for less than about 3 s.

        Nothing can be added afterwards.
        """
        library, text = _library(), ctypes.c_void_p()
        self._end()
        self._must(library.chromaprint_get_fingerprint(self._context, ctypes.byref(text)))
        fingerprint = ctypes.string_at(text.value or b"").decode("ascii")
        library.chromaprint_dealloc(text)
        return fingerprint if len(decoded(fingerprint)) else ""

    def finish_raw(self) -> NDArray[np.uint32]:
        """The fingerprint's 32-bit numbers, eight a second; none for less than about 3 s.

        Nothing can be added afterwards.
        """
        library, numbers, size = _library(), ctypes.c_void_p(), ctypes.c_int()
        self._end()
        self._must(library.chromaprint_get_raw_fingerprint(self._context, ctypes.byref(numbers), ctypes.byref(size)))
        return _taken(numbers, size)

    def __del__(self) -> None:
        if context := getattr(self, "_context", None):
            _library().chromaprint_free(context)

    def _end(self) -> None:
        self._feed(np.empty(0, np.float32), last=True)
        self._must(_library().chromaprint_finish(self._context))

    def _feed(self, samples: NDArray[np.float32], *, last: bool) -> None:
        resampled = self._resampler.resample_chunk(samples, last=last)
        integers = np.clip(resampled * 32767, -32768, 32767).astype(np.int16)
        if len(integers):
            self._must(
                _library().chromaprint_feed(self._context, integers.ctypes.data_as(ctypes.c_void_p), len(integers))
            )

    @staticmethod
    def _must(answer: int) -> None:
        if answer != 1:
            raise FatalError("chromaprint refused to make a fingerprint.", hint="This is an error of this program.")


def decoded(fingerprint: str) -> NDArray[np.uint32]:
    """The 32-bit numbers of a compressed fingerprint, eight a second; none when it is no fingerprint."""
    library = _library()
    numbers, size, algorithm = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    data = fingerprint.encode("ascii")
    answer = library.chromaprint_decode_fingerprint(
        data, len(data), ctypes.byref(numbers), ctypes.byref(size), ctypes.byref(algorithm), 1
    )
    return _taken(numbers, size) if answer == 1 else np.empty(0, np.uint32)


def _taken(numbers: ctypes.c_void_p, size: ctypes.c_int) -> NDArray[np.uint32]:
    """A copy of numbers that the library has made, which it then frees."""
    if not numbers.value:
        return np.empty(0, np.uint32)
    values = np.frombuffer(ctypes.string_at(numbers.value, size.value * 4), np.uint32)
    _library().chromaprint_dealloc(numbers)
    return values


@cache
def _library() -> Any:
    name = ctypes.util.find_library("chromaprint")
    if name is None:
        raise FatalError(
            "libchromaprint is not installed: there are no acoustic fingerprints.",
            hint="Run `make setup`, or as root: apt-get install libchromaprint-tools",
        )
    library = ctypes.CDLL(name)
    library.chromaprint_new.restype = ctypes.c_void_p
    return library
