"""Identifiers made from a moment and random bits that the caller gives, so that the same input gives the same ids."""

from __future__ import annotations

import uuid

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Int64s = NDArray[np.int64]

_HEX = np.array([f"{byte:02x}".encode() for byte in range(256)], dtype="S2")
#: Where the 16 bytes of a UUID start in its text form 8-4-4-4-12.
_TEXT_OFFSETS = np.array([0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34])
_DASHES = (8, 13, 18, 23)
UUID_LENGTH = 36
#: 42 bits of milliseconds (until the year 2109) and 21 bits below them leave the sign bit of 64 free.
LOW_BITS = 21


def uuid7_texts(unix_ms: Int64s, rng: np.random.Generator) -> pa.StringArray:
    """UUIDv7 (RFC 9562, 5.7) in text form for each moment, in milliseconds since 1970 UTC; random bits from `rng`."""
    count = len(unix_ms)
    raw = np.empty((count, 16), dtype=np.uint8)
    raw[:, :6] = unix_ms.astype(">i8").view(np.uint8).reshape(count, 8)[:, 2:]
    raw[:, 6:] = rng.integers(0, 256, size=(count, 10), dtype=np.uint8)
    raw[:, 6] = 0x70 | (raw[:, 6] & 0x0F)
    raw[:, 8] = 0x80 | (raw[:, 8] & 0x3F)
    text = np.empty((count, UUID_LENGTH), dtype=np.uint8)
    digits = _HEX[raw].view(np.uint8).reshape(count, 16, 2)
    text[:, _TEXT_OFFSETS] = digits[:, :, 0]
    text[:, _TEXT_OFFSETS + 1] = digits[:, :, 1]
    text[:, _DASHES] = ord("-")
    offsets = np.arange(count + 1, dtype=np.int32) * UUID_LENGTH
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets.tobytes()), pa.py_buffer(text.tobytes()))


def uuid7_numbered(unix_ms: int, number: int) -> str:
    """UUIDv7 (RFC 9562, 5.7) of a moment, in milliseconds since 1970 UTC, with `number` for its random bits (6.2 of the
    RFC has such counters). Of two ids the one of the later moment is the greater, within a moment that of the greater
    number.

    Raises:
        ValueError: the moment has more than 48 bits, or the number more than 62.
    """
    if not 0 <= unix_ms < 1 << 48 or not 0 <= number < 1 << 62:
        raise ValueError(f"{unix_ms} ms and number {number} do not fit into a UUIDv7")
    return str(uuid.UUID(int=unix_ms << 80 | 0x7 << 76 | 0b10 << 62 | number))


def entity_ids(unix_ms: Int64s, rng: np.random.Generator) -> Int64s:
    """63-bit positive ids in the order of the moments (milliseconds since 1970 UTC), with random low bits.

    Distinct moments give distinct ids.
    """
    return (unix_ms << LOW_BITS) | rng.integers(0, 1 << LOW_BITS, size=len(unix_ms), dtype=np.int64)
