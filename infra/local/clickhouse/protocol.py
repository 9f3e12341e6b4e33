"""ClickHouse's HTTP protocol: what a request says, and how an answer looks.

https://clickhouse.com/docs/interfaces/http. Left out, each refused with an error: sessions (statements that need one),
external tables (multipart bodies) and roles.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

#: URL parameters that are about the transport. Every other one is a setting or, as `param_<name>`, a query parameter.
TRANSPORT = frozenset(
    {"add_http_cors_header", "buffer_size", "cancel_http_readonly_queries_on_client_close", "client_protocol_version",
     "close_session", "compress", "database", "decompress", "default_format", "enable_http_compression",
     "http_headers_progress_interval_ms", "password", "query", "query_id", "quota_key", "role",
     "send_progress_in_http_headers", "session_check", "session_id", "session_timeout", "stacktrace", "user",
     "wait_end_of_query"}
)  # fmt: skip
NAME = re.compile(r"[A-Za-z_]\w*")
#: A statement without its data may be this long; the engine's own limit (max_query_size) is 256 KiB.
MAX_SQL_BYTES = 1 << 20
#: The data of one INSERT, unpacked. It is spooled to disk, so this protects the disk and not the memory.
MAX_DATA_BYTES = 4 << 30
#: Smaller answers are not packed, even if the client would like it.
PACK_ABOVE_BYTES = 4096
#: HTTP status of ClickHouse's error codes (src/Server/HTTP/exceptionCodeToHTTPStatus.cpp); any other code is 500.
STATUS = {
    194: 401, 516: 401, 192: 403, 193: 403, 497: 403,
    **dict.fromkeys((6, 15, 16, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 168, 321, 376, 427), 400),
    **dict.fromkeys((46, 47, 50, 55, 56, 60, 63, 73, 81, 115), 404),
    48: 501, 76: 503, 159: 408, 165: 413, 209: 503, 439: 503,
}  # fmt: skip


class QueryError(Exception):
    """A refusal or failure with ClickHouse's numeric code and its name."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message}. ({name})")
        self.code = code

    @property
    def status(self) -> int:
        """HTTP status that a ClickHouse server answers with."""
        return STATUS.get(self.code, 500)


class EngineError(QueryError):
    """An error of the engine, with its own text and code."""

    def __init__(self, text: str) -> None:
        start = text.find("Code: ")
        text = text[max(start, 0) :].strip()
        code = re.match(r"Code: (\d+)", text)
        Exception.__init__(self, text)
        self.code = int(code[1]) if code else 1002  # UNKNOWN_EXCEPTION


def credentials(headers: Mapping[str, str], parameters: Mapping[str, str]) -> tuple[str, str]:
    """User and password of a request: from its headers, its basic authentication or its URL.

    Raises:
        QueryError: AUTHENTICATION_FAILED (516) when two of these are mixed or one can't be read.
    """
    by_header = "x-clickhouse-user" in headers or "x-clickhouse-key" in headers
    by_url = "user" in parameters or "password" in parameters
    authorization = headers.get("authorization")
    if by_header + by_url + (authorization is not None) > 1:
        raise QueryError(
            516,
            "AUTHENTICATION_FAILED",
            "Invalid authentication: use headers, basic authentication or the URL, not two",
        )
    if by_header:
        return headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", "")
    if authorization is None:
        return parameters.get("user", "default"), parameters.get("password", "")
    scheme, _, value = authorization.partition(" ")
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user, scheme = "", "broken"
    if scheme.lower() != "basic":
        raise QueryError(516, "AUTHENTICATION_FAILED", "Invalid authentication: only Basic is known here")
    return user, password


@dataclass(frozen=True)
class Query:
    """One statement with everything that belongs to it. `data` is the spooled data of an INSERT."""

    sql: str
    query_id: str = ""
    database: str = "default"
    output_format: str = "TabSeparated"
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    data: Path | None = None


@dataclass(frozen=True)
class Answer:
    """Result bytes in `output_format`, with the engine's counts of what it read and wrote."""

    body: bytes
    output_format: str
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    elapsed_ns: int = 0


