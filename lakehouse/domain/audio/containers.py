"""Recognises an audio file's real format by its first bytes, and checks the completeness that a container declares.

libsndfile and mpg123 decode what is left of a damaged file without a word; the checks here find what they forgive.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

#: Extensions that a container may carry.
EXTENSIONS: dict[str, frozenset[str]] = {
    "ogg": frozenset({"ogg", "oga", "opus", "spx"}),
    "flac": frozenset({"flac"}),
    "wav": frozenset({"wav", "wave"}),
    "aiff": frozenset({"aif", "aiff", "aifc"}),
    "mp3": frozenset({"mp3"}),
    "mp4": frozenset({"m4a", "m4b", "mp4", "aac"}),
    "asf": frozenset({"wma", "asf"}),
}
HEAD_BYTES = 64


#: First bytes of each container: (offset, bytes) that must all be there.
_SIGNATURES: tuple[tuple[str, tuple[tuple[int, bytes], ...]], ...] = (
    ("ogg", ((0, b"OggS"),)),
    ("flac", ((0, b"fLaC"),)),
    ("wav", ((0, b"RIFF"), (8, b"WAVE"))),
    ("wav", ((0, b"RF64"), (8, b"WAVE"))),
    ("aiff", ((0, b"FORM"), (8, b"AIFF"))),
    ("aiff", ((0, b"FORM"), (8, b"AIFC"))),
    ("mp4", ((4, b"ftyp"),)),
    ("asf", ((0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),)),
    ("mp3", ((0, b"ID3"),)),
)


def sniff(head: bytes) -> str | None:
    """Container of a file by its first `HEAD_BYTES` bytes: a key of `EXTENSIONS`, or None when it is no audio."""
    for container, parts in _SIGNATURES:
        if all(head.startswith(magic, offset) for offset, magic in parts):
            return container
    return "mp3" if _is_mpeg_frame(head) else None


_LAYER_3 = 1
_RESERVED_VERSION, _RESERVED_RATE = 1, 3
_FREE_BITRATE, _BAD_BITRATE = 0, 15


def _is_mpeg_frame(head: bytes) -> bool:
    """Whether `head` starts with the frame header of MPEG audio layer III (ISO/IEC 11172-3, 2.4.1.3): 11 bits sync,
    2 version, 2 layer, 1 protection, 4 bit rate, 2 sample rate.
    """
    word = int.from_bytes(head[:4].ljust(4, b"\0"))
    return (
        word >> 21 == (1 << 11) - 1
        and word >> 19 & 3 != _RESERVED_VERSION
        and word >> 17 & 3 == _LAYER_3
        and word >> 12 & 15 not in (_FREE_BITRATE, _BAD_BITRATE)
        and word >> 10 & 3 != _RESERVED_RATE
    )


@dataclass(frozen=True)
class Integrity:
    """What a container's own structure says: the file stops early, or bytes inside it changed. Empty when sound."""

    truncated: str = ""
    corrupt: str = ""


def integrity(stream: BinaryIO, container: str, size_bytes: int) -> Integrity:
    """Check the structure of a whole file; `stream` stands at its start. Formats without such structure pass."""
    if container == "ogg":
        return _ogg(stream, size_bytes)
    if container in ("wav", "aiff"):
        return _chunks(stream, size_bytes, little_endian=container == "wav")
    return Integrity()


# RFC 3533: an Ogg page has a CRC-32 (polynomial 0x04c11db7, not reflected, start 0), a sequence number in its stream,
# and flags, of which the last page of a stream carries "end of stream".
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_PAGE_HEADER = 27
_END_OF_STREAM = 4


def ogg_crc(page: bytes) -> int:
    """Ogg's CRC of a page whose checksum field is zero.

    zlib computes the reflected form of the same polynomial: mirror the bits of each byte and of the result.
    """
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")


def _ogg_pages(stream: BinaryIO) -> Iterator[tuple[bytes, bytes | None]]:
    """Header and whole page of each page in turn; the page is None where the file stops inside it."""
    while header := stream.read(_PAGE_HEADER):
        lacing = stream.read(header[26]) if len(header) == _PAGE_HEADER else b""
        body = stream.read(sum(lacing))
        whole = len(header) == _PAGE_HEADER and len(lacing) == header[26] and len(body) == sum(lacing)
        yield header, header + lacing + body if whole else None


def _ogg(stream: BinaryIO, size_bytes: int) -> Integrity:
    open_streams: dict[bytes, int] = {}
    position = 0
    for header, page in _ogg_pages(stream):
        if header[:4] != b"OggS"[: len(header)]:
            return Integrity(corrupt=f"no Ogg page begins at byte {position}")
        if page is None:
            return Integrity(truncated=f"the Ogg page at byte {position} is cut off")
        if int.from_bytes(header[22:26], "little") != ogg_crc(page[:22] + bytes(4) + page[26:]):
            return Integrity(corrupt=f"the checksum of the Ogg page at byte {position} is wrong")
        serial, sequence = header[14:18], int.from_bytes(header[18:22], "little")
        if serial in open_streams and sequence != open_streams[serial] + 1:
            return Integrity(corrupt=f"Ogg pages are missing before byte {position}")
        open_streams[serial] = sequence
        if header[5] & _END_OF_STREAM:
            del open_streams[serial]
        position += len(page)
    if open_streams:
        return Integrity(truncated=f"the Ogg stream has no end page after {size_bytes} bytes")
    return Integrity()


_UNKNOWN_LENGTH = (0, 0xFFFFFFFF)  # written by encoders that could not seek back, and by RF64


def _chunks(stream: BinaryIO, size_bytes: int, *, little_endian: bool) -> Integrity:
    """RIFF (WAVE) and IFF (AIFF): the file and each chunk declare their length; all must end inside the file."""
    order: Literal["little", "big"] = "little" if little_endian else "big"
    form = int.from_bytes(stream.read(8)[4:], order)
    position = 12
    while position + 8 <= size_bytes:
        stream.seek(position)
        header = stream.read(8)
        length = int.from_bytes(header[4:], order)
        if length in _UNKNOWN_LENGTH and header[:4] in (b"data", b"SSND"):
            return Integrity()
        if position + 8 + length > size_bytes:
            name = header[:4].decode("latin-1")
            return Integrity(truncated=f"chunk '{name}' declares {length} bytes, {size_bytes - position - 8} are there")
        position += 8 + length + length % 2
    # A file cut between two chunks. Some writers count a last padding byte that they do not write.
    if form not in _UNKNOWN_LENGTH and 8 + form > size_bytes + 1:
        return Integrity(truncated=f"the file declares {8 + form} bytes, {size_bytes} are there")
    return Integrity()
