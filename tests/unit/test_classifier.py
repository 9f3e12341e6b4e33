"""What is learned from labels, what is measured of it, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lakehouse.contracts import load
from lakehouse.domain.audio import classifier
from lakehouse.domain.audio.classifier import (
    COLUMNS,
    VECTOR,
    Example,
    calibration_error,
    clustered_error,
    from_json,
    measured,
    train,
)
from lakehouse.domain.audio.features import EXTRACTOR, PITCH_CLASSES, VERSION
from lakehouse.errors import RejectedInputError

LABELS = ("Ambient", "Metal", "Polka")


def examples(
    *, labels: tuple[str, ...] = LABELS, artists: int = 12, each: int = 5, apart: float = 2.0, seed: int = 0
) -> list[Example]:
    """Invented recordings: each label has its own place, `apart` deviations from the others, each artist a place
    around it, each recording one around the artist's.
    """
    rng = np.random.default_rng(seed)
    made = []
    for label in labels:
        place = rng.normal(0, apart / np.sqrt(2), 8)
        for artist in range(artists):
            style = place + rng.normal(0, 0.7, 8)
            for _ in range(each):
                numbers = np.concatenate([style + rng.normal(0, 0.5, 8), rng.normal(0, 1, len(VECTOR) - 8)])
                number = len(made)
                made.append(Example(1000 + number, labels.index(label) * 100 + artist, label, numbers))
    return made


def learned(given: list[Example], target: str = "genre") -> classifier.Model:
    return train(target, given, extractor=EXTRACTOR, extractor_version=VERSION)


@pytest.fixture(scope="module")
def model() -> classifier.Model:
    return learned(examples())


def features(**changed: Any) -> dict[str, Any]:
    """A row of silver_audit.audio_features, its columns that count."""
    row = dict.fromkeys(COLUMNS, 0.5) | {
        "tempo_bpm": 128.0,
        "musical_key": "D",
        "musical_mode": "minor",
        "chroma_mean": [float(pitch) for pitch in range(12)],
        "spectral_contrast_mean": [20.0] * 7,
        "mfcc_mean": [float(place) for place in range(20)],
    }
    return row | changed


def named(row: dict[str, Any]) -> dict[str, float]:
    return dict(zip(VECTOR, classifier.vector(row), strict=True))


def test_the_vector_is_made_of_columns_of_the_contract() -> None:
    assert set(COLUMNS) <= {column.name for column in load("silver_audit.audio_features").columns}
    found = named(features())
    assert found["log2 tempo_bpm"] == 7
    assert found["is_minor"] == 1
    assert found["mfcc_mean[19]"] == 19
    assert found["chroma_from_tonic[0]"] == PITCH_CLASSES.index("D")


def test_a_song_in_another_key_has_the_same_vector() -> None:
    up = features(musical_key="F", chroma_mean=list(np.roll(range(12), 3).astype(float)))
    assert named(up) == named(features())


def test_what_is_missing_is_not_a_number() -> None:
    found = named(features(tempo_bpm=0.0, loudness_range_lu=None))
    assert {name for name, value in found.items() if np.isnan(value)} == {"log2 tempo_bpm", "loudness_range_lu"}
    assert np.isnan(named(features(spectral_contrast_mean=None))["spectral_contrast_mean[6]"])


def test_labels_that_sound_different_are_told_apart(model: classifier.Model) -> None:
    metrics = model.metrics
    assert metrics["accuracy"] > 0.85
    assert metrics["macro_f1"] > 0.85
    assert metrics["expected_calibration_error"] < 0.1
    assert metrics["baseline"] == pytest.approx({"accuracy": 1 / 3, "macro_f1": 1 / 6, "log_loss": np.log(3)})
    assert model.beats_baseline
    assert [row["support"] for row in metrics["by_label"].values()] == [60, 60, 60]
    assert model.training == {
        "recordings": 180,
        "artists": 36,
        "labels": {label: {"recordings": 60, "artists": 12} for label in LABELS},
        "calibrated": True,
    }


@pytest.mark.parametrize("seed", range(5))
def test_labels_that_say_nothing_are_measured_at_the_baseline(seed: int) -> None:
    given = examples(artists=20, each=4)
    lots = np.random.default_rng(seed).permutation([example.label for example in given])
    model = learned([replace(e, label=str(lot)) for e, lot in zip(given, lots, strict=True)])
    assert model.metrics["accuracy"] == pytest.approx(1 / 3, abs=0.1)
    assert model.metrics["log_loss"] == pytest.approx(np.log(3), abs=0.05)
    assert not model.beats_baseline


def test_artists_that_are_known_by_heart_prove_nothing() -> None:
    """Each artist has a sound, and a label drawn by lot: only who heard the artist can tell it (the artist effect)."""
    rng = np.random.default_rng(1)
    artists = [(number, LABELS[number % 3], rng.normal(0, 1, len(VECTOR))) for number in range(45)]
    given = [
        Example(number * 10 + track, number, label, sound + rng.normal(0, 0.2, len(VECTOR)))
        for number, label, sound in artists
        for track in range(4)
    ]
    unfiltered = learned([replace(example, artist_id=example.track_id) for example in given])
    assert unfiltered.metrics["accuracy"] > 0.9
    model = learned(given)
    assert model.metrics["accuracy"] == pytest.approx(1 / 3, abs=0.15)
    assert not model.beats_baseline


def test_recordings_of_one_artist_count_as_one() -> None:
    values, artists = np.array([0.0, 1.0, 2.0, 3.0]), np.arange(4)
    alone = clustered_error(values, artists)
    assert alone == pytest.approx(values.std() / 2)
    assert clustered_error(np.repeat(values, 25), np.repeat(artists, 25)) == pytest.approx(alone)


def test_the_same_recordings_are_the_same_model_in_any_order(model: classifier.Model) -> None:
    again = learned(examples()[::-1])
    assert again.id == model.id
    assert again.to_json() == model.to_json()


def test_any_cause_makes_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    given = examples(artists=6, each=2)
    first, model = given[0], learned(given)
    changed = [
        learned(given, "mood"),
        learned([replace(first, label="Polka"), *given[1:]]),
        learned([replace(first, artist_id=999), *given[1:]]),
        learned([replace(first, vector=first.vector + 1e-9), *given[1:]]),
        train("genre", given, extractor=EXTRACTOR, extractor_version="9.0.0"),
    ]
    monkeypatch.setattr(classifier, "METHOD", "other-1")
    ids = {found.id for found in [model, *changed, learned(given)]}
    assert len(ids) == 7


def test_a_model_survives_its_file(model: classifier.Model) -> None:
    read = from_json(model.to_json())
    assert read.to_json() == model.to_json()
    vectors = np.stack([example.vector for example in examples(seed=3)])
    assert read.predict(vectors) == model.predict(vectors)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": {}}, "not a model"),
        ({"labels": ["A"]}, "weights must be"),
        ({"made_by": {"method": "forest-7"}}, "of method forest-7"),
        ({"vector": ["tempo"]}, "of method"),
        ({"extra": 1}, "not a model"),
    ],
)
def test_a_file_that_is_no_model_of_this_method_is_refused(
    model: classifier.Model, change: dict[str, Any], said: str
) -> None:
    document = json.loads(model.to_json()) | change
    with pytest.raises(ValueError, match=said):
        from_json(json.dumps(document).encode())
    with pytest.raises(ValueError, match="not a model"):
        from_json(model.to_json()[:-100])


def test_a_number_that_is_not_finite_is_refused(model: classifier.Model) -> None:
    document = json.loads(model.to_json())
    document["parameters"]["offsets"][0] = float("nan")
    with pytest.raises(ValueError, match="offsets must be"):
        from_json(json.dumps(document).encode())


@pytest.mark.parametrize("labels", [LABELS, LABELS[:2]])
@pytest.mark.parametrize("artists", [12, 6])
def test_probabilities_are_those_of_scikit_learn(labels: tuple[str, ...], artists: int) -> None:
    """The stored arrays predict what the library's own objects predict, calibrated or not, for two labels or more."""
    given = examples(labels=labels, artists=artists, apart=0.6)
    model = learned(given)
    x = np.stack([example.vector for example in given])
    y = np.array([labels.index(example.label) for example in given])
    groups = np.array([example.artist_id for example in given])
    theirs = make_pipeline(
        StandardScaler(), SimpleImputer(strategy="constant", fill_value=0.0), LogisticRegression(max_iter=1000)
    )
    assert model.training["calibrated"] == (artists == 12)
    if model.training["calibrated"]:
        splits = classifier.folds(y, groups, labels, classifier.CALIBRATION_FOLDS, int(model.id[:8], 16))
        theirs = CalibratedClassifierCV(theirs, method="temperature", ensemble=False, cv=splits)
    expected = theirs.fit(x, y).predict_proba(x)
    np.testing.assert_allclose(model.parameters.probabilities(x), expected, atol=1e-9)


