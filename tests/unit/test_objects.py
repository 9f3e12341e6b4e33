"""What the object store's answers become: what passes is tried again, and what stays is told."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from lakehouse.adapters import ingestion
from lakehouse.adapters import objects as objects_module
from lakehouse.adapters.catalog_db import CatalogDb, Landed, Outcome
from lakehouse.adapters.objects import PART_BYTES, PARTS_AT_ONCE, Objects, audio_name
from lakehouse.cli.ingest import app as ingest_app
from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError, RejectedInputError, RetryableError
from tests.memory import measured


@contextmanager
def store_that_answers(settings: Settings, status: int, code: str, content: bytes = b"") -> Iterator[Objects]:
    """An object store that has one answer to everything."""
    error = f"<Error><Code>{code}</Code><Message>because of that</Message></Error>".encode() if code else b""
    body = content or error

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream" if content else "application/xml")
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with served(settings, Handler) as objects:
        yield objects


@contextmanager
def served(settings: Settings, handler: type[BaseHTTPRequestHandler]) -> Iterator[Objects]:
    """An object store whose answers are the handler's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Objects(at(settings, server.server_port))
    finally:
        server.shutdown()
        server.server_close()


class Answers(BaseHTTPRequestHandler):
    """Says little, as S3 says it."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int = 200, body: str = "", length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


def at(settings: Settings, port: int) -> Settings:
    return settings.model_copy(update={"s3": settings.s3.model_copy(update={"host": "127.0.0.1", "port": port})})


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.ogg"
    path.write_bytes(b"some bytes")
    return path


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "XMinioAdminBucketQuotaExceeded", "s3://landing is full"),
        (507, "XMinioStorageFull", "s3://landing is full"),
        (412, "PreconditionFailed", "cannot do this now"),
        (400, "XAmzContentChecksumMismatch", "cannot do this now"),
        (503, "SlowDown", "cannot do this now"),
    ],
)
def test_what_passes_is_tried_again(settings: Settings, small: Path, status: int, code: str, message: str) -> None:
    with store_that_answers(settings, status, code) as objects, pytest.raises(RetryableError, match=message) as caught:
        objects.put(small, "small.ogg")
    assert "because of that" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (404, "NoSuchBucket"), (400, "InvalidRequest")])
def test_what_stays_is_told(settings: Settings, small: Path, status: int, code: str) -> None:
    with store_that_answers(settings, status, code) as objects, pytest.raises(FatalError, match=code):
        objects.put(small, "small.ogg")
    with store_that_answers(settings, status, code) as objects, pytest.raises(FatalError, match=code):
        objects.read("audio", "0" * 64)


def test_a_store_that_is_away_is_tried_again(settings: Settings, small: Path) -> None:
    with store_that_answers(settings, 503, "") as objects:
        pass  # nobody listens on its port any more
    with pytest.raises(RetryableError, match="does not answer"):
        objects.put(small, "small.ogg")
    with pytest.raises(RetryableError, match="does not answer"):
        objects.read("audio", "0" * 64)


def test_a_file_that_cannot_be_read_is_not_the_stores_fault(settings: Settings, tmp_path: Path) -> None:
    with store_that_answers(settings, 200, "") as objects, pytest.raises(FileNotFoundError):
        objects.put(tmp_path / "none.ogg", "none.ogg")


def test_a_document_is_written_whole_and_read_whole(settings: Settings) -> None:
    with store_that_answers(settings, 200, "", b"{}") as objects:
        objects.write("lake", "models/mood/in_use.json", b"{}")
        assert objects.read("lake", "models/mood/in_use.json") == b"{}"
    with store_that_answers(settings, 507, "XMinioStorageFull") as objects, pytest.raises(RetryableError):
        objects.write("lake", "models/mood/in_use.json", b"{}")
    with store_that_answers(settings, 404, "NoSuchKey") as objects, pytest.raises(RejectedInputError) as caught:
        objects.read("lake", "models/mood/in_use.json")
    assert caught.value.reason == "no_such_object"


def landed(key: str) -> Landed:
    return Landed(key, "0" * 32, 5, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("key", ["a.ogg", "folder/", "a\tb.ogg", "a//b.ogg"])
def test_an_object_is_fetched_or_missed_whatever_its_name(settings: Settings, tmp_path: Path, key: str) -> None:
    with store_that_answers(settings, 200, "", b"bytes") as objects:
        objects.fetch(landed(key), tmp_path / "object")
    assert (tmp_path / "object").read_bytes() == b"bytes"
    with store_that_answers(settings, 404, "NoSuchKey") as objects, pytest.raises(RejectedInputError) as caught:
        objects.fetch(landed(key), tmp_path / "gone")
    assert caught.value.reason == "no_such_object"
    assert not (tmp_path / "gone").exists()


def test_a_name_that_nobody_can_ask_for_is_refused(settings: Settings, tmp_path: Path) -> None:
    with store_that_answers(settings, 200, "", b"bytes") as objects, pytest.raises(RejectedInputError) as caught:
        objects.fetch(landed("a/../b.ogg"), tmp_path / "object")
    assert caught.value.reason == "bad_object_name"


def test_workers_share_what_landed(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What another has is left to it, an engine that is away is waited for. What nobody can process or was replaced
    stops no other, and the former is tried once.
    """
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))
    stop, said, looks, done, tried = threading.Event(), list[str](), list[int](), set[str](), list[str]()
    keys = ["a.ogg", "defect.ogg", "gone.ogg", "others.ogg", "replaced.ogg", "removed.ogg", "there.ogg", "unnamed.ogg"]

    def found(_objects: object) -> list[Landed]:
        looks.append(1)
        if len(looks) == 1:
            raise RetryableError("The store is away.")
        if len(looks) == 2:
            raise sa.exc.InterfaceError("select 1", None, Exception("connection is closed"))
        if len(looks) == 5:
            stop.set()
        return [landed(key) for key in keys]

    def landed_one(_objects: object, key: str) -> Landed:
        if key == "removed.ogg":
            raise RejectedInputError("It is gone.", reason="no_such_object")
        return replace(landed(key), etag="new" if key == "replaced.ogg" else landed(key).etag)

    @contextmanager
    def claimed(_db: object, one: Landed) -> Iterator[bool]:
        yield one.object_key != "others.ogg"

    def process(_objects: object, _db: object, one: Landed) -> Outcome:
        tried.append(one.object_key)
        match one.object_key:
            case "defect.ogg":
                raise ZeroDivisionError("one of ours")
            case "gone.ogg":
                raise RejectedInputError("It is gone.", reason="no_such_object")
            case "unnamed.ogg":
                raise RejectedInputError("It has no name.", reason="bad_object_name")
            case "replaced.ogg" | "removed.ogg":
                raise RetryableError("The object store cannot do this now.")
        done.add(one.object_key)
        return Outcome(one.object_key, "accepted", "0" * 64)

    monkeypatch.setattr(Objects, "landed", found)
    monkeypatch.setattr(Objects, "landed_one", landed_one)
    monkeypatch.setattr(CatalogDb, "unprocessed", lambda _db, todo: [one for one in todo if one.object_key not in done])
    monkeypatch.setattr(CatalogDb, "claimed", claimed)
    monkeypatch.setattr(CatalogDb, "outcome", lambda *_: None)
    monkeypatch.setattr(ingestion, "process", process)
    ingestion.work(settings, stop, every_s=0.01, worker="w", say=said.append)
    assert said[0] == "The store is away. Trying again every 0.01 s."
    assert said[1].startswith("An engine does not answer: InterfaceError")
    told = {line.split(";")[0] for line in said[2:]}
    assert told == {
        "a.ogg: accepted", "defect.ogg: rejected internal_error", "gone.ogg: rejected no_such_object",
        "there.ogg: accepted", "unnamed.ogg: rejected bad_object_name",
    }  # fmt: skip
    once = ["a.ogg", "defect.ogg", "there.ogg", "unnamed.ogg"]
    assert [tried.count(key) for key in once] == [1] * 4
    assert [sum(line.startswith(key) for line in said) for key in once] == [1] * 4
    # They may be there again as they were.
    assert [tried.count(key) for key in ("gone.ogg", "removed.ogg", "replaced.ogg")] == [2] * 3
    assert "ZeroDivisionError" in (tmp_path / "run" / "logs" / "defects.log").read_text()


