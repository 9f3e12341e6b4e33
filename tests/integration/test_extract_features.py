"""The Spark transformation on recordings in memory: a bad one is reported, the others get their features."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import soundfile

from infra.local.engines import java_home
from spark_jobs.extract_features import ERROR, TABLE, Params, transform
from tests.audio_files import RATE_HZ, chord


def test_transform_gives_one_row_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        for name, tonic_hz in (("a", 220), ("c", 262)):
            soundfile.write(tmp_path / name, chord(tonic_hz, 3), RATE_HZ, format="FLAC")
        (tmp_path / "b").write_bytes(b"not audio")
        store = str(tmp_path)
        pending = spark.createDataFrame(
            [("a", 1, 3000), ("b", 2, 3000), ("c", 3, 3000)], "sha256 string, track_id long, duration_ms long"
        )
        result = transform(pending, Params(lambda sha256: nullcontext(Path(store) / sha256)))
        assert result.columns == [*(column.name for column in TABLE.columns), ERROR]
        rows = {r["sha256"]: r for r in result.collect()}
    finally:
        spark.stop()
    assert sorted(rows) == ["a", "b", "c"]
    assert (rows["a"]["musical_key"], rows["a"]["track_id"], rows["a"][ERROR]) == ("A", 1, None)
    assert rows["c"]["musical_key"] == "C"
    assert rows["b"]["tempo_bpm"] is None
    assert "LibsndfileError" in rows["b"][ERROR]
