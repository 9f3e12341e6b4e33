"""What Spark adds to the extraction of audio features: CPU seconds beside a bare pool of processes, same files.

Both have two warm workers and give one row a recording. Spark's side is the job's own transformation, its JVM and its
Python workers; what it costs to start them is not in it, as a worker serves thousands of recordings.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.features import audio_files
from benchmarks.kit import Cost, measure
from infra.local.engines import java_home
from lakehouse.config.settings import Spark
from spark_jobs import compiled
from spark_jobs.extract_features import ERROR, PER_TASK, Params, row, transform
from spark_jobs.session import ONE_THREAD

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GOAL = 0.15
#: As many as jobs have where nothing else is set.
CORES = Spark().cores


def there(path: str) -> AbstractContextManager[Path]:
    """The audio file at `path`, which takes the place of a hash here."""
    return nullcontext(Path(path))


def alone(path: str) -> str | None:
    """Work of one process of the pool: the features of a file; returns what went wrong."""
    found: str | None = row({"sha256": path, "track_id": 1, "duration_ms": 1}, Params(there))[ERROR]
    return found


def run(folder: Path, *, rounds: int, limit: int, say: Callable[[str], None]) -> dict[str, Any]:
    """CPU seconds of both over at most `limit` files, by round, and Spark's median overhead as a share.

    Raises:
        FatalError: there is no audio.
    """
    os.environ |= {**ONE_THREAD, **compiled.ENVIRONMENT}
    compiled.ensure()
    # The longest first, so that no core is left with a long one at the end.
    files = sorted(audio_files(folder)[:limit], key=lambda file: -file[1])
    paths = [str(path) for path, _ in files]
    shortest = [paths[-1]] * CORES * 2
    costs: dict[str, list[Cost]] = {"pool": [], "spark": []}
    with _pool() as pool, _spark() as spark:

        def by_pool(wanted: list[str]) -> None:
            _check(list(pool.map(alone, wanted)), wanted)

        def by_spark(wanted: list[str]) -> None:
            tasks = max(-(-len(wanted) // PER_TASK), CORES)
            dealt = [(path, 1, 1) for hand in range(tasks) for path in wanted[hand::tasks]]
            frame = spark.createDataFrame(
                spark.sparkContext.parallelize(dealt, tasks), "sha256 string, track_id long, duration_ms long"
            )
            _check([found[ERROR] for found in transform(frame, Params(there)).collect()], wanted)

        for warm in (by_pool, by_spark):
            warm(shortest)
        jvm = spark.sparkContext._gateway.proc.pid
        for number in range(rounds):
            turns = [
                ("pool", lambda: by_pool(paths), list(pool._processes)),
                ("spark", lambda: by_spark(paths), [jvm]),
            ]
            for name, work, pids in turns if number % 2 == 0 else turns[::-1]:
                costs[name].append(measure(work, pids))
            spent = {name: f"{found[-1].cpu_s:.1f}" for name, found in costs.items()}
            say(f"    round {number + 1}, CPU seconds: {spent}")
    cpu = {name: [cost.cpu_s for cost in found] for name, found in costs.items()}
    return {
        "files": len(files),
        "audio_s": round(sum(seconds for _, seconds in files), 1),
        "cpu_s": cpu,
        "overhead": statistics.median(spark / pool for spark, pool in zip(cpu["spark"], cpu["pool"], strict=True)) - 1,
        "goal": GOAL,
    }


def _check(errors: list[str | None], wanted: list[str]) -> None:
    failed = [error for error in errors if error]
    if failed or len(errors) != len(wanted):
        raise RuntimeError(f"{len(errors)} of {len(wanted)} recordings came back; errors: {failed[:3]}")


@contextmanager
def _pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@contextmanager
def _spark() -> Iterator[SparkSession]:
    """A local session without the lake."""
    from pyspark.sql import SparkSession

    os.environ |= {"JAVA_HOME": str(java_home(17)), "PYSPARK_PYTHON": sys.executable}
    builder = SparkSession.builder.master(f"local[{CORES}]").appName("bench-features")
    options = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.ui.showConsoleProgress": "false",
    }
    for key, value in options.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    try:
        yield spark
    finally:
        spark.stop()
