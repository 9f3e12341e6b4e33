"""From a file of labels to what the table says of each track, over a lake and an object store in memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakehouse.adapters import lake, track_labels
from lakehouse.adapters.label_models import Models
from lakehouse.adapters.objects import LAKE
from lakehouse.cli import main
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.audio.classifier import COLUMNS
from lakehouse.domain.audio.features import EXTRACTOR, VERSION
from lakehouse.errors import FatalError, RejectedInputError

Run = Callable[..., Any]
ARTISTS, EACH = 6, 2
#: Of each label, how fast and how bright; an artist has a bit of its own.
SOUNDS = {"Calm": (70.0, 900.0), "Lively": (150.0, 3000.0)}


class Store:
    """The object store in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}

    def names(self, bucket: str, prefix: str = "") -> set[str]:
        return {name for where, name in self.kept if where == bucket and name.startswith(prefix)}

    def read(self, bucket: str, name: str) -> bytes:
        return self.kept[bucket, name]

    def write(self, bucket: str, name: str, data: bytes) -> None:
        self.kept[bucket, name] = data


class Lake:
    """Three tables in memory; `asked` counts the reads of features."""

    def __init__(self) -> None:
        self.tracks: list[dict[str, Any]] = []
        self.features: list[dict[str, Any]] = []
        self.labels: dict[str, pa.Table] = {}
        self.asked = 0

    def add(self, track_id: int, artist_id: int, sound: tuple[float, float], *, genre: str | None = None) -> None:
        rng = np.random.default_rng(track_id)
        sha256 = f"{track_id:064x}"
        self.tracks.append(
            {"content_id": track_id, "artist_id": artist_id, "isrc": None, "genre": genre, "sha256": sha256}
        )
        row: dict[str, Any] = {name: float(rng.normal(0.5, 0.1)) for name in COLUMNS}
        row |= {
            "sha256": sha256,
            "tempo_bpm": sound[0] * float(rng.normal(1, 0.02)),
            "spectral_centroid_hz": sound[1] * float(rng.normal(1, 0.02)),
            "musical_key": "C",
            "musical_mode": "major",
            "chroma_mean": rng.uniform(0, 1, 12).tolist(),
            "spectral_contrast_mean": rng.normal(20, 3, 7).tolist(),
            "mfcc_mean": rng.normal(0, 1, 20).tolist(),
        }
        self.features.append(row)

    def read(self, _: Settings, table: str, *, columns: Any = (), where: str = "", tag: str = "") -> pa.Table:
        if table == "bronze.catalog_content":
            assert where == "kind == 'track'"
            return pa.Table.from_pylist(self.tracks).select(columns)
        if table == "silver_audit.audio_features":
            assert where == f"extractor == '{EXTRACTOR}' and extractor_version == '{VERSION}'"
            assert tag == "published"
            self.asked += 1
            return pa.Table.from_pylist(self.features).select(columns)
        return self.labels.get(where, load(table).arrow_schema().empty_table())

    def overwrite(self, settings: Settings, table: str, rows: pa.Table, *, where: str = "") -> bool:
        changed = not self.read(settings, table, where=where).equals(rows)
        self.labels[where] = rows
        return changed

    def says(self, target: str) -> dict[int, dict[str, Any]]:
        found = self.labels.get(f"label_target == '{target}'")
        return {row["track_id"]: row for row in found.to_pylist()} if found else {}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(track_labels, "Objects", lambda _: made)
    return made


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Lake:
    made = Lake()
    number = 0
    for which, sound in enumerate(SOUNDS.values()):
        for artist in range(ARTISTS):
            for _ in range(EACH):
                number += 1
                made.add(number, which * 100 + artist, sound, genre="Folk" if number % 2 else None)
    monkeypatch.setattr(lake, "read", made.read)
    monkeypatch.setattr(lake, "overwrite", made.overwrite)
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `wavehouse features ... --json` in this process; its document, with the exit code where it is not 0."""

    def call(*arguments: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["wavehouse", "features", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            main.main()
        document = json.loads(capsys.readouterr().out)
        return document if not ended.value.code else (ended.value.code, document)

    return call


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """All tracks labelled, and three bad rows."""
    path = tmp_path / "moods.csv"
    names = list(SOUNDS)
    rows = [f"{number},{names[(number - 1) // (ARTISTS * EACH)]}" for number in range(1, 2 * ARTISTS * EACH + 1)]
    path.write_text("\n".join(["track_id,label", *rows, "999,Calm", "1,Lively", "x,Calm"]) + "\n")
    return path


def test_without_a_model_the_genre_is_the_tags_and_says_so(tables: Lake, store: Store, run: Run) -> None:
    found = run("predict")
    assert found["genre"] == {
        "target": "genre", "model_version": None, "tracks": 24, "predicted": 0, "kept": 0, "from_tag": 12,
        "unlabelled": 12, "changed": True,
    }  # fmt: skip
    assert found["mood"] | {"unlabelled": 24, "from_tag": 0, "changed": False} == found["mood"]
    assert tables.says("genre")[1] == {
        "track_id": 1, "label_target": "genre", "label": "Folk", "label_source": "tag", "label_probability": None,
        "model_version": None, "sha256": f"{1:064x}",
    }  # fmt: skip
    assert tables.asked == 0
    assert run("predict")["genre"]["changed"] is False


def test_training_names_bad_rows_and_a_model_that_tells_something_is_used(
    tables: Lake, store: Store, run: Run, labels: Path, tmp_path: Path
) -> None:
    report = tmp_path / "rejected.jsonl"
    found = run("train", "--target", "mood", "--labels", str(labels), "--report", str(report))
    assert found["rows"] == {
        "used": 24,
        "rejected": 3,
        "rejected_by_reason": {"bad_track_id": 1, "contradiction": 1, "unknown_track": 1},
    }
    assert [json.loads(line)["reason"] for line in report.read_text().splitlines()] == [
        "unknown_track", "contradiction", "bad_track_id",
    ]  # fmt: skip
    assert (found["is_new"], found["in_use"], found["beats_baseline"]) == (True, True, True)
    assert found["metrics"]["accuracy"] > 0.8
    assert found["training"]["calibrated"] is False
    before = dict(store.kept)
    again = run("train", "--target", "mood", "--labels", str(labels))
    assert (again["id"], again["is_new"]) == (found["id"], False)
    assert store.kept == before
    [listed] = run("models")
    assert (listed["id"], listed["in_use"], listed["metrics"]) == (found["id"], True, found["metrics"])
    assert "parameters" not in listed


def test_people_see_the_baseline_beside_the_model(
    tables: Lake,
    store: Store,
    labels: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = {}
    for command in (["train", "--target", "mood", "--labels", str(labels)], ["models"], ["predict"]):
        monkeypatch.setattr(sys, "argv", ["wavehouse", "features", *command])
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert not ended.value.code
        said[command[0]] = capsys.readouterr()
    assert "commonest label" in said["train"].out
    assert "not calibrated: too few labels" in said["train"].out
    assert "moods.csv, row 26, track_id: '999'" in said["train"].err
    assert "27 rows = 24 used + 3 rejected" in said["train"].err
    assert "in use" in said["models"].out
    assert "24 tracks = 24 predicted + 0 kept + 0 from the tag + 0 without" in said["predict"].err


def test_only_what_the_model_has_not_said_yet_is_predicted(tables: Lake, store: Store, run: Run, labels: Path) -> None:
    model = run("train", "--target", "mood", "--labels", str(labels))["id"]
    assert run("predict", "--target", "mood")["mood"]["predicted"] == 24
    first = tables.says("mood")
    assert {row["label"] for row in first.values()} == set(SOUNDS)
    assert {row["model_version"] for row in first.values()} == {model}
    assert all(0.5 <= row["label_probability"] <= 1 for row in first.values())

    asked = tables.asked
    assert (
        run("predict", "--target", "mood")["mood"] | {"predicted": 0, "kept": 24, "changed": False}
        == (run("predict", "--target", "mood")["mood"])
    )
    assert tables.asked == asked

    tables.add(50, 300, SOUNDS["Lively"])
    tables.tracks[0]["sha256"] = "e" * 64  # other audio, not described yet
    found = run("predict", "--target", "mood")["mood"]
    assert (found["tracks"], found["predicted"], found["kept"], found["unlabelled"]) == (25, 1, 23, 1)
    now = tables.says("mood")
    assert now[50]["label"] == "Lively"
    assert now == {**{id_: row for id_, row in first.items() if id_ != 1}, 50: now[50]}


def test_a_track_without_features_keeps_its_tag_and_going_without_a_model_brings_tags_back(
    tables: Lake, store: Store, run: Run, labels: Path
) -> None:
    model = run("train", "--target", "genre", "--labels", str(labels))["id"]
    tables.features = tables.features[1:]
    assert run("predict", "--target", "genre")["genre"]["from_tag"] == 1
    assert tables.says("genre")[1]["label_source"] == "tag"
    assert tables.says("genre")[3]["label_source"] == "model"
    assert run("use", "none", "--target", "genre") == {"target": "genre", "model": None}
    assert run("predict", "--target", "genre")["genre"]["from_tag"] == 12
    assert {row["label_source"] for row in tables.says("genre").values()} == {"tag"}
    assert run("use", model[:8], "--target", "genre")["model"] == model
    assert run("predict", "--target", "genre")["genre"]["predicted"] == 23


def test_a_model_that_tells_nothing_is_kept_and_not_used(tables: Lake, store: Store, run: Run, labels: Path) -> None:
    sounds = dict.fromkeys(SOUNDS, SOUNDS["Calm"])
    tables.features.clear()
    waiting, tables.tracks = tables.tracks, []
    for track in waiting:
        tables.add(track["content_id"], track["artist_id"], sounds["Calm"])
    found = run("train", "--target", "mood", "--labels", str(labels))
    assert (found["beats_baseline"], found["is_new"], found["in_use"]) == (False, True, False)
    assert run("predict", "--target", "mood")["mood"]["model_version"] is None


def test_it_is_not_used_when_that_is_not_wanted(tables: Lake, store: Store, run: Run, labels: Path) -> None:
    assert run("train", "--target", "mood", "--labels", str(labels), "--no-use")["in_use"] is False


def test_too_few_labels_end_in_a_line_that_names_them(tables: Lake, store: Store, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("track_id,label\n1,Calm\n13,Lively\n")
    code, document = run("train", "--target", "mood", "--labels", str(path))
    assert code == RejectedInputError.exit_code
    assert "'Calm' has 1 by 1; 'Lively' has 1 by 1 artists" in document["error"]
    assert store.kept == {}


def test_a_file_that_is_missing_or_no_text_is_said(tables: Lake, store: Store, run: Run, tmp_path: Path) -> None:
    code, document = run("train", "--target", "mood", "--labels", str(tmp_path / "none.csv"))
    assert (code, "There is no file" in document["error"]) == (1, True)
    path = tmp_path / "latin.csv"
    path.write_bytes("track_id,label\n1,Mélancolie\n".encode("latin-1"))
    code, document = run("train", "--target", "mood", "--labels", str(path))
    assert (code, "latin.csv is not UTF-8 text" in document["error"]) == (RejectedInputError.exit_code, True)


def test_a_damaged_document_is_named_and_does_not_hide_the_others(
    tables: Lake, store: Store, run: Run, labels: Path
) -> None:
    model = run("train", "--target", "mood", "--labels", str(labels))["id"]
    store.kept[LAKE, "models/mood/0000.json"] = b"{}"
    damaged, good = run("models")
    assert "s3://lake/models/mood/0000.json cannot be used" in damaged["error"]
    assert good["id"] == model
    code, document = run("use", "0000", "--target", "mood")
    assert (code, "cannot be used" in document["error"]) == (1, True)
    store.kept[LAKE, f"models/mood/{model}.json"] = store.kept[LAKE, f"models/mood/{model}.json"][:99]
    assert run("predict", "--target", "mood")[0] == 1


@pytest.mark.parametrize("data", [b"", b"[]", b'{"model": 7}', b"{}"])
def test_a_damaged_choice_is_named(data: bytes) -> None:
    store = Store()
    store.write(LAKE, "models/mood/in_use.json", data)
    with pytest.raises(FatalError, match=r"in_use\.json cannot be read"):
        Models(store, "mood").in_use()


def test_a_beginning_names_one_model() -> None:
    store = Store()
    for name in ("aab0", "aac0"):
        store.write(LAKE, f"models/genre/{name}.json", b"{}")
    registry = Models(store, "genre")
    assert registry.ids() == ["aab0", "aac0"]
    assert registry.find("aab") == "aab0"
    for beginning, said in (("aa", "2 genre models"), ("ff", "No genre models")):
        with pytest.raises(RejectedInputError, match=said) as caught:
            registry.find(beginning)
        assert caught.value.reason == "unknown_model"
    assert Models(store, "mood").ids() == []
