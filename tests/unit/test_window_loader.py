"""What the window loader makes of one record, and how it behaves while engines are away."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from lakehouse.adapters import window_loader
from lakehouse.adapters.avro_registry import Decoded, SchemaRegistry
from lakehouse.adapters.window_loader import WindowLoader, window_row
from lakehouse.config.settings import load_settings
from lakehouse.contracts import load
from lakehouse.errors import FatalError, RejectedInputError, RetryableError

CONTRACT = load("live.play_minutes")
KEY = {"window_start": datetime(2026, 10, 31, tzinfo=UTC), "track_id": 7, "country": "SE", "user_id": 5}
JSON_KEY = {**KEY, "window_start": "2026-10-31T00:00:00Z"}
COUNTS = {"plays": 5, "streams": 4, "bot_plays": 1, "late_plays": 3, "ms_played": 999}


class Records(SchemaRegistry):
    """Decodes by looking up."""

    def __init__(self, records: Mapping[bytes, dict[str, Any]]) -> None:
        self.records = records

    def decode(self, message: bytes) -> Decoded:
        return Decoded(1, self.records[message])


def test_a_value_is_the_row_and_columns_to_come_are_left_out() -> None:
    assert window_row(CONTRACT, Records({b"v": KEY | COUNTS | {"new_column": 1}}), b"k", b"v") == KEY | COUNTS


def test_a_tombstone_is_its_key_with_zero_counts() -> None:
    assert window_row(CONTRACT, Records({}), json.dumps(JSON_KEY).encode(), None) == KEY | dict.fromkeys(COUNTS, 0)


@pytest.mark.parametrize("absent", [*KEY, *COUNTS])
def test_a_value_without_a_column_is_no_window(absent: str) -> None:
    record = {k: v for k, v in (KEY | COUNTS).items() if k != absent}
    for broken in (record, record | {absent: None}):
        with pytest.raises(RejectedInputError, match=f"It has no {absent}.") as caught:
            window_row(CONTRACT, Records({b"v": broken}), b"k", b"v")
        assert caught.value.reason == "incompatible_schema"


@pytest.mark.parametrize("absent", KEY)
def test_a_tombstone_without_a_key_column_is_no_window(absent: str) -> None:
    with pytest.raises(RejectedInputError, match=f"It has no {absent}."):
        key = {k: v for k, v in JSON_KEY.items() if k != absent}
        window_row(CONTRACT, Records({}), json.dumps(key).encode(), None)


@pytest.mark.parametrize("key", [b"", b"\0\0\0\0\1x", b"7", b'{"window_start": "yesterday"}', b'{"window_start": 7}'])
def test_a_tombstone_with_another_key_is_malformed(key: bytes) -> None:
    with pytest.raises(RejectedInputError) as caught:
        window_row(CONTRACT, Records({}), key, None)
    assert caught.value.reason == "malformed"


def test_a_record_without_key_and_value_is_malformed() -> None:
    with pytest.raises(RejectedInputError) as caught:
        window_row(CONTRACT, Records({}), None, None)
    assert caught.value.reason == "malformed"


def test_passing_errors_are_tried_again_and_fatal_ones_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    loader = WindowLoader(load_settings("test"), say=said.append)
    outcomes: list[Exception | None] = [RetryableError("ClickHouse is away."), RetryableError("Kafka is away."), None]

    def session(*_: object, **__: object) -> None:
        if outcome := outcomes.pop(0):
            raise outcome

    monkeypatch.setattr(loader, "_session", session)
    monkeypatch.setattr(window_loader, "PAUSES", (0.0, 0.001))
    assert loader.run(threading.Event()).repeats == 2
    assert said == ["ClickHouse is away. Trying again in 0 s.", "Kafka is away. Trying again in 0.001 s."]
    outcomes.append(FatalError("The topic was made anew."))
    with pytest.raises(FatalError):
        loader.run(threading.Event())


def test_a_stop_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    loader = WindowLoader(load_settings("test"), say=lambda _: stop.set())

    def away(*_: object, **__: object) -> None:
        raise RetryableError("Kafka is away.")

    monkeypatch.setattr(loader, "_session", away)
    monkeypatch.setattr(window_loader, "PAUSES", (3600.0,))
    assert loader.run(stop).repeats == 1