def test_a_worker_takes_the_oldest_first_and_does_not_rest_while_there_is_much(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interval between looks is an hour, which a look takes here: what lands meanwhile is taken without one."""
    hour = datetime(2026, 10, 1, 12, tzinfo=UTC)
    stop, done = threading.Event(), list[str]()
    first = [replace(landed(f"{40 - n:02}.ogg"), received_at=hour + timedelta(seconds=n)) for n in range(40)]
    later = [replace(landed("00.ogg"), received_at=hour + timedelta(minutes=5))]

    def process(_objects: object, _db: object, one: Landed) -> Outcome:
        done.append(one.object_key)
        if one in later:
            stop.set()
        return Outcome(one.object_key, "accepted", "0" * 64)

    monkeypatch.setattr(
        Objects, "landed", lambda _: sorted(first + (later if done else []), key=attrgetter("object_key"))
    )
    monkeypatch.setattr(CatalogDb, "unprocessed", lambda _db, todo: [one for one in todo if one.object_key not in done])
    monkeypatch.setattr(CatalogDb, "claimed", lambda *_: nullcontext(True))
    monkeypatch.setattr(CatalogDb, "outcome", lambda *_: None)
    monkeypatch.setattr(ingestion, "process", process)
    monkeypatch.setattr(ingestion, "monotonic", itertools.count(0, 3600).__next__)
    ingestion.work(settings, stop, every_s=3600, worker="w", say=lambda _: None)
    # Workers begin at different ones of the oldest 32.
    assert {*done[:32]} == {one.object_key for one in first[:32]}
    assert {*done[32:40]} == {one.object_key for one in first[32:]}
    assert done[40:] == ["00.ogg"]


def test_a_worker_waits_for_a_store_that_goes_away(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks no further for files of this look: each would take as long to fail."""
    stop, said, tried = threading.Event(), list[str](), list[str]()

    def process(_objects: object, _db: object, one: Landed) -> Outcome:
        tried.append(one.object_key)
        raise RetryableError("The store is away.")

    def say(line: str) -> None:
        said.append(line)
        stop.set()

    monkeypatch.setattr(Objects, "landed", lambda *_: [landed("a.ogg"), landed("b.ogg")])
    monkeypatch.setattr(Objects, "landed_one", lambda _objects, key: landed(key))
    monkeypatch.setattr(CatalogDb, "unprocessed", lambda _db, todo: todo)
    monkeypatch.setattr(CatalogDb, "claimed", lambda *_: nullcontext(True))
    monkeypatch.setattr(CatalogDb, "outcome", lambda *_: None)
    monkeypatch.setattr(ingestion, "process", process)
    ingestion.work(settings, stop, every_s=0.01, worker="w", say=say)
    assert (len(tried), said) == (1, ["The store is away. Trying again every 0.01 s."])


def test_an_object_that_is_gone_or_meets_a_defect_does_not_stop_the_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))

    def process(_objects: object, _db: object, found: Landed) -> Outcome:
        if found.object_key == "defect.ogg":
            raise ZeroDivisionError("one of ours")
        if found.object_key == "away.ogg":
            raise ConnectionRefusedError("nobody listens")
        return Outcome(found.object_key, "accepted", "0" * 64)

    def landed_one(_objects: object, key: str) -> Landed:
        if key == "gone.ogg":
            raise RejectedInputError("It is gone.", reason="no_such_object")
        return landed(key)

    monkeypatch.setattr(ingestion, "process", process)
    monkeypatch.setattr(CatalogDb, "claimed", lambda *_, **__: nullcontext(True))
    monkeypatch.setattr(Objects, "landed_one", landed_one)
    outcomes = ingestion.process_batch(settings, ["gone.ogg", "defect.ogg", "there.ogg"])
    assert [(one.outcome, one.reason) for one in outcomes] == [
        ("rejected", "no_such_object"), ("rejected", "internal_error"), ("accepted", None),
    ]  # fmt: skip
    monkeypatch.setattr("lakehouse.cli.ingest.load_settings", lambda: settings)
    told = CliRunner().invoke(ingest_app, ["batch", "defect.ogg", "there.ogg"])
    assert isinstance(told.exception, FatalError)
    assert told.exception.message.startswith("1 of 2 files could not be judged and still wait; the others are done.")
    with pytest.raises(RetryableError):  # an engine that is away is no file's fault
        ingestion.process_batch(settings, ["away.ogg", "there.ogg"])


