"""Mood on the stack: from labelled audio to a published table, once; a second run finds nothing to do."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray

from lakehouse.adapters import ingestion, trino
from lakehouse.adapters.objects import Objects
from lakehouse.config.settings import Settings
from tests.audio_files import chord, clicks, write
from tests.conftest import wavehouse, wavehouse_json

pytestmark = pytest.mark.stack

RUN = uuid4().hex
FEATURES, LABELS = "silver_audit.audio_features", "silver_audit.track_labels"
ARTISTS, EACH, SECONDS = 5, 2, 5


def calm(number: int) -> NDArray[np.float32]:
    return chord(150 + 7 * number, SECONDS) + 0.3 * clicks(70 + 2 * number, SECONDS)


def lively(number: int) -> NDArray[np.float32]:
    return 0.3 * chord(600 + 30 * number, SECONDS) + clicks(140 + 3 * number, SECONDS)


def test_labels_become_a_model_and_its_predictions_are_published(stack: Settings, tmp_path: Path) -> None:
    objects = Objects(stack)
    keys, moods = [], {}
    for mood, sound in (("Calm", calm), ("Lively", lively)):
        for number in range(ARTISTS * EACH):
            tags = {
                "title": f"{mood} {number} {RUN}",
                "artist": f"{mood} Artist {number // EACH} {RUN}",
                "genre": "Tag",
            }
            key = f"labels {RUN}/{mood} {number}.ogg"
            objects.put(write(tmp_path / f"{mood} {number}.ogg", sound(number), **tags), key)
            keys.append(key)
            moods[key] = mood
    outcomes = ingestion.process_batch(stack, keys)
    tracks = {outcome.content_id: moods[key] for key, outcome in zip(keys, outcomes, strict=True)}
    assert len(tracks) == len(keys)
    wavehouse("catalog", "snapshot")
    assert wavehouse_json("features", "extract")["failed"] == 0
    wavehouse("audit", FEATURES)
    wavehouse("publish", FEATURES)

    file = tmp_path / "moods.csv"
    file.write_text("track_id,label\n" + "".join(f"{id_},{mood}\n" for id_, mood in tracks.items()) + "7,Calm\n")
    trained = wavehouse_json("features", "train", "--target", "mood", "--labels", str(file))
    assert trained["rows"] == {
        "used": len(tracks), "rejected": 1, "rejected_by_reason": {"unknown_track": 1},
    }  # fmt: skip
    assert (trained["beats_baseline"], trained["in_use"]) == (True, True)
    again = wavehouse_json("features", "train", "--target", "mood", "--labels", str(file))
    assert (again["id"], again["is_new"]) == (trained["id"], False)
    assert [m["in_use"] for m in wavehouse_json("features", "models") if m["id"] == trained["id"]] == [True]

    done = wavehouse_json("features", "predict")
    assert done["mood"]["predicted"] + done["mood"]["kept"] >= len(tracks)
    assert done["mood"]["model_version"] == trained["id"]
    wavehouse("audit", LABELS)
    wavehouse("publish", LABELS)
    repeated = wavehouse_json("features", "predict")
    assert [(repeated[t]["predicted"], repeated[t]["changed"]) for t in ("genre", "mood")] == [(0, False), (0, False)]

    published = trino.query(
        stack,
        "select track_id, label_target, label, label_source, label_probability, model_version "
        "from lake.silver.track_labels",
    )
    rows = [row for row in published.rows if row[0] in tracks]
    said = {row[0]: row[2:] for row in rows if row[1] == "mood"}
    assert {id_: label for id_, (label, *_) in said.items()} == tracks
    assert all(source == "model" and 0.5 <= p <= 1 and m == trained["id"] for _, source, p, m in said.values())
    # No model for the genre in this installation: the tag is used, says so, and claims no probability.
    assert {row[2:] for row in rows if row[1] == "genre"} == {("Tag", "tag", None, None)}
