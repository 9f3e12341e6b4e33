"""The Spark transformation on recordings in memory: a bad one is reported, the others get their features."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import soundfile

from infra.local.engines import java_home
from lakehouse.contracts import load
from lakehouse.domain.audio.features import EXTRACTOR, VERSION
from spark_jobs import extract_features
from spark_jobs.extract_features import ERROR, TABLE, Params, pending, transform
from tests.audio_files import RATE_HZ, chord

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """Spark in this process, without a lake."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_HOME", str(java_home(17)))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setitem(os.environ, "OMP_NUM_THREADS", "1")
        from pyspark.sql import SparkSession

        session = (
            SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .getOrCreate()
        )
        yield session
        session.stop()


def test_a_new_version_of_the_extractor_computes_all_recordings_again(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only rows of this extractor in this version count as done, whatever else the table keeps."""
    catalog = spark.createDataFrame(
        [("a", 1, 3000), ("b", 2, 4000), ("c", 3, 5000)], "sha256 string, content_id long, duration_ms long"
    )
    done = spark.createDataFrame(
        [("a", EXTRACTOR, VERSION), ("b", EXTRACTOR, "1.0.0"), ("c", "another", VERSION)],
        "sha256 string, extractor string, extractor_version string",
    )
    tables = {load("bronze.catalog_content").id: catalog, TABLE.id: done}
    lake = cast("SparkSession", SimpleNamespace(table=tables.__getitem__))

    def waiting() -> list[tuple[Any, ...]]:
        return sorted(tuple(r) for r in pending(lake).select("sha256", "track_id", "duration_ms").collect())

    assert waiting() == [("b", 2, 4000), ("c", 3, 5000)]
    monkeypatch.setattr(extract_features, "VERSION", "9.0.0")
    assert waiting() == [("a", 1, 3000), ("b", 2, 4000), ("c", 3, 5000)]


def test_transform_gives_one_row_a_recording(tmp_path: Path, spark: SparkSession) -> None:
    for name, tonic_hz in (("a", 220), ("c", 262)):
        soundfile.write(tmp_path / name, chord(tonic_hz, 3), RATE_HZ, format="FLAC")
    (tmp_path / "b").write_bytes(b"not audio")
    store = str(tmp_path)
    todo = spark.createDataFrame(
        [("a", 1, 3000), ("b", 2, 3000), ("c", 3, 3000)], "sha256 string, track_id long, duration_ms long"
    )
    result = transform(todo, Params(lambda sha256: nullcontext(Path(store) / sha256)))
    assert result.columns == [*(column.name for column in TABLE.columns), ERROR]
    rows = {r["sha256"]: r for r in result.collect()}
    assert sorted(rows) == ["a", "b", "c"]
    assert (rows["a"]["musical_key"], rows["a"]["track_id"], rows["a"][ERROR]) == ("A", 1, None)
    assert rows["c"]["musical_key"] == "C"
    assert rows["b"]["tempo_bpm"] is None
    assert "LibsndfileError" in rows["b"][ERROR]