def test_a_batch_and_a_worker_never_have_the_same_file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another has comes last, so that nobody waits while there is other work, and gets the other's outcome."""
    held = {"b.ogg"}
    done: list[str] = []

    @contextmanager
    def claimed(_db: object, one: Landed, *, wait: bool = False) -> Iterator[bool]:
        if wait:
            held.discard(one.object_key)
        mine = one.object_key not in held
        if mine:
            held.add(one.object_key)
        yield mine
        if mine:
            held.discard(one.object_key)

    def process(_objects: object, _db: object, one: Landed) -> Outcome:
        assert one.object_key in held
        done.append(one.object_key)
        return Outcome(one.object_key, "accepted", "0" * 64)

    monkeypatch.setattr(Objects, "landed_one", lambda _objects, key: landed(key))
    monkeypatch.setattr(CatalogDb, "claimed", claimed)
    monkeypatch.setattr(ingestion, "process", process)
    outcomes = ingestion.process_batch(settings, ["a.ogg", "b.ogg", "c.ogg", "b.ogg"])
    assert [one.object_key for one in outcomes] == ["a.ogg", "b.ogg", "c.ogg", "b.ogg"]
    assert done == ["a.ogg", "c.ogg", "b.ogg", "b.ogg"]


@contextmanager
def store_that_keeps(settings: Settings) -> Iterator[tuple[Objects, dict[str, bytes]]]:
    """An object store without checks: objects by path; uploads in parts are one when they are completed."""
    kept: dict[str, bytes] = {}
    parts: dict[str, dict[int, bytes]] = {}

    class Handler(Answers):
        def do_HEAD(self) -> None:
            self.answer(404)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path, _, query = self.path.partition("?")
            number = parse_qs(query).get("partNumber")
            if number:
                parts[path][int(number[0])] = body
            else:
                kept[path] = body
            self.answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path, _, query = self.path.partition("?")
            if "uploadId" in parse_qs(query):
                kept[path] = b"".join(body for _, body in sorted(parts.pop(path).items()))
                body = "<CompleteMultipartUploadResult><ETag>0</ETag></CompleteMultipartUploadResult>"
            else:
                parts[path] = {}
                name = "InitiateMultipartUploadResult"
                body = f"<{name}><Bucket>b</Bucket><Key>k</Key><UploadId>1</UploadId></{name}>"
            self.answer(body=body)

        def do_DELETE(self) -> None:
            parts.pop(self.path.partition("?")[0], None)
            self.answer(204)

    with served(settings, Handler) as objects:
        yield objects, kept
    assert parts == {}  # nobody left one open


