"""ClickHouse's HTTP protocol as the gateway reads and writes it: credentials, statements and their data, packing."""

from __future__ import annotations

import asyncio
import base64
import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from infra.local.clickhouse import protocol
from infra.local.clickhouse.protocol import EngineError, NativeBlocks, QueryError, Spool
from infra.local.clickhouse.server import authenticate, users
from infra.local.clickhouse.statements import check, data_offset, format_of, insert_from_file, tokens

KNOWN = users("load-secret", "read-secret")
OUTER = frozenset({"file", "url", "s3", "executable"})


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        (basic("reader:read-secret"), {}),
        ({"x-clickhouse-user": "reader", "x-clickhouse-key": "read-secret"}, {}),
        ({}, {"user": "reader", "password": "read-secret"}),
    ],
)
def test_a_password_may_come_in_three_ways(headers: dict[str, str], parameters: dict[str, str]) -> None:
    assert authenticate(KNOWN, headers, parameters).name == "reader"


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({}, {}),
        (basic("reader:load-secret"), {}),
        (basic("reader:"), {}),
        (basic("default:"), {}),
        (basic("nobody:read-secret"), {}),
        ({"authorization": "Bearer read-secret"}, {}),
        ({"authorization": "Basic !!!"}, {}),
        ({}, {"user": "reader"}),
        (basic("reader:read-secret"), {"user": "loader", "password": "load-secret"}),
        (basic("reader:read-secret") | {"x-clickhouse-user": "loader"}, {}),
    ],
)
def test_all_else_is_refused_with_516(headers: dict[str, str], parameters: dict[str, str]) -> None:
    with pytest.raises(QueryError) as caught:
        authenticate(KNOWN, headers, parameters)
    assert (caught.value.code, caught.value.status) == (516, 401)


def test_a_user_without_a_password_cannot_sign_in() -> None:
    with pytest.raises(QueryError):
        authenticate(users("", ""), basic("loader:"), {})


def test_a_password_may_hold_colons() -> None:
    assert authenticate(users("a:b:c", "x"), basic("loader:a:b:c"), {}).name == "loader"


def test_parameters_of_a_url_are_told_apart() -> None:
    url = {"query": "select 1", "param_x": "1", "max_threads": "2", "database": "live", "a-b": "3", "session_id": "s"}
    assert protocol.settings_of(url) == {"max_threads": "2"}
    assert protocol.query_parameters_of(url) == {"x": "1"}


@pytest.mark.parametrize(
    ("sql", "data"),
    [
        ("INSERT INTO t FORMAT TSV\n1\t2\n", "1\t2\n"),
        ("insert into t (a, b) format Native\n\n\x02", "\n\x02"),
        ("INSERT INTO t FORMAT TSV \r\n1", "1"),
        ("INSERT INTO t FORMAT JSONEachRow {}", "{}"),
        ("INSERT INTO t SETTINGS async_insert = 1 FORMAT CSV\nx", "x"),
        ("INSERT INTO t VALUES (1, 'VALUES')", " (1, 'VALUES')"),
        ("/* FORMAT a */ INSERT -- FORMAT b\n INTO `FORMAT x` (`VALUES`) FORMAT TSV\n1", "1"),
        ("INSERT INTO t FORMAT TSV\n", ""),
        ("INSERT INTO t SELECT 1 FORMAT TSV", None),
        ("INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x", None),
        ("SELECT 'INSERT INTO t VALUES (1)'", None),
        ("SELECT 1 FORMAT TSV\n", None),
        ("", None),
    ],
)
def test_where_the_data_of_an_insert_begins(sql: str, data: str | None) -> None:
    offset = data_offset(sql)
    assert (None if offset is None else sql[offset:]) == data


