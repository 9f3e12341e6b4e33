"""Avro on Kafka in the Confluent wire format, with schemas kept by a registry.

A message is `0x00`, the schema's id as four big-endian bytes, then the Avro body. `timestamp-micros` values are
timezone-aware `datetime`s in UTC on both sides. The registry speaks the Confluent API (Apicurio serves it under
`/apis/ccompat/v7`); schemas are immutable per id, so they are cached for the life of the process.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import fastavro
import httpx

from lakehouse.errors import FatalError, RejectedInputError, RetryableError

MAGIC = 0
HEADER = struct.Struct(">BI")
CCOMPAT_PATH = "/apis/ccompat/v7"

#: An Avro schema as the parsed JSON of its declaration.
Schema = Mapping[str, Any]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Decoded:
    """One decoded message: the id of the schema it was written with, and its fields."""

    schema_id: int
    record: dict[str, Any]


def split(message: bytes) -> tuple[int, bytes]:
    """Schema id and Avro body of a message in the wire format.

    Raises:
        RejectedInputError: reason `malformed`; the message is shorter than its header or has another magic byte.
    """
    if len(message) < HEADER.size:
        raise RejectedInputError("The message is shorter than its header.", reason="malformed", value=message)
    magic, schema_id = HEADER.unpack_from(message)
    if magic != MAGIC:
        raise RejectedInputError(f"The magic byte is {magic}, not {MAGIC}.", reason="malformed", value=message)
    return schema_id, message[HEADER.size :]


class SchemaRegistry:
    """Client of a schema registry: looks up, registers, encodes and decodes. Safe to share between threads."""

    def __init__(
        self, url: str, *, timeout_seconds: float = 10.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        """`url` is the registry's own address (`settings.registry.http`), without the path of the API."""
        self._http = httpx.Client(
            base_url=url.rstrip("/") + CCOMPAT_PATH, timeout=timeout_seconds, transport=transport, trust_env=False
        )
        self._writers: dict[int, Any] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def register(self, subject: str, schema: Schema) -> int:
        """Register `schema` under `subject` (`<topic>-value`) and return its id; registering it again changes nothing.

        Raises:
            RetryableError: the registry does not answer or is not ready.
            FatalError: the registry refuses the schema (invalid, or incompatible with the subject's earlier versions).
        """
        text = json.dumps(schema, sort_keys=True)
        if (known := self._ids.get((subject, text))) is not None:
            return known
        response = self._call("POST", f"/subjects/{subject}/versions", json={"schema": text})
        if response.is_error:
            raise FatalError(
                f"The schema registry refused the schema of {subject}: {_reason(response)}",
                hint="Change the contract compatibly (add fields with a default), or use a new topic.",
            )
        schema_id = int(response.json()["id"])
        self._ids[subject, text] = schema_id
        return schema_id

    def set_compatibility(self, subject: str, level: str) -> None:
        """Hold later schemas of `subject` to `level`, for example BACKWARD; the subject must have a schema.

        Raises:
            RetryableError: the registry does not answer or is not ready.
            FatalError: the registry refuses the level.
        """
        response = self._call("PUT", f"/config/{subject}", json={"compatibility": level})
        if response.is_error:
            raise FatalError(
                f"The schema registry refused {level} for {subject}: {_reason(response)}",
                hint="Register a schema under the subject first: `wavehouse events init`.",
            )

    def compatibility(self, subject: str) -> str | None:
        """The level that `subject` itself is held to; None when it has none of its own.

        Raises:
            RetryableError: the registry does not answer or is not ready.
        """
        response = self._call("GET", f"/config/{subject}")
        return None if response.is_error else str(response.json()["compatibilityLevel"])

    def faults(self, subject: str, schema: Schema) -> list[str]:
        """Why `schema` may not follow the newest schema of `subject`; empty when it may.

        Raises:
            RetryableError: the registry does not answer or is not ready.
            FatalError: the registry cannot judge it (no such subject, no Avro schema).
        """
        response = self._call(
            "POST",
            f"/compatibility/subjects/{subject}/versions/latest",
            params={"verbose": "true"},
            json={"schema": json.dumps(schema, sort_keys=True)},
        )
        if response.is_error:
            raise FatalError(
                f"The schema registry cannot judge the schema of {subject}: {_reason(response)}",
                hint="Run `wavehouse events init`.",
            )
        answer = response.json()
        return [] if answer["is_compatible"] else [str(m) for m in answer.get("messages") or ["incompatible"]]

    def latest(self, subject: str) -> tuple[int, Any]:
        """Id and declaration (parsed JSON) of the newest schema of `subject`.

        Raises:
            RetryableError: the registry does not answer or is not ready.
            FatalError: it has no such subject.
        """
        response = self._call("GET", f"/subjects/{subject}/versions/latest")
        if response.is_error:
            raise FatalError(
                f"The schema registry has no subject {subject}: {_reason(response)}",
                hint="Run `wavehouse events init`.",
            )
        answer = response.json()
        return int(answer["id"]), json.loads(answer["schema"])

    def schema(self, schema_id: int) -> Any:
        """The schema with this id, parsed for fastavro.

        Raises:
            RetryableError: the registry does not answer or is not ready.
            RejectedInputError: reason `unknown_schema`; the registry has no such id.
        """
        if (known := self._writers.get(schema_id)) is not None:
            return known
        response = self._call("GET", f"/schemas/ids/{schema_id}")
        if response.is_error:
            raise RejectedInputError(
                f"The schema registry has no schema {schema_id}: {_reason(response)}",
                reason="unknown_schema",
                value=schema_id,
            )
        parsed = fastavro.parse_schema(json.loads(response.json()["schema"]))
        self._writers[schema_id] = parsed
        return parsed

    def encoder(self, subject: str, schema: Schema) -> Callable[[Record], bytes]:
        """Register `schema` under `subject` and return the function that turns a record into a message.

        The function raises RejectedInputError (reason `incompatible_schema`) for a record that the schema can't hold.
        Errors of the registration itself: see `register`.
        """
        header = HEADER.pack(MAGIC, self.register(subject, schema))
        parsed = fastavro.parse_schema(dict(schema))

        def encode(record: Record) -> bytes:
            buffer = io.BytesIO()
            buffer.write(header)
            try:
                fastavro.schemaless_writer(buffer, parsed, record)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise RejectedInputError(
                    f"A record does not fit the schema of {subject}: {error}",
                    reason="incompatible_schema",
                    value=record,
                ) from error
            return buffer.getvalue()

        return encode

    def batch_encoder(self, subject: str, schema: Schema) -> Callable[[Iterable[Record]], list[bytes]]:
        """As `encoder`, for many records at once and half as long: values must be what Avro stores.

        A moment is its microseconds since 1970 UTC, a date its days, a UUID its text.
        """
        header = HEADER.pack(MAGIC, self.register(subject, schema))
        parsed = fastavro.parse_schema(_without_logical_types(schema))

        def encode(records: Iterable[Record]) -> list[bytes]:
            buffer = io.BytesIO()
            ends = [0]
            for record in records:
                buffer.write(header)
                fastavro.schemaless_writer(buffer, parsed, record)
                ends.append(buffer.tell())
            whole = buffer.getvalue()
            return [whole[begin:end] for begin, end in pairwise(ends)]

        return encode

    def decode(self, message: bytes) -> Decoded:
        """Decode a message with the schema that it was written with.

        Raises:
            RetryableError: the registry does not answer or is not ready.
            RejectedInputError: reason `malformed` (bad header, bad or left-over body) or `unknown_schema`.
        """
        schema_id, body = split(message)
        schema = self.schema(schema_id)
        buffer = io.BytesIO(body)
        try:
            record = fastavro.schemaless_reader(buffer, schema, None)
        except Exception as error:  # fastavro raises whatever the wrong bytes lead it to: EOFError, IndexError, ...
            raise RejectedInputError(
                f"The body does not fit schema {schema_id}: {error!r}", reason="malformed", value=message
            ) from error
        if buffer.tell() != len(body):
            raise RejectedInputError(
                f"{len(body) - buffer.tell()} bytes are left over after the record.", reason="malformed", value=message
            )
        if not isinstance(record, dict):
            raise RejectedInputError(f"Schema {schema_id} is not a record.", reason="malformed", value=message)
        return Decoded(schema_id, record)

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """One request. An answer of 4xx is the caller's to judge; no answer and 5xx are passing conditions."""
        hint = "See `wavehouse status`; `wavehouse up --only stream` starts the registry."
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise RetryableError(
                f"The schema registry at {self._http.base_url} does not answer: {error}.", hint=hint
            ) from error
        if response.is_server_error or response.status_code in (408, 429):
            raise RetryableError(f"The schema registry is not ready: {_reason(response)}", hint=hint)
        if response.status_code == httpx.codes.NOT_FOUND and not _is_registry_answer(response):
            # A starting server knows none of its routes yet; its bare 404 says nothing about the schema.
            raise RetryableError(f"The schema registry does not serve {path} yet.", hint=hint)
        return response


def _without_logical_types(schema: Any) -> Any:
    """The same schema as far as the bytes go; logical types cost a call a value."""
    if isinstance(schema, Mapping):
        if "logicalType" in schema:
            return schema["type"]
        return {key: value if key == "default" else _without_logical_types(value) for key, value in schema.items()}
    return [_without_logical_types(part) for part in schema] if isinstance(schema, list) else schema


def _is_registry_answer(response: httpx.Response) -> bool:
    """Whether the answer is the registry's own JSON error rather than an HTTP server's page."""
    try:
        return "error_code" in response.json()
    except ValueError:
        return False


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json().get("message", response.text))[:500]
    except ValueError:
        return f"HTTP {response.status_code} {response.text[:200]}"
