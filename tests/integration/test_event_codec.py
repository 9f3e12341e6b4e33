"""DECODE_EVENT and ENCODE_EVENT of flink_jobs/java on real messages and a registry that can fail. A JDK, no stack."""

from __future__ import annotations

import io
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import fastavro
import pytest
from tenacity import Retrying, stop_after_delay, wait_fixed

from infra.local.engines import engine_path, java_home
from infra.local.prepare import functions_jar
from infra.local.services import pyflink
from lakehouse.config.settings import CHECKOUT

READER = {
    "type": "record",
    "name": "probe",
    "namespace": "wavehouse",
    "fields": [
        {"name": "event_id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "user_id", "type": "long"},
        {"name": "is_liked", "type": "boolean"},
        {"name": "liked_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "title", "type": ["null", "string"], "default": None},
    ],
}
#: An older version: without the optional title, with a field that is gone now.
OLDER = READER | {"fields": [*READER["fields"][:4], {"name": "gone", "type": "int"}]}  # type: ignore[index]
INCOMPATIBLE = READER | {"fields": READER["fields"][:2]}  # type: ignore[index]
EVENT = {
    "event_id": "018f3c1e-0000-7000-8000-000000000001",
    "user_id": 2**62,
    "is_liked": True,
    "liked_at": datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "title": "Träume",
}


class Registry(BaseHTTPRequestHandler):
    """The Confluent API with three schemas; id 500 breaks, id 404 is a bare 404 of something else than a registry."""

    schemas: ClassVar[dict[int, str]] = {
        1: json.dumps(READER),
        2: json.dumps(OLDER),
        3: json.dumps(INCOMPATIBLE),
        4: "{",
    }
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        number = int(self.path.rsplit("/", 1)[-1])
        if number in self.schemas:
            self._answer(200, {"schema": self.schemas[number]})
        elif number in (404, 500):
            self._answer(number, None)
        else:
            self._answer(404, {"error_code": 40403, "message": "Schema not found"})

    def do_POST(self) -> None:
        self._answer(200, {"id": 1})

    def _answer(self, status: int, body: Any) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def message(schema_id: int, body: bytes) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + body


def avro(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(dict(schema)), record)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def probe(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running JVM with the functions: takes messages, gives one tab-separated answer each."""
    classes = tmp_path_factory.mktemp("classes")
    jar = functions_jar()
    assert jar is not None
    jars = [jar, *(pyflink() / "lib").glob("*.jar"), *engine_path("flink-jars").glob("*.jar")]
    classpath = os.pathsep.join(map(str, [classes, *jars]))
    tools = java_home(17) / "bin"
    source = CHECKOUT / "tests" / "java" / "DecodeProbe.java"
    subprocess.run(
        [tools / "javac", "-nowarn", "-d", classes, "-cp", classpath, source], check=True, capture_output=True
    )

    command = [tools / "java", "-cp", classpath, "DecodeProbe", json.dumps(READER), registry]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout

    def ask(value: bytes | None) -> list[str]:
        assert process.stdin and process.stdout
        process.stdin.write(("null" if value is None else value.hex()) + "\n")
        process.stdin.flush()
        return process.stdout.readline().rstrip("\n").split("\t")

    yield lambda *messages: [ask(value) for value in messages]
    process.stdin.close()
    assert process.wait(timeout=60) == 0


def test_a_message_survives_decoding_and_encoding_byte_for_byte(probe: Any) -> None:
    values = [message(1, avro(READER, EVENT)), message(1, avro(READER, EVENT | {"title": None}))]
    for value, answer in zip(values, probe(*values), strict=True):
        assert answer == ["read", "2026-10-31T23:59:59.999999Z", value.hex()]


def test_a_message_of_an_older_schema_is_read_with_the_default(probe: Any) -> None:
    [answer] = probe(message(2, avro(OLDER, EVENT | {"gone": 7})))
    assert answer == ["read", "2026-10-31T23:59:59.999999Z", message(1, avro(READER, EVENT | {"title": None})).hex()]


GOOD = avro(READER, EVENT)
AT = GOOD.index(b"Tr\xc3\xa4ume")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, "malformed", id="no value"),
        pytest.param(b"", "malformed", id="empty"),
        pytest.param(b"\0\0\0\0", "malformed", id="half a frame"),
        pytest.param(b"{" + message(1, GOOD)[1:], "malformed", id="another magic byte"),
        pytest.param(message(1, GOOD[:-3]), "malformed", id="cut off"),
        pytest.param(message(1, b""), "malformed", id="no body"),
        pytest.param(message(1, GOOD + b"\0"), "malformed", id="left-over byte"),
        pytest.param(message(1, b"\xff" * 40), "malformed", id="number without end"),
        pytest.param(message(1, b"\xfe\xff\xff\xff\x0f" + GOOD), "malformed", id="string of 2 GB"),
        pytest.param(message(1, GOOD[:AT] + b"Tr\xff\xfeume"), "malformed", id="broken UTF-8"),
        pytest.param(
            message(1, avro(READER, EVENT | {"liked_at": 2**62})), "malformed", id="a moment in the year 148,000"
        ),
        pytest.param(message(77, GOOD), "unknown_schema", id="unknown id"),
        pytest.param(message(2**32 - 1, GOOD), "unknown_schema", id="negative id"),
        pytest.param(message(3, GOOD), "incompatible_schema", id="a field without default is missing"),
        pytest.param(message(4, GOOD), "incompatible_schema", id="no Avro schema"),
    ],
)
def test_what_cannot_be_decoded_gets_a_reason_and_stops_nothing(probe: Any, value: bytes | None, reason: str) -> None:
    rejected, good = probe(value, message(1, GOOD))
    assert rejected[:2] == ["rejected", reason], rejected
    assert rejected[2]
    assert good[0] == "read"


@pytest.mark.parametrize("schema_id", [404, 500])
def test_a_registry_without_an_answer_is_no_reason_to_reject(probe: Any, schema_id: int) -> None:
    retry, good = probe(message(schema_id, GOOD), message(1, GOOD))
    assert (retry[0], good[0]) == ("retry", "read")


def test_a_schema_that_is_registered_later_is_read(probe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe(message(79, GOOD))[0][:2] == ["rejected", "unknown_schema"]
    monkeypatch.setitem(Registry.schemas, 79, json.dumps(READER))
    for attempt in Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True):
        with attempt:
            assert probe(message(79, GOOD))[0][0] == "read"


def test_the_registry_is_asked_once_a_schema(probe: Any) -> None:
    before = len(Registry.asked)
    answers = probe(*[message(2, avro(OLDER, EVENT | {"gone": 7}))] * 50, *[message(78, GOOD)] * 50)
    assert [a[0] for a in answers] == ["read"] * 50 + ["rejected"] * 50
    # At most one question a schema, and a while long (seconds) for one that does not exist.
    asked = Registry.asked[before:]
    assert "/schemas/ids/78" in asked
    assert len(asked) == len(set(asked))
