"""The online feature store: a Redis hash `features:<track_id>`, fields named as in silver_audit.audio_features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from lakehouse.config.settings import Settings
from lakehouse.errors import RetryableError

#: Seconds; an online read that takes longer is worth less than an answer without it.
TIMEOUT_S = 1.0


def key(track_id: int) -> str:
    """Redis key of a track's features."""
    return f"features:{track_id}"


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
        """Features of `track_id` as text by field name; None when there are none yet."""
        from redis import RedisError

        try:
            return cast("dict[str, str]", self._redis.hgetall(key(track_id))) or None
        except RedisError as error:
            raise self._away() from error

    def publish(self, features: Mapping[int, Mapping[str, Any]]) -> int:
        """Replace the features of these tracks; returns their number. A reader sees the old hash or the new one.

        Numbers are written so that they read back as the same number; lists as JSON; absent values are left out.
        """
        from redis import RedisError

        try:
            for track_id, row in features.items():
                fields = {name: _text(value) for name, value in row.items() if value is not None}
                with self._redis.pipeline(transaction=True) as transaction:
                    transaction.delete(key(track_id)).hset(key(track_id), mapping=fields).execute()
        except RedisError as error:
            raise self._away() from error
        return len(features)

    def _away(self) -> RetryableError:
        return RetryableError(
            f"The feature store at {self._address} does not answer.",
            hint="`wavehouse status` shows whether Redis runs; `wavehouse logs redis` says why not.",
        )


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list) else str(value)
