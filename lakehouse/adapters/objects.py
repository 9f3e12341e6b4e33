"""The object store: what lands, the audio objects by content hash, and copies of what was refused."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

from lakehouse.adapters.catalog_db import Landed
from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError, RejectedInputError, RetryableError

LANDING = "landing"
AUDIO = "audio"
AUDIT = "audit"
#: Larger files are sent in parts of this size. An ETag depends on it, so a change uploads everything once more.
PART_BYTES = 16 << 20
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

    One name has one key, whichever system wrote it. Bytes that are not UTF-8 appear as %XX.
    """
    from unicodedata import normalize

    name = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace").replace("\\x", "%")
    return normalize("NFC", name)


class Objects:
    """The object store as the platform's own user. Every method raises `RetryableError` when the store is away and
    `FatalError` when a bucket or permission is missing.
    """

    def __init__(self, settings: Settings) -> None:
        from minio import Minio
        from urllib3 import PoolManager, Retry, Timeout

        self._address = settings.s3.address
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
        """Put a file under `key` into the landing bucket."""
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        with self._errors(LANDING):
            self._client.fput_object(LANDING, key, os.fspath(path), content_type=kind, part_size=PART_BYTES)

    def fetch(self, landed: Landed, path: Path) -> None:
        """Copy exactly this version of a landed object to the file `path`.

        Raises:
            RetryableError: the object was replaced meanwhile.
        """
        with self._errors(LANDING):
            self._client.fget_object(
                LANDING, landed.object_key, os.fspath(path), request_headers={"If-Match": landed.etag}
            )

    def keep_audio(self, landed: Landed, sha256: str) -> str:
        """Have the landed content in the audio bucket, under its hash; returns its s3:// address."""
        return self._copy(landed, AUDIO, audio_name(sha256))

    def keep_rejected(self, landed: Landed, sha256: str) -> str:
        """Have the landed content among the refused files; returns its s3:// address."""
        return self._copy(landed, AUDIT, quarantine_name(sha256))

    def put_audio(self, path: Path, sha256: str) -> str:
        """Have the content of a file in the audio bucket, under its hash; returns its s3:// address."""
        from minio.error import S3Error

        name = audio_name(sha256)
        with self._errors(AUDIO):
            try:
                self._client.stat_object(AUDIO, name)  # named by its hash: then it holds the same bytes
            except S3Error as error:
                if error.code != "NoSuchKey":
                    raise
                self._client.fput_object(AUDIO, name, os.fspath(path), part_size=PART_BYTES)
        return f"s3://{AUDIO}/{name}"

    def fetch_rejected(self, sha256: str, path: Path) -> None:
        """Copy the kept content of a refused file to `path`."""
        with self._errors(AUDIT):
            self._client.fget_object(AUDIT, quarantine_name(sha256), os.fspath(path))

    def audio(self, sha256: str) -> bytes:
        """The whole audio object with this hash."""
        with self._errors(AUDIO):
            response = self._client.get_object(AUDIO, audio_name(sha256))
            try:
                return bytes(response.read())
            finally:
                response.close()
                response.release_conn()

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

    @contextmanager
    def _errors(self, bucket: str) -> Iterator[None]:
        from minio.error import S3Error, ServerError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ServerError as error:  # a HEAD request has no body to name the reason: 412 is a lost If-Match
            raise RetryableError(
                f"The object store cannot do this now: HTTP {error.status_code}.", hint="Run the command again."
            ) from error
        except S3Error as error:
            if error.code in ("PreconditionFailed", "SlowDown", "XMinioServerNotInitialized"):
                raise RetryableError(
                    f"The object store cannot do this now: {error.message}", hint="Run the command again."
                ) from error
            raise FatalError(
                f"The object store refuses access to s3://{bucket}: {error.code}, {error.message}",
                hint="`wavehouse up --only lake` makes the buckets and the user.",
            ) from error
        except HTTPError as error:
            raise RetryableError(
                f"The object store at {self._address} does not answer.",
                hint="`wavehouse status` shows whether MinIO runs; `wavehouse up --only lake` starts it.",
            ) from error
