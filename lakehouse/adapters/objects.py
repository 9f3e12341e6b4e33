"""The object store: what lands, the audio objects by content hash, copies of what was refused, and small documents.

Bytes go in and out through obstore: in parts, with a CRC-64/NVME of every part that the store computes again before it
takes it, and of which it keeps that of the whole object. minio-py asks and arranges: lists, states, copies between
buckets, which obstore can't. What a killed upload leaves behind is no object; MinIO removes such parts after a day.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lakehouse.adapters.catalog_db import Landed
from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError, RejectedInputError, RetryableError, WavehouseError

if TYPE_CHECKING:
    from obstore.store import S3Store

LANDING = "landing"
AUDIO = "audio"
AUDIT = "audit"
PLAYBACK = "playback"
LAKE = "lake"
#: Larger files are sent in parts of this size: twice as large ones cost a fifth more CPU, as each is memory that is
#: asked for anew. An ETag depends on it, so a change uploads everything once more.
PART_BYTES = 8 << 20
#: Parts of one file under way at once; so many, and the one that is being read, are in memory.
PARTS_AT_ONCE = 2
_BLOCK_BYTES = 1 << 20
_COPY_LIMIT_BYTES = 5 << 30  # S3 copies larger objects in parts only


def audio_name(sha256: str) -> str:
    """Name of an audio object inside its bucket: two hex digits spread the objects over prefixes."""
    return f"{sha256[:2]}/{sha256}"


def quarantine_name(sha256: str) -> str:
    """Name of a refused file inside the audit bucket; equal content is kept once."""
    return f"quarantine/{sha256[:2]}/{sha256}"


def etag_of(path: Path) -> str:
    """The ETag that the store gives to a file put by `Objects.put`: its MD5, or the MD5 of its parts' MD5s."""
    with path.open("rb") as stream:
        if path.stat().st_size <= PART_BYTES:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        parts = [
            hashlib.md5(part, usedforsecurity=False).digest() for part in iter(lambda: stream.read(PART_BYTES), b"")
        ]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


def object_key(path: Path, folder: Path) -> str:
    """Key of a file below `folder`: its relative path with forward slashes, in Unicode NFC.

    One name has one key, whichever system wrote it. Control characters and bytes that are not UTF-8 appear as %XX.
    """
    from unicodedata import normalize

    return normalize("NFC", _readable(path.relative_to(folder)))


def _readable(path: Path) -> str:
    name = os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace").replace("\\x", "%")
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: f"%{ord(found[0]):02x}", name)


