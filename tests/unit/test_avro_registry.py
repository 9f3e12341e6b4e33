"""The Confluent wire format and the registry client, against a registry in memory that speaks its API."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx
import pytest

from lakehouse.adapters.avro_registry import SchemaRegistry, split
from lakehouse.errors import FatalError, RejectedInputError, RetryableError

SCHEMA = {
    "type": "record",
    "name": "Play",
    "fields": [
        {"name": "user_id", "type": "long"},
        {"name": "played_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "country", "type": ["null", "string"], "default": None},
    ],
}
PLAY = {"user_id": 7, "played_at": datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC), "country": "SE"}


class MemoryRegistry:
    """Answers as Apicurio's Confluent API does; `calls` counts requests, `failure` overrides the answer."""

    def __init__(self) -> None:
        self.schemas: list[str] = []
        self.calls = 0
        self.failure: httpx.Response | Exception | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.failure is not None:
            return self.failure
        parts = request.url.path.removeprefix("/apis/ccompat/v7").split("/")
        if request.method == "POST" and parts[1] == "subjects" and parts[3] == "versions":
            schema = json.loads(request.content)["schema"]
            if schema not in self.schemas:
                self.schemas.append(schema)
            return httpx.Response(200, json={"id": self.schemas.index(schema) + 1})
        index = int(parts[3]) - 1
        if 0 <= index < len(self.schemas):
            return httpx.Response(200, json={"schema": self.schemas[index]})
        return httpx.Response(404, json={"error_code": 40403, "message": "Schema not found"})


@pytest.fixture
def memory() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def registry(memory: MemoryRegistry) -> SchemaRegistry:
    return SchemaRegistry("http://registry", transport=httpx.MockTransport(memory))


def test_round_trip_keeps_every_field_to_the_microsecond(registry: SchemaRegistry) -> None:
    message = registry.encoder("plays-value", SCHEMA)(PLAY)
    assert message[:5] == b"\x00\x00\x00\x00\x01"
    decoded = registry.decode(message)
    assert decoded.schema_id == 1
    assert decoded.record == PLAY


def test_a_schema_is_fetched_and_registered_once(registry: SchemaRegistry, memory: MemoryRegistry) -> None:
    encode = registry.encoder("plays-value", SCHEMA)
    registry.encoder("plays-value", SCHEMA)
    for _ in range(3):
        registry.decode(encode(PLAY))
    assert memory.calls == 2


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00\x00\x00",
        b"\x01\x00\x00\x00\x01abc",
        b'{"user_id": 7}',
        b"\x00\x00\x00\x00\x01",
        b"\x00\x00\x00\x00\x01\xff",
    ],
)
def test_malformed_bytes_are_rejected_with_their_reason(registry: SchemaRegistry, message: bytes) -> None:
    registry.register("plays-value", SCHEMA)
    with pytest.raises(RejectedInputError) as caught:
        registry.decode(message)
    assert caught.value.reason == "malformed"


def test_bytes_after_the_record_are_malformed(registry: SchemaRegistry) -> None:
    message = registry.encoder("plays-value", SCHEMA)(PLAY)
    with pytest.raises(RejectedInputError, match="1 bytes are left over"):
        registry.decode(message + b"\x00")


def test_an_unknown_schema_id_is_the_messages_fault(registry: SchemaRegistry) -> None:
    with pytest.raises(RejectedInputError) as caught:
        registry.decode(b"\x00\x00\x00\x03\xe7body")
    assert caught.value.reason == "unknown_schema"


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.Response(503, text="starting"),
        httpx.Response(404, text="<html>no such route</html>"),
    ],
)
def test_a_registry_that_is_away_is_never_the_messages_fault(
    registry: SchemaRegistry, memory: MemoryRegistry, failure: httpx.Response | Exception
) -> None:
    message = registry.encoder("plays-value", SCHEMA)(PLAY)
    memory.failure = failure
    with pytest.raises(RetryableError):
        registry.decode(message)
    memory.failure = None
    assert registry.decode(message).record == PLAY


def test_a_refused_schema_is_fatal_and_says_why(registry: SchemaRegistry, memory: MemoryRegistry) -> None:
    memory.failure = httpx.Response(409, json={"error_code": 409, "message": "Incompatible schema"})
    with pytest.raises(FatalError, match="Incompatible schema"):
        registry.register("plays-value", SCHEMA)


def test_a_record_that_does_not_fit_is_rejected(registry: SchemaRegistry) -> None:
    encode = registry.encoder("plays-value", SCHEMA)
    with pytest.raises(RejectedInputError) as caught:
        encode({"user_id": "seven", "played_at": PLAY["played_at"]})
    assert caught.value.reason == "incompatible_schema"


def test_split_returns_id_and_body() -> None:
    assert split(b"\x00\x00\x00\x00\x2abody") == (42, b"body")


def test_a_batch_is_encoded_as_its_records_are_one_by_one(registry: SchemaRegistry) -> None:
    one = registry.encoder("plays-value", SCHEMA)
    many = registry.batch_encoder("plays-value", SCHEMA)
    plain = [PLAY | {"user_id": n, "played_at": 1_793_491_199_999_999} for n in (0, -1, 1 << 62)]
    assert many(plain) == [one(PLAY | {"user_id": n}) for n in (0, -1, 1 << 62)]
    assert many([]) == []
    assert registry.decode(many(plain)[2]).record == PLAY | {"user_id": 1 << 62}
