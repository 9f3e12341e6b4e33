"""Genre and mood of the tracks: training from a file of labels, and what silver_audit.track_labels says of each track.

Tracks are those of bronze.catalog_content, features the published ones: what the audit stopped teaches nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lakehouse.adapters import lake, publish
from lakehouse.adapters.label_models import Models
from lakehouse.adapters.objects import Objects
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.audio import classifier
from lakehouse.domain.audio.classifier import Example, Floats, Model
from lakehouse.domain.audio.features import EXTRACTOR, VERSION
from lakehouse.domain.audio.labels import Known, parse
from lakehouse.errors import FatalError, RejectedInputError

TABLE = load("silver_audit.track_labels")
FEATURES = "silver_audit.audio_features"
MODEL, TAG = "model", "tag"


@dataclass(frozen=True)
class Trained:
    """A model that was learned. `is_new`: the registry did not have it; `in_use`: it predicts from now on."""

    model: Model
    is_new: bool
    in_use: bool


@dataclass(frozen=True)
class Predicted:
    """What the table says of the tracks: tracks = predicted + kept + from_tag + unlabelled.

    `predicted` by this run, `kept` as this model predicted them before, `unlabelled`: neither model nor tag says
    anything. `changed`: the table was written.
    """

    target: str
    model_version: str | None
    tracks: int
    predicted: int
    kept: int
    from_tag: int
    unlabelled: int
    changed: bool


def models(settings: Settings, target: str) -> Models:
    """The registry of the models for `target`."""
    return Models(Objects(settings), target)


def labelled(settings: Settings, path: Path) -> tuple[list[Example], list[RejectedInputError]]:
    """The recordings that a file of labels names, with their features, and of each other row of it why not.

    Raises:
        FatalError: there is no such file, or no features are published yet.
        RejectedInputError: not_text, or see `labels.parse`.
    """
    text = _text(path)
    tracks = {track["content_id"]: track for track in _tracks(settings)}
    described = _vectors(settings, EXTRACTOR, VERSION, {track["sha256"] for track in tracks.values()})
    known = (Known(id_, track["isrc"], track["sha256"] in described) for id_, track in tracks.items())
    used, rejected = parse(text, name=path.name, tracks=known)
    examples = [
        Example(row.track_id, tracks[row.track_id]["artist_id"], row.label, described[tracks[row.track_id]["sha256"]])
        for row in used
    ]
    return examples, rejected


def train(registry: Models, target: str, examples: Sequence[Example], *, use: bool = True) -> Trained:
    """Learn `target`, keep the model, and let it predict if it tells more than the baseline (and `use`).

    Raises:
        RejectedInputError: see `classifier.train`.
    """
    model = classifier.train(target, examples, extractor=EXTRACTOR, extractor_version=VERSION)
    is_new = registry.put(model)
    if use and model.beats_baseline:
        registry.use(model.id)
    return Trained(model, is_new, in_use=registry.in_use() == model.id)


def predict(settings: Settings, target: str) -> Predicted:
    """Bring the rows of `target` up to date: what the model in use has not predicted yet is predicted.

    Without a model, and for tracks without features, a genre is the tag's. Running it again changes nothing.

    Raises:
        FatalError: the model in use can't be used, or no features are published yet.
    """
    registry = models(settings, target)
    model_id = registry.in_use()
    model = registry.get(model_id) if model_id else None
    tracks = _tracks(settings)
    ours = f"label_target == '{target}'"
    known = {row["track_id"]: row for row in lake.read(settings, TABLE.id, where=ours).to_pylist()}
    kept = {
        track["content_id"]: row
        for track in tracks
        if model and (row := known.get(track["content_id"])) and _is_of(row, model, track)
    }
    waiting = {track["sha256"] for track in tracks if track["content_id"] not in kept}
    vectors = _vectors(settings, model.extractor, model.extractor_version, waiting) if model and waiting else {}
    rows = label_rows(target, tracks, model, vectors, kept)
    table = pa.Table.from_pylist(rows, schema=TABLE.arrow_schema())
    changed = lake.overwrite(settings, TABLE.id, table, where=ours)
    by_source = Counter(row["label_source"] for row in rows)
    return Predicted(
        target=target,
        model_version=model_id,
        tracks=len(tracks),
        predicted=by_source[MODEL] - len(kept),
        kept=len(kept),
        from_tag=by_source[TAG],
        unlabelled=len(tracks) - len(rows),
        changed=changed,
    )


def label_rows(
    target: str,
    tracks: Sequence[Mapping[str, Any]],
    model: Model | None,
    vectors: Mapping[str, Floats],
    kept: Mapping[int, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Rows of the table for `tracks` (content_id, sha256, genre): kept ones, the model's, else the tag's. Pure.

    `vectors` by sha256 are those of recordings that are to be predicted.
    """
    heard = [track for track in tracks if track["content_id"] not in kept and track["sha256"] in vectors]
    said: dict[int, tuple[str, float]] = {}
    if model and heard:
        answers = model.predict(np.stack([vectors[track["sha256"]] for track in heard]))
        said = {track["content_id"]: answer for track, answer in zip(heard, answers, strict=True)}
    rows: list[dict[str, Any]] = []
    for track in tracks:
        id_, tag = track["content_id"], (track["genre"] or "").strip() if target == "genre" else ""
        if id_ in kept:
            rows.append(dict(kept[id_]))
        elif model and id_ in said:
            rows.append(_row(target, track, said[id_][0], MODEL) | _by(model, said[id_][1]))
        elif tag:
            rows.append(_row(target, track, tag, TAG))
    return rows


