"""Audio features of every accepted audio object that has none of this extractor version yet.

    python -m spark_jobs.extract_features

Parallel by recording and incremental: what is in silver_audit.audio_features is not computed again, so that a run can
be killed at any point and repeated. A recording that fails is recorded with its message and does not stop the others.
The last line on standard output is the result as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.config.settings import Settings, load_settings
from lakehouse.contracts import load
from lakehouse.domain.audio.features import EXTRACTOR, VERSION, window
from spark_jobs import compiled

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, Row, SparkSession

TABLE = load("silver_audit.audio_features")
#: Recordings a Spark task: few, so that the cores finish together; a task costs a fifth of a second of its own.
PER_TASK = 6
#: Added to the columns of the contract while rows travel: why a recording has no features, else null.
ERROR = "error"


@dataclass(frozen=True)
class Params:
    """What the transformation depends on besides its input. `open_audio` has an audio object as a file for a while."""

    open_audio: Callable[[str], AbstractContextManager[Path]]


def features_of(path: Path) -> dict[str, Any]:
    """Features and fingerprint of an audio file, decoded block by block; of a very long one those of its middle part.

    Raises:
        ValueError: fewer than 400 ms of samples, or a sample that is no finite number.
        soundfile.LibsndfileError: it cannot be decoded.
    """
    import numpy as np

    from lakehouse.adapters.audio_probe import opened
    from lakehouse.adapters.chromaprint import Fingerprinter
    from lakehouse.domain.audio.analysis import Analysis, block_frames
    from lakehouse.domain.audio.spectrum import RATE_HZ

    with opened(path) as sound:
        start, length = window(sound.frames, sound.samplerate)
        if start:
            sound.seek(start)
        analysis, fingerprinter = Analysis(sound.samplerate, sound.channels), Fingerprinter(RATE_HZ)
        block = np.empty((block_frames(sound.samplerate), sound.channels), np.float32)
        while length > 0:
            samples = sound.read(out=block[: min(length, len(block))])
            if not len(samples):
                break  # the container promised more
            fingerprinter.add(analysis.add(samples))
            length -= len(samples)
        features = {**analysis.features(), "fingerprint": fingerprinter.finish()}
    if start:  # its ends were not heard
        features |= {"silence_start_ms": None, "silence_end_ms": None}
    return features


def row(recording: dict[str, Any], params: Params) -> dict[str, Any]:
    """The row of one recording (sha256, track_id, duration_ms): its features, or the error that prevented them."""
    identity = {**recording, "extractor": EXTRACTOR, "extractor_version": VERSION}
    # A store that is away or a disk that is full is no fault of the recording: the job stops and is tried again.
    with params.open_audio(recording["sha256"]) as path:
        try:
            return {**identity, **features_of(path), ERROR: None}
        except Exception as error:  # a decoder or a numeric library may raise anything on audio it can't cope with
            return {**identity, ERROR: f"{type(error).__name__}: {error}"[:1000]}


def transform(pending: DataFrame, params: Params) -> DataFrame:
    """Features of `pending` (sha256, track_id, duration_ms): columns of the contract, all nullable, and `error`."""
    import pyarrow as pa
    from pyspark.sql.pandas.types import from_arrow_schema

    fields = [pa.field(column.name, column.physical.arrow) for column in TABLE.columns]
    schema = pa.schema([*fields, pa.field(ERROR, pa.string())])

    def compute(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        compiled.kept()
        for batch in batches:
            for recording in batch.to_pylist():
                yield pa.RecordBatch.from_pylist([row(recording, params)], schema=schema)

    return pending.mapInArrow(compute, from_arrow_schema(schema))


def pending(spark: SparkSession) -> DataFrame:
    """Recordings in bronze.catalog_content that have no row of this extractor version."""
    from pyspark.sql import functions as F  # noqa: N812  (the name that PySpark's own documentation uses)

    done = spark.table(TABLE.id).where((F.col("extractor") == EXTRACTOR) & (F.col("extractor_version") == VERSION))
    return (
        spark.table(load("bronze.catalog_content").id)
        .select("sha256", F.col("content_id").alias("track_id"), "duration_ms")
        .join(done.select("sha256"), on="sha256", how="left_anti")
    )


def run(spark: SparkSession, settings: Settings) -> dict[str, int]:
    """Extract, merge and record, some recordings a commit; counts of recordings: in = extracted + failed."""
    # The longest first, so that no core is left with a long one at the end.
    todo = pending(spark).orderBy("duration_ms", ascending=False).collect()
    counts = {"in": len(todo), "extracted": 0, "failed": 0}
    step = settings.spark.per_commit
    for start in range(0, len(todo), step):
        extracted, failed = extract_some(spark, settings, todo[start : start + step])
        counts["extracted"] += extracted
        counts["failed"] += failed
    return counts


def extract_some(spark: SparkSession, settings: Settings, todo: list[Row]) -> tuple[int, int]:
    """Bring `todo` to the table in one commit; returns how many were extracted and how many failed."""
    from lakehouse.adapters.catalog_db import CatalogDb

    tasks = -(-len(todo) // PER_TASK)
    dealt = [recording for hand in range(tasks) for recording in todo[hand::tasks]]
    frame = spark.createDataFrame(
        spark.sparkContext.parallelize(dealt, tasks),
        spark.table(TABLE.id).select("sha256", "track_id", "duration_ms").schema,
    )
    rows = transform(frame, Params(open_audio=_fetcher(settings))).cache()
    good = rows.where(f"{ERROR} is null")
    good.select(*(column.name for column in TABLE.columns)).createOrReplaceTempView("extracted")
    on = " and ".join(f"t.{name} = s.{name}" for name in TABLE.key)
    spark.sql(f"merge into {TABLE.id} t using extracted s on {on} when not matched then insert *")
    done = [r["sha256"] for r in good.select("sha256").collect()]
    failed = {r["sha256"]: r[ERROR] for r in rows.where(f"{ERROR} is not null").select("sha256", ERROR).collect()}
    rows.unpersist()
    with CatalogDb(settings) as db:
        db.record_extraction(EXTRACTOR, VERSION, done, failed)
    return len(done), len(failed)


def _fetcher(settings: Settings) -> Callable[[str], AbstractContextManager[Path]]:
    """Fetches audio objects to files in a Python worker: whatever their size is, a block of each is in memory."""

    @contextmanager
    def fetched(sha256: str) -> Iterator[Path]:
        from lakehouse.adapters.objects import Objects

        with tempfile.TemporaryDirectory(prefix="wavehouse-features-") as folder:
            path = Path(folder) / "object"
            Objects(settings).fetch_audio(sha256, path)
            yield path

    return fetched


def main() -> int:
    """Run the job; returns the process's exit code."""
    from spark_jobs.session import session

    settings = load_settings()
    compiled.ensure()
    spark = session(settings, "extract_features")
    try:
        sys.stdout.write(json.dumps(run(spark, settings)) + "\n")
    finally:
        spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
