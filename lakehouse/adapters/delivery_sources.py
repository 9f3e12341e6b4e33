"""Where deliveries lie: a folder, or a prefix of the landing bucket, whose files are fetched when asked for."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol
from unicodedata import normalize
from urllib.parse import unquote

from lakehouse.adapters import ingestion
from lakehouse.adapters.catalog_db import Landed
from lakehouse.adapters.objects import LANDING, Objects, object_keys
from lakehouse.errors import FatalError, RejectedInputError

#: Messages and feeds; everything else is a file that one of them speaks of.
DOCUMENTS = frozenset({".xml", ".rss"})


class Source(Protocol):
    """The files of a delivery by their names: paths below `root`, with forward slashes, as keyed when landed."""

    root: str

    def names(self) -> list[str]:
        """Names of all files."""

    def documents(self) -> list[str]:
        """Names of all messages and feeds."""

    def land(self, names: Iterable[str]) -> tuple[dict[str, str], list[dict[str, str]]]:
        """Have these files in the landing bucket: keys there by name, and what can't be, as `Uploaded.refused`."""

    def read(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of a file that is there.

        Raises:
            RejectedInputError: `unreadable`.
        """

    def find(self, folder: str, path: str) -> Path | None:
        """The file `path` below `folder`, if it is there; good until `forget`.

        Raises:
            RejectedInputError: `unreadable`.
        """

    def beside(self, name: str) -> str:
        """Hash of what stood in and below the folder of a message when it was first asked for; it changes when a file
        comes, goes or changes. "" for the folder of another file.
        """

    def version(self, name: str) -> object:
        """What changes when a file that is there changes."""

    def forget(self) -> None:
        """Let go of what was fetched."""


def folder_of(name: str) -> str:
    """The folder of a file, "" for none."""
    return _path(PurePosixPath(name).parent)


def _path(folder: PurePosixPath) -> str:
    return "" if folder == PurePosixPath() else folder.as_posix()


def _spellings(path: str) -> Iterator[str]:
    """`path` as systems write it: decomposed or not, and as in a URI."""
    for text in dict.fromkeys((path, unquote(path))):
        yield from dict.fromkeys((text, normalize("NFC", text), normalize("NFD", text)))


def _states(documents: Iterable[str], files: Iterable[tuple[str, object]]) -> dict[str, str]:
    """Hash of all `files` (name, and what changes with the file) below each folder that has one of `documents`."""
    inside: dict[str, list[tuple[str, object]]] = {folder_of(name): [] for name in documents}
    for name, state in files:
        for parent in PurePosixPath(name).parents:
            if (folder := _path(parent)) in inside:
                inside[folder].append((name, state))
    return {
        folder: hashlib.sha256(repr(sorted(entries, key=repr)).encode()).hexdigest()
        for folder, entries in inside.items()
    }


@dataclass(frozen=True)
class Waiting:
    """Deliveries that wait: since when each does (UTC), and bytes of all that lies in their folders."""

    since: list[datetime]
    size_bytes: int


def waiting(landed: Iterable[Landed], seen: Mapping[str, str]) -> Waiting:
    """What of `landed` (all below one root) waits to be looked at: messages and feeds that are not in `seen`, or beside
    which something else stands now (`CatalogDb.looked_at`). The latter wait since the last of it came.
    """
    by_key = {one.object_key: one for one in landed}
    documents = [key for key in by_key if PurePosixPath(key).suffix.lower() in DOCUMENTS]
    states = _states(documents, ((key, one.etag) for key, one in by_key.items()))
    open_ones = [key for key in documents if seen.get(key) != states[folder_of(key)]]
    folders = {folder_of(key) for key in open_ones}
    newest: dict[str, datetime] = {}
    size = 0
    for key, one in by_key.items():
        if around := folders.intersection(_path(parent) for parent in PurePosixPath(key).parents):
            size += one.size_bytes
            for folder in around:
                newest[folder] = max(newest.get(folder, one.received_at), one.received_at)
    return Waiting([newest[folder_of(key)] if key in seen else by_key[key].received_at for key in open_ones], size)


class Folder:
    """A folder of this machine, as it was when it was first asked. Links that lead out of it lead nowhere.

    Names are the keys that the files have where they land: Unicode, whatever bytes the system's names are.
    """

    def __init__(self, objects: Objects, path: Path) -> None:
        self._objects = objects
        self._path = path.resolve()
        self.root = str(self._path)

    @cached_property
    def _files(self) -> dict[str, Path]:
        found: list[Path] = []

        def closed(error: OSError) -> None:
            # A folder that can't be listed stands among the files, so that whoever takes them is told.
            found.append(Path(error.filename))

        for folder, _, names in os.walk(self._path, onerror=closed):
            found += [path for name in names if self._inside(path := Path(folder, name))]
        if self._path in found:
            raise RejectedInputError(
                f"The folder '{self.root}' cannot be listed.",
                reason="unreadable",
                value=self.root,
                hint="Make it readable.",
            )
        return object_keys(found, self._path)

    def names(self) -> list[str]:
        """Names of all files."""
        return sorted(self._files)

    def land(self, names: Iterable[str]) -> tuple[dict[str, str], list[dict[str, str]]]:
        """Put these files into the landing bucket unless they are there: keys there by name, and what can't be."""
        files = {name: self._files[name] for name in names}
        refused = ingestion.send(self._objects, files).refused
        unsent = {row["file"] for row in refused}
        by_path = {str(path): name for name, path in files.items()}
        sent = {name: name for name, path in files.items() if str(path) not in unsent}
        return sent, [row | {"file": by_path[row["file"]]} for row in refused]

    def documents(self) -> list[str]:
        """Names of all messages and feeds."""
        return [name for name in self.names() if PurePosixPath(name).suffix.lower() in DOCUMENTS]

    def read(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of a file that is there."""
        try:
            with self._files[name].open("rb") as stream:
                return stream.read(limit)
        except OSError as error:
            raise unreadable(name, error) from error

    def find(self, folder: str, path: str) -> Path | None:
        """The file `path` below `folder`, if it is there and can be read.

        Raises:
            RejectedInputError: `unreadable`.
        """
        for spelling in _spellings(path):
            name = f"{folder}/{spelling}".removeprefix("/")
            if (found := self._files.get(name)) is None:
                continue
            if found.resolve().is_relative_to(found.parents[len(PurePosixPath(spelling).parts) - 1]):
                try:
                    found.open("rb").close()
                except OSError as error:
                    raise unreadable(name, error) from error
                return found
        return None

    def beside(self, name: str) -> str:
        """Hash of what stood in the folder of a message."""
        return self._beside.get(folder_of(name), "")

    def version(self, name: str) -> object:
        """What changes when a file changes."""
        return _state(self._files[name])

    @cached_property
    def _beside(self) -> dict[str, str]:
        return _states(self.documents(), ((name, _state(path)) for name, path in self._files.items()))

    def forget(self) -> None:
        """Nothing was fetched."""

    def _inside(self, path: Path) -> bool:
        try:
            return path.is_file() and path.resolve().is_relative_to(self._path)
        except PermissionError:  # in a folder that may be listed only: whoever asks for it is told
            return True


def unreadable(name: str, error: OSError) -> RejectedInputError:
    """The refusal of a file of a delivery that can't be opened, or is gone."""
    return RejectedInputError(
        f"'{name}' cannot be read: {error.strerror}.",
        reason="unreadable",
        value=name,
        hint="Make it readable or send it again.",
    )


def _state(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


class Prefix:
    """What landed in the folder `prefix`, or that one object; names are whole keys. Fetched files are in `scratch`."""

    root = f"s3://{LANDING}"

    def __init__(self, objects: Objects, prefix: str, scratch: Path) -> None:
        self._objects = objects
        self._scratch = scratch
        inside = f"{prefix.rstrip('/')}/" if prefix else ""
        self._landed = {
            landed.object_key: landed
            for landed in objects.landed(prefix)
            if landed.object_key == prefix or landed.object_key.startswith(inside)
        }

    def names(self) -> list[str]:
        """Names of all files."""
        return sorted(self._landed)

    def land(self, names: Iterable[str]) -> tuple[dict[str, str], list[dict[str, str]]]:
        """They are there: their keys are their names."""
        return {name: name for name in names}, []

    def documents(self) -> list[str]:
        """Names of all messages and feeds."""
        return sorted(key for key in self._landed if PurePosixPath(key).suffix.lower() in DOCUMENTS)

    def read(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of a file that is there."""
        with self._fetched(self._landed[name]).open("rb") as stream:
            return stream.read(limit)

    def find(self, folder: str, path: str) -> Path | None:
        """The file `path` below `folder`, if it is there."""
        keys = (f"{folder}/{spelling}".removeprefix("/") for spelling in _spellings(path))
        return next((self._fetched(self._landed[key]) for key in keys if key in self._landed), None)

    def beside(self, name: str) -> str:
        """Hash of what stood in the folder of a message."""
        return self._beside.get(folder_of(name), "")

    def version(self, name: str) -> object:
        """What changes when a file changes."""
        return self._landed[name].etag

    @cached_property
    def _beside(self) -> dict[str, str]:
        return _states(self.documents(), ((key, landed.etag) for key, landed in self._landed.items()))

    def forget(self) -> None:
        """Let go of what was fetched."""
        for path in self._scratch.iterdir():
            path.unlink()

    def _fetched(self, landed: Landed) -> Path:
        # A name of our own: keys may be longer than file names, and lead anywhere.
        name = hashlib.sha256(landed.object_key.encode()).hexdigest() + PurePosixPath(landed.object_key).suffix[:10]
        path = self._scratch / name
        if not path.exists():
            self._objects.fetch(landed, path)
        return path


@contextmanager
def opened(objects: Objects, address: str) -> Iterator[Source]:
    """The source at `address`: a folder, or s3://landing/prefix.

    Raises:
        RejectedInputError: `no_such_folder`; when it is asked, `unreadable`.
        FatalError: another bucket.
    """
    if not address.startswith("s3://"):
        folder = Path(address).expanduser()
        if not folder.is_dir():
            raise RejectedInputError(f"There is no folder '{address}'.", reason="no_such_folder", value=address)
        if (shown := ascii(str(folder.resolve()))) and "\\udc" in shown:  # bytes that no table can hold
            raise RejectedInputError(
                f"The name of the folder {shown} is not UTF-8.", reason="no_such_folder", hint="Rename the folder."
            )
        yield Folder(objects, folder)
        return
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if bucket != LANDING:
        raise FatalError(f"Deliveries land in s3://{LANDING}, not in s3://{bucket}.", hint=f"Use s3://{LANDING}/...")
    scratch = Path(tempfile.mkdtemp(prefix="wavehouse-delivery-"))
    try:
        yield Prefix(objects, prefix, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