@given(st.binary(max_size=300), st.integers(1, 50))
def test_binary_data_arrives_whole_however_the_body_is_cut(data: bytes, size: int) -> None:
    body = b"INSERT INTO t FORMAT Native\n" + data
    spool = Spool(Path("/dev/shm"), b"", data_offset)  # noqa: S108
    try:
        for start in range(0, len(body), size):
            spool.feed(body[start : start + size])
        assert spool.finish() == "INSERT INTO t FORMAT Native\n"
        assert spool.path is not None
        assert spool.path.read_bytes() == data
    finally:
        spool.discard()
    assert not spool.path.exists()


def test_large_data_goes_to_the_disk_and_not_to_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path, b"INSERT INTO t FORMAT TSV\n", data_offset)
    for _ in range(40):
        spool.feed(b"x" * 100_000)
    assert len(spool._head) < 100
    spool.finish()
    assert spool.path is not None
    assert spool.path.stat().st_size == 4_000_000


def test_limits_of_statement_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QueryError, match="QUERY_IS_TOO_LARGE"):
        Spool(tmp_path, b"SELECT 1", data_offset).feed(b" " * (protocol.MAX_SQL_BYTES + 1))
    monkeypatch.setattr(protocol, "MAX_DATA_BYTES", 10)
    spool = Spool(tmp_path, b"INSERT INTO t FORMAT TSV\n", data_offset)
    with pytest.raises(QueryError, match="larger than 10 bytes"):
        spool.feed(b"x" * protocol.MAX_SQL_BYTES)
    spool.discard()
    assert not list(tmp_path.iterdir())


def unpack(body: bytes, folder: Path, *, encoding: str, native: bool = False, size: int = 7) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    spool = Spool(folder, b"INSERT INTO t FORMAT TSV\n", data_offset)
    asyncio.run(protocol.spool_body(pieces(), spool, encoding=encoding, native=native))
    spool.finish()
    assert spool.path is not None
    return spool.path.read_bytes()


PACKERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", PACKERS)
def test_packed_bodies_of_one_or_several_frames(encoding: str, tmp_path: Path) -> None:
    pack = PACKERS[encoding]
    assert (
        unpack(pack(b"first\n" * 50) + pack(b"second\n"), tmp_path, encoding=encoding) == b"first\n" * 50 + b"second\n"
    )


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_body_that_ends_in_the_middle_is_refused(encoding: str, tmp_path: Path) -> None:
    packed = PACKERS[encoding](bytes(range(256)) * 20)
    with pytest.raises(QueryError) as caught:
        unpack(packed[:-9], tmp_path, encoding=encoding)
    assert caught.value.code == 271


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="Unknown Content-Encoding 'br'"):
        unpack(b"x", tmp_path, encoding="br")


@given(st.binary(max_size=2000), st.integers(1, 500))
def test_native_blocks_round_trip(data: bytes, size: int) -> None:
    packed, blocks = protocol.pack_native(data) + protocol.pack_native(b"end"), NativeBlocks()
    unpacked = b"".join(blocks.decompress(packed[i : i + size]) for i in range(0, len(packed), size))
    assert unpacked == data + b"end"
    assert blocks.complete


def test_a_damaged_native_block_is_refused(tmp_path: Path) -> None:
    packed = bytearray(protocol.pack_native(b"some data that is packed"))
    packed[-1] ^= 1
    with pytest.raises(QueryError, match="CANNOT_DECOMPRESS"):
        unpack(bytes(packed), tmp_path, encoding="", native=True)


def test_answers_are_packed_only_as_asked() -> None:
    body = b"x" * 10_000
    assert protocol.pack_answer(body, {}, "gzip") == (body, None)
    packed, encoding = protocol.pack_answer(body, {"enable_http_compression": "1"}, "lz4, gzip")
    assert (encoding, gzip.decompress(packed)) == ("gzip", body)
    assert protocol.pack_answer(b"short", {"enable_http_compression": "1"}, "gzip") == (b"short", None)
    native, encoding = protocol.pack_answer(body, {"compress": "1"}, "")
    assert (encoding, NativeBlocks().decompress(native)) == (None, body)


