"""One recording of the Spark job: its row, whose fault a failure is, and what stays of the file."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from lakehouse.adapters import feature_backlog, lake
from lakehouse.adapters.objects import Objects
from lakehouse.config.settings import Settings
from lakehouse.domain.audio.features import EXTRACTOR, VERSION
from lakehouse.domain.catalog.ids import EPOCH
from lakehouse.errors import RetryableError
from spark_jobs.extract_features import ERROR, Params, _fetcher, row

RECORDING = {"sha256": "ab" * 32, "track_id": 2, "duration_ms": 3000}


def test_a_recording_that_fails_keeps_its_message(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"not audio")
    result = row(RECORDING, Params(lambda _: nullcontext(path)))
    assert (result["sha256"], result["extractor"], result["extractor_version"]) == ("ab" * 32, EXTRACTOR, VERSION)
    assert "LibsndfileError" in result[ERROR]


@pytest.mark.parametrize("error", [RetryableError("away"), OSError(28, "No space left on device")])
def test_a_store_that_is_away_and_a_full_disk_are_not_the_recordings_fault(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fetch(*_: object) -> None:
        raise error

    monkeypatch.setattr(Objects, "fetch_audio", fetch)
    with pytest.raises(type(error)):
        row(RECORDING, Params(_fetcher(settings)))


def test_a_recording_is_a_file_while_it_is_read_and_no_longer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never one value in memory: masters of hours are gigabytes."""
    fetched: list[Path] = []

    def fetch(_objects: object, sha256: str, path: Path) -> None:
        path.write_text(sha256)
        fetched.append(path)

    monkeypatch.setattr(Objects, "fetch_audio", fetch)
    assert "LibsndfileError" in row(RECORDING, Params(_fetcher(settings)))[ERROR]
    [path] = fetched
    assert not path.parent.exists()


def test_a_recording_waits_until_this_version_of_the_extractor_has_described_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of an older version are there; after a new one has come, all is computed once more."""
    rows = {"sha256": ["a", "b", "c"], "duration_ms": [1000, 2000, 4000], "created_at": [EPOCH] * 3}
    described = {VERSION: ["a", "b"], "1.9.9": ["a", "b", "c"]}

    def read(_settings: object, table: str, *, columns: tuple[str, ...], where: str = "") -> pa.Table:
        if table == "bronze.catalog_content":
            return pa.table({name: rows[name] for name in columns})
        [version] = [one for one in described if where == f"extractor = '{EXTRACTOR}' and extractor_version = '{one}'"]
        return pa.table({"sha256": pa.array(described[version], pa.string())})

    monkeypatch.setattr(lake, "read", read)
    now = EPOCH + timedelta(minutes=1)
    found = feature_backlog.pending(settings, now)
    assert (found.recordings, found.audio_s, found.oldest_age_s) == (1, 4.0, 60.0)
    assert found.core_s > 0
    described[VERSION].append("c")
    assert feature_backlog.pending(settings, now).recordings == 0
    described["9.0.0"] = []
    monkeypatch.setattr(feature_backlog, "VERSION", "9.0.0")
    assert feature_backlog.pending(settings, now).recordings == 3


@pytest.mark.parametrize(
    ("rate_hz", "channels", "kind"), [(96_000, 2, "FLAC"), (48_000, 8, "WAV"), (192_000, 1, "WAV")]
)
def test_masters_with_many_bits_and_channels_sound_like_their_copies(
    tmp_path: Path, rate_hz: int, channels: int, kind: str
) -> None:
    """A chord with a beat in every channel: key, tempo and spectrum are those of one channel at 44.1 kHz."""
    found = []
    for rate, number in ((44_100, 1), (rate_hz, channels)):
        moments = np.arange(12 * rate) / rate
        beat = np.exp(-12 * (moments % 0.5))
        wave = 0.1 * beat * sum(np.sin(2 * np.pi * 220 * 2 ** (step / 12) * moments) for step in (0, 4, 7, 12))
        path = tmp_path / f"{rate}"
        soundfile.write(path, np.repeat(wave[:, None], number, axis=1), rate, "PCM_24", format=kind)
        found.append(row(RECORDING, Params(lambda _, path=path: nullcontext(path))))
    copy, master = found
    assert (copy[ERROR], master[ERROR]) == (None, None)
    assert [(one["musical_key"], one["musical_mode"]) for one in found] == [("A", "major")] * 2
    assert [one["tempo_bpm"] for one in found] == pytest.approx([120, 120], rel=0.02)
    assert master["spectral_centroid_hz"] == pytest.approx(copy["spectral_centroid_hz"], rel=0.05)
    assert master["onset_rate_hz"] == pytest.approx(copy["onset_rate_hz"], rel=0.1)
    assert master["loudness_lufs"] > copy["loudness_lufs"] - 0.1
