"""What sending bytes to the object store costs: our upload, minio-py, and the store's own ceiling.

The ceiling is a bare client that does nothing but send: presigned PUTs over connections that stay open, the kernel
copying from file to socket (sendfile), no signature of the content and no checksum. All contenders send the same files,
in turns, to names that are not there yet.
"""

from __future__ import annotations

import http.client
import random
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.kit import interleaved, median
from lakehouse.adapters.ingestion import DELIVERIES
from lakehouse.adapters.objects import LANDING, PART_BYTES, PARTS_AT_ONCE, Objects
from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError

#: Below `deliveries/`, where no ingest of single files looks.
PREFIX = f"{DELIVERIES}bench-ingest/"
#: About a song in FLAC at 24 bit.
FILE_BYTES = 64 << 20
GB = 10**9
GOALS = {"throughput_of_ceiling": 0.9, "cpu_of_minio_py": 1 / 3}


def run(settings: Settings, *, gb: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and CPU seconds of this process per GB (10^9 bytes) by contender, and the shares that are our goals.

    Needs a running object store with room for three times `gb`; what was sent is removed.
    """
    from minio import Minio

    s3 = settings.s3
    client = Minio(s3.address, s3.access_key, s3.secret_key.get_secret_value(), secure=False, region=s3.region)
    objects = Objects(settings)
    numbers = count()

    def name() -> str:
        return f"{PREFIX}{next(numbers):06}.bin"

    with tempfile.TemporaryDirectory(prefix="wavehouse-bench-") as folder:
        paths = _files(Path(folder), max(1, round(gb * GB / FILE_BYTES)))
        sent_gb = len(paths) * FILE_BYTES / GB
        say(f"{len(paths)} files of {FILE_BYTES >> 20} MiB, {rounds} rounds")

        def ours() -> None:
            for path in paths:
                objects.put(path, name())

        def minio_py() -> None:
            for path in paths:
                client.fput_object(LANDING, name(), str(path), part_size=PART_BYTES)

        def bare() -> None:
            urls = [client.presigned_put_object(LANDING, name(), expires=timedelta(hours=1)) for _ in paths]
            with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
                work = [list(zip(paths, urls, strict=True))[n::PARTS_AT_ONCE] for n in range(PARTS_AT_ONCE)]
                list(pool.map(lambda pairs: _send(s3.address, pairs), work))

        try:
            costs = interleaved({"ours": ours, "bare": bare, "minio-py": minio_py}, rounds=rounds)
        finally:
            for found in client.list_objects(LANDING, prefix=PREFIX, recursive=True):
                client.remove_object(LANDING, str(found.object_name))
    medians = {contender: median(found) for contender, found in costs.items()}
    shares = {
        "throughput_of_ceiling": statistics.median(
            bare.wall_s / ours.wall_s for bare, ours in zip(costs["bare"], costs["ours"], strict=True)
        ),
        "cpu_of_minio_py": statistics.median(
            ours.cpu_s / minio.cpu_s for minio, ours in zip(costs["minio-py"], costs["ours"], strict=True)
        ),
    }
    return {
        "gb": sent_gb,
        "rounds": rounds,
        "per_gb": {n: {"cpu_s": m.cpu_s / sent_gb, "wall_s": m.wall_s / sent_gb} for n, m in medians.items()},
        **shares,
        "goals": GOALS,
        "met": {
            "throughput_of_ceiling": shares["throughput_of_ceiling"] >= GOALS["throughput_of_ceiling"],
            "cpu_of_minio_py": shares["cpu_of_minio_py"] <= GOALS["cpu_of_minio_py"],
        },
    }


def _files(folder: Path, number: int) -> list[Path]:
    rng = random.Random(1)  # noqa: S311 - bytes that don't compress, no secret
    paths = [folder / f"{n}.bin" for n in range(number)]
    for path in paths:
        path.write_bytes(rng.randbytes(FILE_BYTES))
    return paths


def _send(address: str, pairs: list[tuple[Path, str]]) -> None:
    connection = http.client.HTTPConnection(address, timeout=120)
    for path, url in pairs:
        parts = urlsplit(url)
        connection.putrequest("PUT", f"{parts.path}?{parts.query}")
        connection.putheader("Content-Length", str(path.stat().st_size))
        connection.endheaders()
        with path.open("rb") as file:
            connection.sock.sendfile(file)
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise FatalError(f"The object store answered {answer.status} to a presigned PUT.")
    connection.close()