def test_an_engines_error_keeps_its_code() -> None:
    error = EngineError("Query failed: Code: 60. DB::Exception: Table x does not exist. (UNKNOWN_TABLE)\n")
    assert (error.code, error.status) == (60, 404)
    assert str(error).startswith("Code: 60. DB::Exception")
    assert EngineError("something else").status == 500


@pytest.mark.parametrize(
    "canonical",
    ["SELECT 1", "(SELECT 1) UNION ALL SELECT 2", "WITH 1 AS x SELECT x", "SHOW TABLES", "DESCRIBE TABLE t",
     "EXPLAIN SELECT 1", "EXISTS TABLE t", "SELECT 'INTO OUTFILE', file FROM t", "SELECT `file (x)` FROM t"],
)  # fmt: skip
def test_a_reader_may_read(canonical: str) -> None:
    check(canonical, readonly=True, outer_functions=OUTER)


@pytest.mark.parametrize(
    ("canonical", "code"),
    [
        ("INSERT INTO t SELECT 1", 164),
        ("DROP TABLE t", 164),
        ("KILL QUERY WHERE 1", 164),
        ("SYSTEM SHUTDOWN", 164),
        ("SET readonly = 0", 164),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 48),
        ("SELECT file('/etc/passwd')", 497),
        ("SELECT `file`('/etc/passwd')", 497),
        ("SELECT `\\file`('/etc/passwd')", 497),
        ("SELECT * FROM (SELECT * FROM url('http://x'))", 497),
        ("EXPLAIN SELECT * FROM s3('http://x')", 497),
    ],
)
def test_a_reader_may_do_nothing_else(canonical: str, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        check(canonical, readonly=True, outer_functions=OUTER)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("canonical", "code"),
    [
        ("SYSTEM SHUTDOWN", 497),
        ("BACKUP TABLE t TO Disk('x', 'y')", 497),
        ("SET max_threads = 1", 48),
        ("USE live", 48),
        ("CREATE TEMPORARY TABLE x (`a` Int8)", 48),
        ("INSERT INTO FUNCTION file('x', 'TSV') SELECT 1", 497),
        ("CREATE TABLE x (`a` Int8) ENGINE = File(TSV)", 497),
        ("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT TSV", 48),
    ],
)
def test_the_loader_keeps_to_its_tables(canonical: str, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        check(canonical, readonly=False, outer_functions=OUTER)
    assert caught.value.code == code


def test_an_insert_takes_its_data_from_the_file_and_keeps_its_settings() -> None:
    assert (
        insert_from_file("INSERT INTO live.t (a, settings) FORMAT Native", "/s/it's")
        == "INSERT INTO live.t (a, settings) FROM INFILE '/s/it\\'s' COMPRESSION 'none' FORMAT Native"
    )
    assert (
        insert_from_file("INSERT INTO t SETTINGS async_insert = 1 FORMAT TSV", "/s/x")
        == "INSERT INTO t FROM INFILE '/s/x' COMPRESSION 'none' SETTINGS async_insert = 1 FORMAT TSV"
    )


@pytest.mark.parametrize(
    ("canonical", "expected"),
    [
        ("SELECT 1 FORMAT JSON", "JSON"),
        ("SELECT 1 FORMAT `Null`", "Null"),
        ("SELECT 1 FORMAT TSV SETTINGS max_threads = 1", "TSV"),
        ("SELECT 'x FORMAT TSV'", None),
        ("SELECT FORMAT FROM t", None),
        ("SELECT 1", None),
    ],
)
def test_the_format_a_statement_asks_for(canonical: str, expected: str | None) -> None:
    assert format_of(canonical) == expected


def test_names_in_quotes_are_the_names_they_stand_for() -> None:
    assert [t.name for t in tokens(r'`a\`b` "c""d" e')] == ["a`b", 'c"d', "e"]
