"""What lies beside tagged audio files and belongs to them: pictures, lyrics and links, told by their names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from lakehouse.domain.catalog.deliveries import merch

PICTURES = frozenset({"cover", "folder", "front"})
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
LYRICS_SUFFIXES = frozenset({".lrc", ".txt"})
_NO_AUDIO = LYRICS_SUFFIXES | PICTURE_SUFFIXES | {".json"}


def companions(names: Iterable[str]) -> dict[str, str]:
    """Those of `names`, paths with forward slashes, that belong to others: each with its kind, `artwork`, `lyrics` or
    `merch`. Lyrics are called like their track; pictures and links belong to all audio of their folder. Without any it
    is nobody's, and a file like any other.
    """
    paths = {name: PurePosixPath(name) for name in names}
    audio = {path.with_suffix("") for path in paths.values() if path.suffix.lower() not in _NO_AUDIO}
    folders = {path.parent for path in audio}
    return {name: kind for name, path in paths.items() if path.parent in folders and (kind := _kind(path, audio))}


def _kind(path: PurePosixPath, audio: set[PurePosixPath]) -> str | None:
    if path.name.lower() == merch.FILE:
        return "merch"
    if path.suffix.lower() in PICTURE_SUFFIXES and path.stem.lower() in PICTURES:
        return "artwork"
    return "lyrics" if path.suffix.lower() in LYRICS_SUFFIXES and path.with_suffix("") in audio else None