def settings_of(parameters: Mapping[str, str]) -> dict[str, str]:
    """The settings among the parameters of a URL."""
    return {
        key: value
        for key, value in parameters.items()
        if key not in TRANSPORT and not key.startswith("param_") and NAME.fullmatch(key)
    }


def query_parameters_of(parameters: Mapping[str, str]) -> dict[str, str]:
    """The values of `{name:Type}` placeholders, escaped as both the protocol and the engine take them."""
    return {key.removeprefix("param_"): value for key, value in parameters.items() if key.startswith("param_")}


class Spool:
    """Splits a request body into the statement, kept in memory, and the data of an INSERT, written to a file.

    `data_offset` says where in the text of the statement its data begins, or None. Use `feed` for every piece of the
    body and then `finish`; `discard` removes the file.
    """

    def __init__(self, folder: Path, prefix: bytes, data_offset: Callable[[str], int | None]) -> None:
        self._folder = folder
        self._head = bytearray(prefix)
        self._data_offset = data_offset
        self._file: Any = None
        self._written = 0
        self.path: Path | None = None

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the (unpacked) body.

        Raises:
            QueryError: QUERY_IS_TOO_LARGE (165) for a statement or data above the limits of this module.
        """
        if self._file is not None:
            self._write(piece)
            return
        self._head += piece
        if len(self._head) > MAX_SQL_BYTES:
            self._split()
            if self._file is None:
                raise QueryError(165, "QUERY_IS_TOO_LARGE", f"The statement is longer than {MAX_SQL_BYTES} bytes")

    def finish(self) -> str:
        """The statement; `path` is the file with its data, if it has any.

        Raises:
            QueryError: SYNTAX_ERROR (62) for a statement that is not UTF-8.
        """
        if self._file is None:
            self._split()
        if self._file is not None:
            self._file.close()
        try:
            return self._head.decode()
        except UnicodeDecodeError as error:
            raise QueryError(62, "SYNTAX_ERROR", f"The statement is not UTF-8: {error}") from error

    def discard(self) -> None:
        """Remove the file, if there is one."""
        if self._file is not None:
            self._file.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _split(self) -> None:
        # Latin-1 keeps one character a byte, so that offsets in the text are offsets in the bytes, also of binary data.
        offset = self._data_offset(self._head.decode("latin-1"))
        if offset is None:
            return
        self._file = tempfile.NamedTemporaryFile(dir=self._folder, prefix="insert-", delete=False)  # noqa: SIM115
        self.path = Path(self._file.name)
        data = bytes(self._head[offset:])
        del self._head[offset:]
        self._write(data)

    def _write(self, data: bytes) -> None:
        self._written += len(data)
        if self._written > MAX_DATA_BYTES:
            raise QueryError(165, "QUERY_IS_TOO_LARGE", f"The data is larger than {MAX_DATA_BYTES} bytes")
        self._file.write(data)


class Unpacker(Protocol):
    """Unpacks a stream piece by piece."""

    def decompress(self, data: bytes, /) -> bytes:
        """The next unpacked bytes; may be empty."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the stream may end here; if not, something of it is missing."""
        ...


class Plain:
    """No packing."""

    complete = True

    def decompress(self, data: bytes, /) -> bytes:
        """The bytes as they are."""
        return data


