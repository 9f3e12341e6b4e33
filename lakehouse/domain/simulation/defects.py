"""Records that are wrong on purpose: made from good events of people, with ids of their own.

The name of a defect is the reason code under which the platform keeps such a record, where it must reject it. A play
of an unknown track is no rejection: it is a play that nobody can be paid for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from lakehouse.domain.ids import Int64s, entity_ids, uuid7_texts
from lakehouse.domain.simulation.scenario import DAY_MS, Scenario

MALFORMED = "malformed"
UNKNOWN_SCHEMA = "unknown_schema"
UNKNOWN_TRACK = "unknown_track"
#: No registry hands out this id before it has held a million schemas.
UNKNOWN_SCHEMA_ID = 999_999
#: One bad record of each kind for so many good ones, but a few at least.
GOOD_PER_BAD = 50_000
LEAST_BAD = 4

#: Moment of each topic's event, on the player's clock.
MOMENTS = {
    "plays": "played_at",
    "ad_impressions": "shown_at",
    "likes": "liked_at",
    "follows": "followed_at",
    "playlist_edits": "edited_at",
    "ad_clicks": "clicked_at",
    "playback_telemetry": "measured_at",
}
UNREADABLE = (MALFORMED, UNKNOWN_SCHEMA)
KINDS = dict.fromkeys(MOMENTS, UNREADABLE) | {
    "plays": (*UNREADABLE, "negative_ms_played", "played_at_in_future", "play_longer_than_a_day", UNKNOWN_TRACK),
    "ad_impressions": (*UNREADABLE, "negative_cost", "shown_at_in_future"),
}


def bad_records(scenario: Scenario, topic: str, good: pa.Table, known_tracks: Int64s) -> pa.Table:
    """Bad records of every kind for `topic`, as rows like `good` with `defect` set."""
    rng = scenario.rng(f"{topic} defects")
    ordinary = good["artificial"].is_null().to_numpy(zero_copy_only=False)
    people = np.flatnonzero(ordinary & ~good["is_bot"].to_numpy(zero_copy_only=False))
    each = min(len(people), max(LEAST_BAD, good.num_rows // GOOD_PER_BAD))
    tables = [good.slice(0, 0)]
    for kind in KINDS[topic]:
        rows = good.take(np.sort(rng.choice(people, size=each, replace=False)))
        rows = _replace(rows, "defect", pa.array([kind] * each, pa.string()))
        for column, values in _wrong(kind, rows, rng, known_tracks).items():
            rows = _replace(rows, column, values)
        moments_ms = _microseconds(rows, MOMENTS[topic]) // 1000
        tables.append(_replace(rows, "event_id", uuid7_texts(moments_ms, rng)))
    return pa.concat_tables(tables)


def payload(defect: str | None, message: bytes, variant: int) -> bytes:
    """The bytes to produce for a record with `defect`, given its correct `message` in the Confluent wire format.

    `variant` (its number within the run) chooses among the ways to be malformed, none of which any schema can read.
    """
    if defect == UNKNOWN_SCHEMA:
        return message[:1] + UNKNOWN_SCHEMA_ID.to_bytes(4, "big") + message[5:]
    if defect == MALFORMED:
        return _BREAKAGES[variant % len(_BREAKAGES)](message)
    return message


_BREAKAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda message: message[: len(message) // 3],  # cut off in transfer
    lambda message: b'{"event":"play","v":1}',  # a producer that never heard of Avro
    lambda message: message[:5] + b"\xff" * 24,  # a number that never ends
    lambda message: message[:3],  # shorter than the header
)


def _wrong(kind: str, rows: pa.Table, rng: np.random.Generator, known_tracks: Int64s) -> dict[str, pa.Array]:
    """The columns that make `rows` bad in the way of `kind`."""
    size = rows.num_rows
    ahead = _microseconds(rows, "received_at") + rng.integers(3_600, 20 * 86_400, size=size) * 1_000_000
    match kind:
        case "negative_ms_played":
            return {"ms_played": pa.array(-rng.integers(1, 300_000, size=size))}
        case "play_longer_than_a_day":
            return {"ms_played": pa.array(DAY_MS + rng.integers(1, DAY_MS, size=size))}
        case "negative_cost":
            return {"cost_micros": pa.array(-rng.integers(1, 100_000, size=size))}
        case "played_at_in_future" | "shown_at_in_future":
            return {kind.removesuffix("_in_future"): pa.array(ahead).cast(rows["received_at"].type)}
        case "unknown_track":
            # Ids of a far moment, so that no catalogue has them.
            foreign = entity_ids(np.full(size, int(known_tracks.max() >> 21) + 365 * DAY_MS, dtype=np.int64), rng)
            return {"track_id": pa.array(foreign)}
        case _:
            return {}


def _microseconds(rows: pa.Table, column: str) -> Int64s:
    values: Int64s = rows[column].cast(pa.int64()).to_numpy()
    return values


def _replace(rows: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(column), column, values)