def _row(target: str, track: Mapping[str, Any], label: str, source: str) -> dict[str, Any]:
    return {
        "track_id": track["content_id"],
        "label_target": target,
        "label": label,
        "label_source": source,
        "label_probability": None,
        "model_version": None,
        "sha256": track["sha256"],
    }


def _by(model: Model, probability: float) -> dict[str, Any]:
    return {"label_probability": probability, "model_version": model.id}


def _is_of(row: Mapping[str, Any], model: Model, track: Mapping[str, Any]) -> bool:
    """Whether a row is what this model said of this track's present audio."""
    return bool(row["model_version"] == model.id and row["sha256"] == track["sha256"])


def _tracks(settings: Settings) -> list[dict[str, Any]]:
    """The music of the catalogue; episodes have no genre of this kind."""
    columns = ("content_id", "artist_id", "isrc", "genre", "sha256")
    found: list[dict[str, Any]] = lake.read(
        settings, "bronze.catalog_content", columns=columns, where="kind == 'track'"
    ).to_pylist()
    return sorted(found, key=lambda track: track["content_id"])


def _vectors(settings: Settings, extractor: str, version: str, wanted: Collection[str]) -> dict[str, Floats]:
    """Vectors by sha256 of the `wanted` recordings that have published features of that extractor."""
    import pyarrow.compute as pc

    rows = lake.read(
        settings,
        FEATURES,
        columns=("sha256", *classifier.COLUMNS),
        where=f"extractor == '{extractor}' and extractor_version == '{version}'",
        tag=publish.PUBLISHED,
    )
    mask = pc.is_in(rows["sha256"].cast(pa.string()), value_set=pa.array(sorted(wanted), pa.string()))
    return {row["sha256"]: classifier.vector(row) for row in rows.filter(mask).to_pylist()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FatalError(
            f"There is no file {path}.", hint="Give a CSV file with track_id or isrc, and label."
        ) from error
    except UnicodeDecodeError as error:
        raise RejectedInputError(
            f"{path.name} is not UTF-8 text (byte {error.start}).",
            reason="not_text",
            value=error.start,
            hint="Save it as CSV in UTF-8.",
        ) from error
