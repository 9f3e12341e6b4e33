"""Recognises audio that is encrypted or under DRM by what its container says about it; nothing is decrypted.

MP4: sample entries `enca`, `encv` (ISO/IEC 14496-12, 8.12: common encryption, as Widevine and PlayReady use it),
`drms`, `drmi` (FairPlay before that) and boxes `sinf`, `pssh` (ISO/IEC 23001-7). ASF: its encryption objects (Advanced
Systems Format specification, 3.14 to 3.16). ID3: frame AENC, and frames that are encrypted (ID3v2.3, 4.20 and 3.3.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

#: Boxes looked at in one file at most: a hostile one has no end of them.
MAX_BOXES = 20_000
#: Bytes of a sample description or an ASF header that are looked through at most.
MAX_TABLE_BYTES = 1 << 20
_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
_ENCRYPTED_ENTRIES = frozenset({b"enca", b"encv", b"drms", b"drmi"})
_ASF_OBJECTS = {
    bytes.fromhex("fbb31122 23bdd211 b4b700a0 c955fc6e"): "Content Encryption",
    bytes.fromhex("14e68a29 2226174c b935dae0 7ee9289c"): "Extended Content Encryption",
    bytes.fromhex("33850543 8169e649 9b74ad12 cb86d58c"): "Advanced Content Encryption",
}


def protection(stream: BinaryIO, container: str, size_bytes: int) -> str:
    """What protects the audio of a file, "" when nothing does; `stream` is anywhere in it. Damage is no protection."""
    if container == "mp4":
        return next(_mp4(stream, size_bytes), "")
    if container == "asf":
        return _asf(stream)
    if container == "mp3":
        return _id3(stream)
    return ""


def _boxes(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the content of each box, those of containers after the container itself."""
    todo = [(start, end)]
    while todo:
        position, end = todo.pop()
        if position + 8 > end:
            continue
        stream.seek(position)
        header = stream.read(16)
        length, head = int.from_bytes(header[:4]), 8
        if length == 1:
            length, head = int.from_bytes(header[8:16]), 16
        elif length == 0:
            length = end - position
        if length < head or len(header) < head:
            continue
        stop = min(position + length, end)
        yield header[4:8], position + head, stop
        todo.append((position + length, end))
        if header[4:8] in _CONTAINERS:
            todo.append((position + head, stop))


def _mp4(stream: BinaryIO, size_bytes: int) -> Iterator[str]:
    for kind, start, end in islice(_boxes(stream, 0, size_bytes), MAX_BOXES):
        if kind == b"pssh":
            yield "MP4 box 'pssh'"
        if kind != b"stsd":
            continue
        stream.seek(start + 8)  # version, flags and the number of entries
        table = stream.read(max(0, min(end - start - 8, MAX_TABLE_BYTES)))
        if (entry := table[4:8]) in _ENCRYPTED_ENTRIES:
            yield f"MP4 sample entry '{entry.decode()}'"
        elif b"sinf" in table:
            yield "MP4 box 'sinf'"


def _asf(stream: BinaryIO) -> str:
    stream.seek(16)
    length = int.from_bytes(stream.read(8), "little")
    stream.seek(0)
    header = stream.read(min(length, MAX_TABLE_BYTES))
    return next((f"ASF object '{name}'" for guid, name in _ASF_OBJECTS.items() if guid in header), "")


_V23, _V24 = 3, 4


def _id3(stream: BinaryIO) -> str:
    stream.seek(0)
    header = stream.read(10)
    if header[:3] != b"ID3" or len(header) < 10 or header[3] not in (_V23, _V24):  # noqa: PLR2004
        return ""
    end = 10 + _syncsafe(header[6:10])
    encrypted = 0x40 if header[3] == _V23 else 0x04
    for _ in range(MAX_BOXES):
        if stream.tell() + 10 > end:
            break
        frame = stream.read(10)
        if len(frame) < 10 or not frame[:4].isalnum():  # noqa: PLR2004 - padding
            break
        name = frame[:4].decode("ascii", "replace")
        if name == "AENC":
            return "ID3 frame 'AENC'"
        if frame[9] & encrypted:
            return f"encrypted ID3 frame '{name}'"
        stream.seek(_syncsafe(frame[4:8]) if header[3] == _V24 else int.from_bytes(frame[4:8]), 1)
    return ""


def _syncsafe(four: bytes) -> int:
    """28 bits in four bytes, whose highest bits are zero (ID3v2.4 structure, 6.2)."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(four, (21, 14, 7, 0), strict=True))