def object_keys(files: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Keys of `files`, no two alike: where names are one after normalisation, all but one keep their own spelling.

    Such names are two files on the supplier's disk, and both must land.
    """
    keys: dict[str, Path] = {}
    spelled = {path: (object_key(path, folder), _readable(path.relative_to(folder))) for path in files}
    for path, (key, own) in sorted(spelled.items(), key=lambda found: found[1][0] != found[1][1]):
        keys[own if key in keys else key] = path
    return keys


#: Limits of S3 for a key and of MinIO's file system for each part of it, in bytes of UTF-8.
MAX_KEY_BYTES, MAX_SEGMENT_BYTES = 1024, 255


def check_key(key: str) -> None:
    """Check that the store can hold an object of this name.

    Raises:
        RejectedInputError: `name_too_long`.
    """
    longest = max(len(part.encode()) for part in key.split("/"))
    if len(key.encode()) > MAX_KEY_BYTES or longest > MAX_SEGMENT_BYTES:
        raise RejectedInputError(
            f"'{key[:60]}...' has {len(key.encode())} bytes, its longest part {longest}; "
            f"{MAX_KEY_BYTES} and {MAX_SEGMENT_BYTES} are allowed.",
            reason="name_too_long",
            value=key,
            hint="Shorten the names of the file or its folders.",
        )


class Objects:
    """The object store as the platform's own user. Every method raises `RetryableError` when the store is away,
    `FatalError` when a bucket or permission is missing, and `RejectedInputError` for an object that is not there
    (`no_such_object`) or that no client can name (`bad_object_name`).
    """

    def __init__(self, settings: Settings) -> None:
        from minio import Minio
        from urllib3 import PoolManager, Retry, Timeout

        self._address = settings.s3.address
        self._store = cache(lambda bucket: _store(settings, bucket))
        self._client = Minio(
            settings.s3.address,
            access_key=settings.s3.access_key,
            secret_key=settings.s3.secret_key.get_secret_value(),
            secure=False,
            region=settings.s3.region,
            http_client=PoolManager(
                timeout=Timeout(connect=5, read=120),
                retries=Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
            ),
        )

    def landed(self, prefix: str = "") -> Iterator[Landed]:
        """Objects of the landing bucket below `prefix`, by key."""
        with self._errors(LANDING):
            for found in self._client.list_objects(LANDING, prefix=prefix, recursive=True):
                yield Landed(
                    object_key=str(found.object_name),
                    etag=str(found.etag).strip('"'),
                    size_bytes=found.size or 0,
                    received_at=found.last_modified.astimezone(UTC),
                )

    def landed_one(self, key: str) -> Landed:
        """The landed object `key`.

        Raises:
            RejectedInputError: reason `no_such_object`.
        """
        from minio.error import S3Error

        with self._errors(LANDING):
            try:
                found = self._client.stat_object(LANDING, key)
            except S3Error as error:
                if error.code != "NoSuchKey":
                    raise
                raise RejectedInputError(
                    f"There is no object '{key}' in s3://{LANDING}.",
                    reason="no_such_object",
                    value=key,
                    hint="See the waiting ones with `wavehouse ingest list`.",
                ) from error
        return Landed(
            object_key=key,
            etag=str(found.etag).strip('"'),
            size_bytes=found.size or 0,
            received_at=found.last_modified.astimezone(UTC),
        )

    def put(self, path: Path, key: str) -> None:
        """Put a file under `key` into the landing bucket.

        Raises:
            RejectedInputError: `file_changed`: it was written to while it was sent, and nothing is stored.
        """
        self._send(path, LANDING, key)

    def fetch(self, landed: Landed, path: Path) -> None:
        """Copy exactly this version of a landed object to the file `path`.

        Raises:
            RejectedInputError: `no_such_object`: it was removed meanwhile.
            RetryableError: the object was replaced meanwhile.
        """
        self._receive(LANDING, landed.object_key, path, etag=landed.etag)

    def keep_audio(self, landed: Landed, sha256: str) -> str:
        """Have the landed content in the audio bucket, under its hash; returns its s3:// address."""
        return self._copy(landed, AUDIO, audio_name(sha256))

    def keep_rejected(self, landed: Landed, sha256: str) -> str:
        """Have the landed content among the refused files; returns its s3:// address."""
        return self._copy(landed, AUDIT, quarantine_name(sha256))

    def put_audio(self, path: Path, sha256: str) -> str:
        """Have the content of a file in the audio bucket, under its hash; returns its s3:// address.

        Raises:
            RejectedInputError: `file_changed`: its bytes are no longer those of the hash, and nothing is stored.
        """
        from minio.error import S3Error

        name = audio_name(sha256)
        with self._errors(AUDIO):
            try:
                self._client.stat_object(AUDIO, name)  # named by its hash: then it holds the same bytes
            except S3Error as error:
                if error.code != "NoSuchKey":
                    raise
                self._send(path, AUDIO, name, sha256=sha256)
        return f"s3://{AUDIO}/{name}"

    def fetch_audio(self, sha256: str, path: Path) -> None:
        """Copy the audio object with this hash to `path`."""
        self._receive(AUDIO, audio_name(sha256), path)

    def put_playback(self, path: Path, name: str) -> None:
        """Put a file of a playback package under `name`."""
        self._send(path, PLAYBACK, name)

    def remove_playback(self, prefix: str) -> None:
        """Remove all objects of a playback package, a thousand with each request."""
        from minio.deleteobjects import DeleteObject

        with self._errors(PLAYBACK):
            names = self.names(PLAYBACK, prefix)
            playlists = {name for name in names if name.endswith(".m3u8")}
            # Playlists last to come, first to go: whoever finds one finds what it names.
            for some in (playlists, names - playlists):
                for error in self._client.remove_objects(PLAYBACK, [DeleteObject(name) for name in sorted(some)]):
                    raise self._refusal(PLAYBACK, error.code, error.message or "")

    def fetch_rejected(self, sha256: str, path: Path) -> None:
        """Copy the kept content of a refused file to `path`."""
        self._receive(AUDIT, quarantine_name(sha256), path)

    def read(self, bucket: str, name: str) -> bytes:
        """The whole object `name`; for what fits into memory."""
        import obstore

        with self._errors(bucket):
            return bytes(obstore.get(self._store(bucket), name).bytes())

    def write(self, bucket: str, name: str, data: bytes) -> None:
        """Put `data` under `name`; a reader sees what was there before or all of it."""
        import obstore

        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        with self._errors(bucket):
            obstore.put(self._store(bucket), name, data, attributes={"Content-Type": kind}, use_multipart=False)

    def names(self, bucket: str, prefix: str = "") -> set[str]:
        """Names of all objects in a bucket below `prefix`."""
        with self._errors(bucket):
            return {str(o.object_name) for o in self._client.list_objects(bucket, prefix=prefix, recursive=True)}

    def _copy(self, landed: Landed, bucket: str, name: str) -> str:
        """Copy on the server, unless the name, which is a content hash, is there: then it holds the same bytes."""
        from minio.commonconfig import ComposeSource, CopySource
        from minio.error import S3Error

        with self._errors(bucket):
            try:
                self._client.stat_object(bucket, name)
            except S3Error as error:
                if error.code != "NoSuchKey":
                    raise
                if landed.size_bytes < _COPY_LIMIT_BYTES:
                    source = CopySource(LANDING, landed.object_key, match_etag=landed.etag)
                    self._client.copy_object(bucket, name, source)
                else:
                    parts = ComposeSource(LANDING, landed.object_key, match_etag=landed.etag)
                    self._client.compose_object(bucket, name, [parts])
        return f"s3://{bucket}/{name}"

    def _send(self, path: Path, bucket: str, name: str, *, sha256: str | None = None) -> None:
        import obstore

        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        with path.open("rb", buffering=0) as file, self._errors(bucket):
            small = path.stat().st_size <= PART_BYTES
            blocks = _unchanged(file, path, sha256)
            obstore.put(
                self._store(bucket),
                name,
                b"".join(blocks) if small else blocks,
                attributes={"Content-Type": kind},
                use_multipart=not small,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

    def _receive(self, bucket: str, name: str, path: Path, *, etag: str | None = None) -> None:
        import obstore

        try:
            with path.open("wb") as file, self._errors(bucket):
                if _nameable(name):
                    found = obstore.get(self._store(bucket), name, options={"if_match": f'"{etag}"'} if etag else None)
                    file.writelines(found.stream(min_chunk_size=_BLOCK_BYTES))
                else:
                    headers: dict[str, str | list[str] | tuple[str]] = {"If-Match": f'"{etag}"'} if etag else {}
                    with self._client.get_object(bucket, name, request_headers=headers) as answer:
                        file.writelines(answer.stream(_BLOCK_BYTES))
        except WavehouseError:
            path.unlink(missing_ok=True)  # half an object is none
            raise

    @contextmanager
    def _errors(self, bucket: str) -> Iterator[None]:
        from minio.error import S3Error, ServerError
        from obstore.exceptions import BaseError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ServerError as error:  # a HEAD request has no body to name the reason: 412 is a lost If-Match
            raise RetryableError(
                f"The object store cannot do this now: HTTP {error.status_code}.", hint="Run the command again."
            ) from error
        except S3Error as error:
            raise self._refusal(bucket, error.code or "", error.message or "") from error
        except (BaseError, FileNotFoundError) as error:  # the latter when there is no such bucket or object
            raise self._refusal(bucket, *_named(str(error))) from error
        except HTTPError as error:
            raise self._refusal(bucket, "", "") from error
        except ValueError as error:  # from both clients, before they ask the store
            raise RejectedInputError(
                f"An object in s3://{bucket} has a name that cannot be asked for: {error}.",
                reason="bad_object_name",
                hint="Name it without control characters and without empty, `.` or `..` parts between slashes.",
            ) from error

    def _refusal(self, bucket: str, code: str, message: str) -> RetryableError | FatalError | RejectedInputError:
        """The error for what the store answered; without a code it did not answer."""
        if not code:
            return RetryableError(
                f"The object store at {self._address} does not answer.",
                hint="`wavehouse status` shows whether MinIO runs; `wavehouse up --only lake` starts it.",
            )
        if code in _FULL:
            return RetryableError(
                f"s3://{bucket} is full: {message}",
                hint="Make room or raise the bucket's quota, then run the command again: it goes on where it stopped.",
            )
        if code in _PASSING:
            return RetryableError(f"The object store cannot do this now: {message}", hint="Run the command again.")
        if code == "NoSuchKey":
            return RejectedInputError(
                f"The object is not in s3://{bucket} any more.",
                reason="no_such_object",
                hint="See the waiting ones with `wavehouse ingest list`.",
            )
        return FatalError(
            f"The object store refuses access to s3://{bucket}: {code}, {message}",
            hint="`wavehouse up --only lake` makes the buckets and the user.",
        )


#: Codes of S3 and MinIO for what passes, and for no room left in a bucket or below it.
_PASSING = frozenset(
    {"PreconditionFailed", "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout",
     "XMinioServerNotInitialized", "XAmzContentChecksumMismatch"}
)  # fmt: skip
_FULL = frozenset({"XMinioAdminBucketQuotaExceeded", "XMinioStorageFull", "QuotaExceeded"})


def _nameable(name: str) -> bool:
    """Whether obstore asks for exactly this name: it cuts slashes off both ends and takes no control characters.

    Others may have put such objects: a console makes a folder by an empty object `folder/`.
    """
    return not re.search(r"[\x00-\x1f\x7f]", name) and not {"", ".", ".."} & set(name.split("/"))


def _named(text: str) -> tuple[str, str]:
    """Code and message of the XML answer inside a text of obstore; of an answer without a body, those of its status."""
    if code := re.search(r"<Code>(.*?)</Code>", text):
        message = re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
        return code[1], message[1] if message else ""
    if status := re.search(r"status code: (\d{3}) ([^:\n]*)", text):
        return {"412": "PreconditionFailed"}.get(status[1], "InternalError" if status[1] >= "500" else status[1]), (
            f"HTTP {status[1]} {status[2].strip()}"
        )
    return "", ""


def _store(settings: Settings, bucket: str) -> S3Store:
    from obstore.store import S3Store

    s3 = settings.s3
    return S3Store(
        bucket,
        endpoint=s3.http,
        region=s3.region,
        access_key_id=s3.access_key,
        secret_access_key=s3.secret_key.get_secret_value(),
        virtual_hosted_style_request=False,
        # The checksum says what the signature of the payload would say, at a tenth of the cost of its SHA-256.
        checksum_algorithm="CRC64NVME",
        unsigned_payload=True,
        # A limit for a whole answer would cut off large files; a silence of this length means that nobody is there.
        client_options={"allow_http": True, "connect_timeout": "5s", "timeout": "24h", "read_timeout": "120s"},
        retry_config={"max_retries": 3, "retry_timeout": timedelta(minutes=3)},
    )


def _unchanged(file: BinaryIO, path: Path, sha256: str | None) -> Iterator[bytes]:
    """The blocks of a file. The last one is followed by an error, which makes the store drop them all, unless the file
    is still what it was at the first: by size and time of change and, where it is known, by its hash.

    Raises:
        RejectedInputError: `file_changed`.
    """
    state = _state(file)
    digest = hashlib.sha256() if sha256 else None
    while block := file.read(_BLOCK_BYTES):
        if digest:
            digest.update(block)
        yield block
    if _state(file) != state or (digest and digest.hexdigest() != sha256):
        raise RejectedInputError(
            f"'{path.name}' was changed while it was read.",
            reason="file_changed",
            value=str(path),
            hint="Send it again once nobody writes to it.",
        )


def _state(file: BinaryIO) -> tuple[int, int]:
    stat = os.fstat(file.fileno())
    return stat.st_size, stat.st_mtime_ns