def test_calibration_takes_certainty_away_and_never_adds_any() -> None:
    certain = learned(examples(apart=30.0))
    assert certain.parameters.sharpness == 1.0
    assert learned(examples(apart=0.3)).parameters.sharpness < 1.0


def test_a_missing_number_counts_as_average(model: classifier.Model) -> None:
    average = model.parameters.mean.copy()
    absent = average.copy()
    absent[3] = np.nan
    found = model.parameters.probabilities(np.stack([average, absent]))
    np.testing.assert_array_equal(found[0], found[1])


def test_a_feature_that_no_recording_has_says_nothing() -> None:
    given = examples(artists=6)
    for example in given:
        example.vector[10] = np.nan
    model = learned(given)
    assert (model.parameters.mean[10], model.parameters.scale[10]) == (0.0, 1.0)
    assert from_json(model.to_json()).beats_baseline


def test_labels_with_too_few_recordings_or_artists_are_named() -> None:
    rare = [Example(number, 900, "Rare", np.zeros(len(VECTOR))) for number in (1, 2)]
    given = [*examples(artists=5, each=2), *rare]
    with pytest.raises(RejectedInputError, match="'Rare' has 2 by 1 artists") as caught:
        learned(given)
    assert caught.value.reason == "too_few_labels"
    assert "Ambient" not in caught.value.message
    assert learned(given[:-2]).labels == LABELS


