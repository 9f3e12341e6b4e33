"""The online feature store: the newest values of each view in a Redis hash `features:<view>:<entity>`.

Its fields are the view's columns and `event_at`. How old they are is judged when they are read (`reading`), by the
bound that joins have: a process that forgot to refresh them can't make old values look new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.features.views import View
from lakehouse.errors import RetryableError

#: Seconds; an online read that takes longer is worth less than an answer without it.
TIMEOUT_S = 1.0
#: Entities that one round trip reads or writes.
BATCH = 1_000
EVENT_AT = "event_at"

#: Hashes by entity, of a view and its entities; empty where there is none.
Read = Callable[[str, Sequence[int]], Mapping[int, Mapping[str, str]]]


@dataclass(frozen=True)
class Reading:
    """What an online read of a view found of an entity.

    `values` has every column of the view (None: the column has no value) when `status` is fresh, and is empty when it
    is stale (`age` is above the view's bound), early (the values speak of a time after the moment asked) or missing.
    """

    status: Literal["fresh", "stale", "early", "missing"]
    event_at: datetime | None
    age: timedelta | None
    values: Mapping[str, Any]


def key(view: str, entity: int) -> str:
    """Redis key of an entity's values."""
    return f"features:{view}:{entity}"


def encoded(view: View, rows: pa.Table) -> dict[int, dict[str, str]]:
    """Rows of a view, one an entity, as hashes by entity. Numbers read back as the same number; lists are JSON; what is
    null is left out.
    """
    made = {}
    for row in rows.to_pylist():
        fields = {name: _text(row[name]) for name in view.columns if row[name] is not None}
        made[row[view.entity]] = fields | {EVENT_AT: row[view.event_at].isoformat()}
    return made


def decoded(view: View, fields: Mapping[str, str]) -> dict[str, Any]:
    """The values of a hash that `encoded` made, by column, in the types of the view's contract."""
    contract = load(view.table)
    return {name: _value(fields[name], contract.column(name).type) if name in fields else None for name in view.columns}


def reading(view: View, fields: Mapping[str, str], at: datetime) -> Reading:
    """Judge a hash at the moment `at`; an empty one is missing."""
    if not fields:
        return Reading("missing", None, None, {})
    event_at = datetime.fromisoformat(fields[EVENT_AT])
    age = at - event_at
    if age < timedelta(0):
        return Reading("early", event_at, age, {})
    if view.max_age is not None and age > view.max_age:
        return Reading("stale", event_at, age, {})
    return Reading("fresh", event_at, age, decoded(view, fields))


def compared(view: View, lake: pa.Table, read: Read, at: datetime) -> dict[str, Any]:
    """How the online copy of a view stands beside its newest values in the lake.

    Returns the number of entities that are equal, different and missing online, of those that are online the number
    that is stale at the moment `at`, and the oldest and newest `event_at` online (ISO 8601; None without any).
    """
    expected = encoded(view, lake)
    found = read(view.name, list(expected))
    there = {entity: fields for entity, fields in found.items() if fields}
    moments = sorted(datetime.fromisoformat(fields[EVENT_AT]) for fields in there.values())
    equal = sum(fields == expected[entity] for entity, fields in there.items())
    return {
        "equal": equal,
        "different": len(there) - equal,
        "missing": len(expected) - len(there),
        "stale": sum(reading(view, fields, at).status == "stale" for fields in there.values()),
        "oldest_event_at": moments[0].isoformat() if moments else None,
        "newest_event_at": moments[-1].isoformat() if moments else None,
    }


class FeatureStore:
    """Features by track. Connects when first used; safe for many threads.

    Every method raises `RetryableError` when Redis is away.
    """

    def __init__(self, settings: Settings) -> None:
        from redis import Redis

        self._address = settings.redis.address
        self._redis = Redis(
            host=settings.redis.host,
            port=settings.redis.port,
            password=settings.redis.password.get_secret_value() or None,
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        )

    def close(self) -> None:
        """Close all connections."""
        self._redis.close()

    def ping(self) -> None:
        """Returns when Redis answers."""
        from redis import RedisError

        try:
            self._redis.ping()
        except RedisError as error:
            raise self._away() from error

    def get(self, track_id: int) -> Mapping[str, str] | None:
        """What `track_id` sounds like, as text by field name; None when nothing is known yet."""
        return self.read("track_audio", [track_id])[track_id] or None

    def read(self, view: str, entities: Sequence[int]) -> dict[int, dict[str, str]]:
        """The hashes of a view by entity; empty where there is none."""
        from redis import RedisError

        found: list[dict[str, str]] = []
        try:
            for first in range(0, len(entities), BATCH):
                with self._redis.pipeline(transaction=False) as pipeline:
                    for entity in entities[first : first + BATCH]:
                        pipeline.hgetall(key(view, entity))
                    found += pipeline.execute()
        except RedisError as error:
            raise self._away() from error
        return dict(zip(entities, found, strict=True))

    def write(self, view: str, hashes: Mapping[int, Mapping[str, str]]) -> int:
        """Replace the hashes of these entities; returns their number. A reader sees the old hash or the new one."""
        from redis import RedisError

        entities = list(hashes)
        try:
            for first in range(0, len(entities), BATCH):
                with self._redis.pipeline(transaction=True) as transaction:
                    for entity in entities[first : first + BATCH]:
                        name = key(view, entity)
                        transaction.delete(name).hset(name, mapping=hashes[entity])
                    transaction.execute()
        except RedisError as error:
            raise self._away() from error
        return len(entities)

    def _away(self) -> RetryableError:
        return RetryableError(
            f"The feature store at {self._address} does not answer.",
            hint="`wavehouse status` shows whether Redis runs; `wavehouse logs redis` says why not.",
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str, logical_type: str) -> Any:
    return text if logical_type in {"string", "uuid"} else json.loads(text)
