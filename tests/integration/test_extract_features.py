"""The Spark transformation on recordings in memory: a bad one is reported, the others get their features."""

from __future__ import annotations

import io
import os
import sys

import pytest
import soundfile

from infra.local.engines import java_home
from lakehouse.domain.audio.features import EXTRACTOR, VERSION
from lakehouse.errors import RetryableError
from spark_jobs.extract_features import ERROR, TABLE, Params, row, transform
from tests.audio_files import RATE_HZ, chord


def flac(tonic_hz: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, chord(tonic_hz, 3), RATE_HZ, format="FLAC")
    return buffer.getvalue()


STORE = {"a": flac(220), "b": b"not audio", "c": flac(262)}


def test_a_recording_that_fails_keeps_its_message() -> None:
    result = row({"sha256": "b", "track_id": 2, "duration_ms": 3000}, Params(STORE.__getitem__))
    assert (result["sha256"], result["extractor"], result["extractor_version"]) == ("b", EXTRACTOR, VERSION)
    assert "LibsndfileError" in result[ERROR]


def test_a_store_that_is_away_is_not_the_recordings_fault() -> None:
    def away(_: str) -> bytes:
        raise RetryableError("away")

    with pytest.raises(RetryableError):
        row({"sha256": "a", "track_id": 1, "duration_ms": 3000}, Params(away))


def test_transform_gives_one_row_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java_home(17)))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    try:
        store = dict(STORE)
        pending = spark.createDataFrame(
            [("a", 1, 3000), ("b", 2, 3000), ("c", 3, 3000)], "sha256 string, track_id long, duration_ms long"
        )
        result = transform(pending, Params(lambda sha256: store[sha256]))
        assert result.columns == [*(column.name for column in TABLE.columns), ERROR]
        rows = {r["sha256"]: r for r in result.collect()}
    finally:
        spark.stop()
    assert sorted(rows) == ["a", "b", "c"]
    assert (rows["a"]["musical_key"], rows["a"]["track_id"], rows["a"][ERROR]) == ("A", 1, None)
    assert rows["c"]["musical_key"] == "C"
    assert rows["b"]["tempo_bpm"] is None
    assert "LibsndfileError" in rows["b"][ERROR]