@pytest.mark.parametrize("labels", [(), ("Only",)])
def test_fewer_than_two_labels_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(RejectedInputError, match="nothing to tell apart") as caught:
        learned(examples(labels=labels))
    assert caught.value.reason == "too_few_labels"


def test_a_label_that_one_artist_made_is_indivisible() -> None:
    truth = np.array([0] * 20 + [1] * 20)
    artists = np.array([0] * 20 + list(range(1, 21)))
    with pytest.raises(RejectedInputError, match="Ambient cannot be divided") as caught:
        classifier.folds(truth, artists, LABELS[:2], 2, 0)
    assert caught.value.reason == "indivisible_labels"


def test_metrics_of_known_answers() -> None:
    truth = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
    found = measured(truth, probabilities, ("A", "B"))
    assert found["accuracy"] == 0.75
    assert found["by_label"]["A"] == pytest.approx({"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3})
    assert found["by_label"]["B"] == pytest.approx({"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1})
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["log_loss"] == pytest.approx(-(2 * np.log(0.9) + np.log(0.2) + np.log(0.8)) / 4)
    # Two at 0.9, both right, and two at 0.8, one of them right.
    assert found["expected_calibration_error"] == pytest.approx((2 * 0.1 + 2 * 0.3) / 4)


def test_a_sure_and_right_prediction_is_calibrated() -> None:
    assert calibration_error(np.array([0]), np.array([[1.0, 0.0]])) == 0
    assert calibration_error(np.array([1]), np.array([[1.0, 0.0]])) == 1
