"""Ids of catalogue entities: 63-bit integers that sort by the moment an entity came in.

Layout, from the top: 41 bits of milliseconds since 2020-01-01 UTC (until 2089), 22 bits from the SHA-256 of what the
entity is. Both come from the data, so that the same input gives the same id, without a clock, a sequence or a
coordinator. Two entities of one millisecond meet with a chance of 1 in 4 million; `attempt` then moves on to the next
value, and a unique key in the database decides who is first.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
TIME_BITS = 41
HASH_BITS = 22


def time_ordered_id(at: datetime, natural_key: str, *, attempt: int = 0) -> int:
    """Id of the entity that is identified by `natural_key` and came in at `at` (aware, any zone; ms are kept).

    Raises:
        ValueError: `at` has no time zone, or lies outside of 2020 to 2089.
    """
    if at.tzinfo is None:
        raise ValueError("the moment of an id needs a time zone")
    milliseconds = (at - EPOCH) // timedelta(milliseconds=1)
    if not 0 <= milliseconds < 1 << TIME_BITS:
        raise ValueError(f"{at.isoformat()} is outside of the years that ids cover (2020 to 2089)")
    digest = int.from_bytes(sha256(natural_key.encode()).digest()[:8])
    return milliseconds << HASH_BITS | (digest + attempt) % (1 << HASH_BITS)


def id_moment(at: datetime) -> datetime:
    """`at`, or the first moment that ids have where it is older: what was said earlier came in with the first ids."""
    return max(at, EPOCH)


def time_of_id(entity_id: int) -> datetime:
    """The moment inside an id, UTC, to the millisecond."""
    return EPOCH + timedelta(milliseconds=entity_id >> HASH_BITS)