class Frames:
    """A stream of one or more packed frames; clients pack every block on its own. `make` gives a frame's unpacker."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._frame: Any = None

    @property
    def complete(self) -> bool:
        """Whether the last frame has ended."""
        return self._frame is None

    def decompress(self, data: bytes, /) -> bytes:
        """Unpack the next bytes, over the ends of frames."""
        unpacked = bytearray()
        while data:
            self._frame = self._frame or self._make()
            unpacked += self._frame.decompress(data)
            if not self._frame.eof:
                break
            data, self._frame = self._frame.unused_data, None
        return bytes(unpacked)


class NativeBlocks:
    """ClickHouse's own block framing (`decompress=1`): checksum 16, method 1, packed size 4, unpacked size 4, data."""

    HEADER = 25
    LZ4, NONE = 0x82, 0x02

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def complete(self) -> bool:
        """Whether the last block has ended."""
        return not self._buffer

    def decompress(self, data: bytes, /) -> bytes:
        """Unpack the blocks that are complete so far."""
        import lz4.block

        self._buffer += data
        unpacked = bytearray()
        while len(self._buffer) >= self.HEADER:
            method = self._buffer[16]
            # The packed size counts the nine bytes of method and sizes, the checksum not.
            end = 16 + int.from_bytes(self._buffer[17:21], "little")
            size = int.from_bytes(self._buffer[21:25], "little")
            if method not in (self.LZ4, self.NONE) or end < self.HEADER or size > MAX_DATA_BYTES:
                raise ValueError(f"block with method {method:#x}")
            if len(self._buffer) < end:
                break
            block = bytes(self._buffer[self.HEADER : end])
            if bytes(self._buffer[:16]) != checksum(bytes(self._buffer[16:end])):
                raise ValueError("checksum of a block does not match")
            unpacked += lz4.block.decompress(block, uncompressed_size=size) if method == self.LZ4 else block
            del self._buffer[:end]
        return bytes(unpacked)


def checksum(data: bytes) -> bytes:
    """CityHash 1.0.2, 128 bit, of a packed block, in the byte order of the framing."""
    from clickhouse_cityhash.cityhash import CityHash128

    value: int = CityHash128(data)
    return (value >> 64).to_bytes(8, "little") + (value & (1 << 64) - 1).to_bytes(8, "little")


def pack_native(data: bytes) -> bytes:
    """`data` in ClickHouse's own block framing, LZ4 (`compress=1`)."""
    import lz4.block

    packed = bytearray()
    for start in range(0, max(len(data), 1), 1 << 20):
        piece = data[start : start + (1 << 20)]
        body = lz4.block.compress(piece, store_size=False)
        block = (
            NativeBlocks.LZ4.to_bytes(1, "little")
            + (len(body) + 9).to_bytes(4, "little")
            + len(piece).to_bytes(4, "little")
            + body
        )
        packed += checksum(block) + block
    return bytes(packed)


def unpacker(encoding: str) -> Unpacker:
    """The unpacker of a Content-Encoding.

    Raises:
        QueryError: NOT_IMPLEMENTED (48) for an encoding that is not known here.
    """
    match encoding.lower():
        case "" | "identity":
            return Plain()
        case "gzip":
            return Frames(lambda: zlib.decompressobj(wbits=31))
        case "deflate":
            return Frames(zlib.decompressobj)
        case "lz4":
            import lz4.frame

            return Frames(lz4.frame.LZ4FrameDecompressor)
        case "zstd":
            import zstandard

            return Frames(lambda: zstandard.ZstdDecompressor().decompressobj())
    raise QueryError(48, "NOT_IMPLEMENTED", f"Unknown Content-Encoding '{encoding}'")


async def spool_body(pieces: AsyncIterator[bytes], spool: Spool, *, encoding: str, native: bool) -> None:
    """Unpack a request body into `spool`; memory stays at a few pieces, however large the body is.

    Raises:
        QueryError: CANNOT_DECOMPRESS (271) for a broken body; the errors of `unpacker` and `Spool.feed`.
    """
    outer = unpacker(encoding)
    inner: Unpacker = NativeBlocks() if native else Plain()
    async for piece in pieces:
        try:
            data = inner.decompress(outer.decompress(piece)) if piece else b""
        except Exception as error:  # every library has its own
            raise QueryError(271, "CANNOT_DECOMPRESS", f"Cannot decompress the body: {error}") from error
        spool.feed(data)
    if not (outer.complete and inner.complete):
        raise QueryError(271, "CANNOT_DECOMPRESS", "Cannot decompress the body: it ends in the middle")


def pack_answer(body: bytes, parameters: Mapping[str, str], accepted: str) -> tuple[bytes, str | None]:
    """The body as the client asked for it, and its Content-Encoding if it has one."""
    if parameters.get("compress") == "1":
        return pack_native(body), None
    if parameters.get("enable_http_compression") == "1" and "gzip" in accepted and len(body) > PACK_ABOVE_BYTES:
        return gzip.compress(body, 1), "gzip"
    return body, None