SIZES = [10, PART_BYTES + 10]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_under_its_hash_is_that_file(settings: Settings, tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(b"a" * size)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with store_that_keeps(settings) as (objects, kept):
        assert objects.put_audio(path, sha256) == f"s3://audio/{audio_name(sha256)}"
        assert kept == {f"/audio/{audio_name(sha256)}": b"a" * size}


@pytest.mark.parametrize("size", SIZES)
def test_a_file_that_changed_after_it_was_hashed_is_not_stored_under_that_hash(
    settings: Settings, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(b"a" * size)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"a" * (size - 1) + b"b")
    with store_that_keeps(settings) as (objects, kept):
        with pytest.raises(RejectedInputError) as caught:
            objects.put_audio(path, sha256)
        assert (caught.value.reason, kept) == ("file_changed", {})
        assert caught.value.hint


@pytest.mark.parametrize("size", SIZES)
def test_a_file_that_is_written_to_while_it_is_sent_does_not_land(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """It does not stop the files beside it either."""
    growing, still = tmp_path / "growing.flac", tmp_path / "still.flac"
    for path in (growing, still):
        path.write_bytes(b"a" * size)
    state = objects_module._state

    def while_somebody_writes(file: BinaryIO) -> tuple[int, int]:
        seen = state(file)
        if os.path.samestat(os.fstat(file.fileno()), growing.stat()):
            with growing.open("ab") as stream:
                stream.write(b"more")
        return seen

    monkeypatch.setattr(objects_module, "_state", while_somebody_writes)
    with store_that_keeps(settings) as (objects, kept):
        monkeypatch.setattr(objects, "landed", list)
        done = ingestion.send(objects, {path.name: path for path in (growing, still)})
        assert [(row["file"], row["reason"]) for row in done.refused] == [(str(growing), "file_changed")]
        assert (done.sent, kept) == (1, {"/landing/still.flac": b"a" * size})


def test_an_object_that_s3_cannot_copy_at_once_is_copied_in_parts(settings: Settings) -> None:
    """6 GB from landing to the audio bucket: the store copies stretch after stretch, of this version, and all of it."""
    size = 6 * 10**9
    copied: list[tuple[int, int]] = []
    conditions: set[str | None] = set()

    class Handler(Answers):
        def do_HEAD(self) -> None:
            if self.path.startswith("/audio/"):
                self.answer(404)
            else:
                self.answer(length=size)

        def do_PUT(self) -> None:
            stretch = self.headers["x-amz-copy-source-range"].removeprefix("bytes=")
            first, last = map(int, stretch.split("-"))
            copied.append((first, last))
            conditions.add(self.headers["x-amz-copy-source-if-match"])
            modified = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            self.answer(body=f"<CopyPartResult><ETag>0</ETag>{modified}</CopyPartResult>")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            name = "CompleteMultipartUpload" if "uploadId" in self.path else "InitiateMultipartUpload"
            self.answer(body=f"<{name}Result><ETag>0</ETag><UploadId>1</UploadId></{name}Result>")

    with served(settings, Handler) as objects:
        assert (
            objects.keep_audio(replace(landed("long.wav"), size_bytes=size), "ab" * 32) == f"s3://audio/ab/{'ab' * 32}"
        )
    copied.sort()
    assert [first for first, _ in copied] == [0, *(last + 1 for _, last in copied[:-1])]
    assert copied[-1][1] == size - 1
    assert max(last - first for first, last in copied) < 5 << 30
    assert conditions == {"0" * 32}


def test_a_package_goes_by_the_thousand_and_playlists_first(settings: Settings) -> None:
    """Three requests for 1,202 objects, besides the list; what the store keeps of them all the same is told."""
    names = {"p/main.m3u8", "p/aac-64/stream.m3u8", *(f"p/aac-64/{number:05}.m4s" for number in range(1200))}
    asked: list[list[str]] = []
    kept = ""

    class Handler(Answers):
        def do_GET(self) -> None:
            modified = "<LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>1</Size>"
            found = "".join(f"<Contents><Key>{name}</Key>{modified}</Contents>" for name in sorted(names))
            told = f"<Name>playback</Name><IsTruncated>false</IsTruncated>{found}"
            self.answer(body=f"<ListBucketResult>{told}</ListBucketResult>")

        def do_POST(self) -> None:
            assert self.path == "/playback?delete="
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append(re.findall("<Key>(.*?)</Key>", body))
            self.answer(body=f"<DeleteResult>{kept}</DeleteResult>")

    with served(settings, Handler) as objects:
        objects.remove_playback("p/")
        assert [len(some) for some in asked] == [2, 1000, 200]
        assert set(asked[0]) == {"p/main.m3u8", "p/aac-64/stream.m3u8"}
        assert {name for some in asked for name in some} == names
        kept = "<Error><Key>p/main.m3u8</Key><Code>SlowDown</Code><Message>Later.</Message></Error>"
        with pytest.raises(RetryableError, match=r"Later\."):
            objects.remove_playback("p/")
    assert len(asked) == 4


PEAK = """
import sys
from pathlib import Path
from lakehouse.adapters.objects import Objects
from lakehouse.config.settings import load_settings
settings = load_settings()
s3 = settings.s3.model_copy(update={"host": "127.0.0.1", "port": int(sys.argv[1])})
objects, path = Objects(settings.model_copy(update={"s3": s3})), Path(sys.argv[2])
objects.put_audio(path, sys.argv[3])
objects.fetch_audio(sys.argv[3], path.with_suffix(".back"))
print(path.with_suffix(".back").stat().st_size)
"""


def test_the_size_of_a_file_needs_no_memory(settings: Settings, tmp_path: Path) -> None:
    """Sending and fetching 320 MB takes at most as much more as the parts under way, beside sending one part."""

    class Handler(Answers):
        def do_HEAD(self) -> None:
            self.answer(404)

        def do_PUT(self) -> None:
            left = int(self.headers.get("Content-Length", 0))
            while left:
                left -= len(self.rfile.read(min(left, 1 << 20)))
            self.answer()

        def do_GET(self) -> None:
            self.answer(length=sizes[-1])
            for _ in range(sizes[-1] >> 20):
                self.wfile.write(bytes(1 << 20))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            name = "CompleteMultipartUpload" if "uploadId" in self.path else "InitiateMultipartUpload"
            fields = "<Bucket>b</Bucket><Key>k</Key><ETag>0</ETag><UploadId>1</UploadId>"
            self.answer(body=f"<{name}Result>{fields}</{name}Result>")

    sizes: list[int] = []
    peaks: list[int] = []
    with served(settings, Handler) as objects:
        port = objects._address.rsplit(":", 1)[1]
        for parts in (1, 20):
            path = tmp_path / f"{parts}.wav"
            with path.open("wb") as file:
                file.truncate(parts * PART_BYTES)
            sizes.append(parts * PART_BYTES)
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            [size], peak = measured(PEAK, port, path, sha256, WAVEHOUSE_S3__SECRET_KEY="invented")
            assert size == sizes[-1]
            peaks.append(peak)
    assert peaks[1] - peaks[0] < (PARTS_AT_ONCE + 2) * PART_BYTES >> 10
