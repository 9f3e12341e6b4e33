"""Genre or mood of a recording from its features, learned from labels that people gave. Pure and deterministic.

The model is a multinomial logistic regression on standardised features (Hastie, Tibshirani and Friedman 2009, 4.4),
whose probabilities are calibrated by one temperature (Guo et al. 2017) where there are enough labels. It is a few
arrays: they are kept as JSON, so that to load a model runs no code of it.

What the metrics promise is measured on artists that the model never heard: recordings of one artist, and more so of one
album, sound alike, and a model that may learn them by heart looks better than it is (the artist filter: Pampalk,
Flexer and Widmer 2005; Flexer 2007). docs/architecture/features.md explains both to the operator.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakehouse.domain.audio.features import PITCH_CLASSES
from lakehouse.errors import RejectedInputError

TARGETS = ("genre", "mood")
#: Version of everything below that decides a number: the vector, the classifier, the folds.
METHOD = "logistic-1"

#: A label needs so many recordings by so many artists: each fold is without some of them.
LEAST_RECORDINGS, LEAST_ARTISTS = 10, 5
#: Probabilities are calibrated when each label has so many; a temperature from fewer would be a guess.
CALIBRATED_RECORDINGS, CALIBRATED_ARTISTS = 30, 10
FOLDS, CALIBRATION_FOLDS = 5, 3
#: scikit-learn's own default; never tuned on the recordings that the metrics are about.
INVERSE_REGULARISATION = 1.0
ECE_BINS = 10
#: Standard errors by which a model must tell more than the baseline before it is used.
CERTAIN = 2.0

_LOGARITHMIC = ("tempo_bpm", "spectral_centroid_hz", "spectral_bandwidth_hz", "spectral_rolloff_hz")
_LINEAR = (
    "tempo_confidence", "beat_confidence", "key_confidence", "loudness_lufs", "loudness_range_lu", "true_peak_dbtp",
    "spectral_flatness", "zero_crossing_rate", "rms_energy", "onset_rate_hz",
)  # fmt: skip
_LISTS = {"spectral_contrast_mean": 7, "mfcc_mean": 20}
#: Columns of silver_audit.audio_features that the vector is made of.
COLUMNS = (*_LOGARITHMIC, *_LINEAR, "musical_mode", "musical_key", "chroma_mean", *_LISTS)
#: What each number of the vector is.
VECTOR = (
    *(f"log2 {name}" for name in _LOGARITHMIC),
    *_LINEAR,
    "is_minor",
    *(f"chroma_from_tonic[{step}]" for step in range(len(PITCH_CLASSES))),
    *(f"{name}[{place}]" for name, length in _LISTS.items() for place in range(length)),
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def vector(features: Mapping[str, Any]) -> Floats:
    """The numbers of `VECTOR` for a row of silver_audit.audio_features; NaN where a feature is missing.

    Frequencies and tempo are in octaves, as they are heard; the chroma begins with the tonic, so that a song in another
    key is the same song. What follows from these by a formula (the indices) is left out.
    """
    missing = math.nan
    tonic = PITCH_CLASSES.index(features["musical_key"])
    return np.array(
        [
            *(math.log2(features[name]) if (features[name] or 0) > 0 else missing for name in _LOGARITHMIC),
            *(missing if features[name] is None else features[name] for name in _LINEAR),
            float(features["musical_mode"] == "minor"),
            *np.roll(features["chroma_mean"], -tonic),
            *(value for name, length in _LISTS.items() for value in features[name] or [missing] * length),
        ],
        np.float64,
    )


@dataclass(frozen=True)
class Example:
    """A labelled recording; `vector` as `vector()` makes it."""

    track_id: int
    artist_id: int
    label: str
    vector: Floats


@dataclass(frozen=True)
class Parameters:
    """A fitted classifier of k labels on d numbers: all that a prediction needs.

    `mean` and `scale` standardise the vector (d); `weights` (k, d) and `offsets` (k) give a score a label, and
    `sharpness`, the inverse temperature, says how much a difference of scores means.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    offsets: Floats
    sharpness: float

    def probabilities(self, vectors: Floats) -> Floats:
        """Probability of each label (n, k) for `vectors` (n, d); a number that is missing counts as average."""
        from scipy.special import softmax

        standardised = np.nan_to_num((vectors - self.mean) / self.scale, nan=0.0)
        found: Floats = softmax(self.sharpness * (standardised @ self.weights.T + self.offsets), axis=1)
        return found


@dataclass(frozen=True)
class Model:
    """A trained model and what is known of it. `id` is the SHA-256 of all it was made from.

    `training` counts what it learned from, `metrics` is what cross-validation measured (see `measured`), `made_by`
    names method and library.
    """

    id: str
    target: str
    extractor: str
    extractor_version: str
    labels: tuple[str, ...]
    training: dict[str, Any]
    metrics: dict[str, Any]
    made_by: dict[str, str]
    parameters: Parameters

    @property
    def beats_baseline(self) -> bool:
        """Whether it tells more than the frequencies of the labels do, by more than chance gives away now and then."""
        gain, error = self.metrics["log_loss_gain"], self.metrics["log_loss_gain_error"]
        return bool(gain > CERTAIN * error and self.metrics["macro_f1"] > self.metrics["baseline"]["macro_f1"])

    def predict(self, vectors: Floats) -> list[tuple[str, float]]:
        """The likeliest label of each row of `vectors` (n, d), and its probability."""
        probabilities = self.parameters.probabilities(vectors)
        best = probabilities.argmax(axis=1)
        return [(self.labels[label], float(row[label])) for label, row in zip(best, probabilities, strict=True)]

    def card(self) -> dict[str, Any]:
        """All that is known of it but its parameters."""
        return {name: value for name, value in vars(self).items() if name != "parameters"}

    def to_json(self) -> bytes:
        """The model as a JSON document; the same model is the same bytes."""
        document = self.card() | {
            "vector": VECTOR,
            "parameters": {
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in vars(self.parameters).items()
            },
        }
        return (json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def from_json(data: bytes) -> Model:
    """The model of a document that `Model.to_json` made; nothing of it is executed.

    Raises:
        ValueError: it is damaged, or of another method than this code's.
    """
    try:
        document = json.loads(data)
        vector_names, numbers = document.pop("vector"), document.pop("parameters")
        sharpness = float(numbers.pop("sharpness"))
        parameters = Parameters(sharpness=sharpness, **{k: np.array(v, np.float64) for k, v in numbers.items()})
        labels = tuple(document.pop("labels"))
        model = Model(labels=labels, parameters=parameters, **document)
        method = model.made_by["method"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a model: {type(error).__name__}: {error}") from error
    if method != METHOD or tuple(vector_names) != VECTOR:
        raise ValueError(f"of method {method}; this version computes {METHOD}")
    shapes = {"mean": (len(VECTOR),), "scale": (len(VECTOR),), "weights": (len(labels), len(VECTOR))}
    for name, shape in (shapes | {"offsets": (len(labels),)}).items():
        values: Floats = getattr(parameters, name)
        if values.shape != shape or not np.isfinite(values).all():
            raise ValueError(f"{name} must be {shape} finite numbers")
    if not (0 < sharpness < math.inf and (parameters.scale > 0).all()):
        raise ValueError("sharpness and scale must be above zero")
    return model


def train(target: str, examples: Sequence[Example], *, extractor: str, extractor_version: str) -> Model:
    """Learn `target` from `examples`, whose features are of that extractor. The order of the examples does not matter.

    Raises:
        RejectedInputError: too_few_labels: a label has too few recordings or artists, or there are not two labels;
            indivisible_labels: nearly all of a label's recordings are by artists that no fold can be without.
    """
    import sklearn
    from threadpoolctl import threadpool_limits

    examples = sorted(examples, key=lambda example: example.track_id)
    labels = tuple(sorted({example.label for example in examples}))
    counts = {label: _count([e for e in examples if e.label == label]) for label in labels}
    _check(labels, counts)
    vectors = np.stack([example.vector for example in examples])
    made_by = {"method": METHOD, "scikit_learn": sklearn.__version__}
    model_id = _digest(target, examples, vectors, {"extractor": extractor, "version": extractor_version} | made_by)
    task = _Task(
        vectors,
        np.array([labels.index(example.label) for example in examples]),
        np.array([example.artist_id for example in examples]),
        labels,
        calibrated=all(
            count["recordings"] >= CALIBRATED_RECORDINGS and count["artists"] >= CALIBRATED_ARTISTS
            for count in counts.values()
        ),
        seed=int(model_id[:8], 16),
    )
    # One thread: sums come in one order, whatever the number of cores; for matrices this small it is faster, too.
    # A feature that no recording has divides by zero recordings; it is then set to say nothing.
    with threadpool_limits(1), np.errstate(invalid="ignore"):
        return Model(
            id=model_id,
            target=target,
            extractor=extractor,
            extractor_version=extractor_version,
            labels=labels,
            training=_count(examples) | {"labels": counts, "calibrated": task.calibrated},
            metrics=task.cross_validated(),
            made_by=made_by,
            parameters=task.fitted(np.arange(len(examples))),
        )


def _count(examples: Sequence[Example]) -> dict[str, Any]:
    return {"recordings": len(examples), "artists": len({example.artist_id for example in examples})}


def _check(labels: Sequence[str], counts: Mapping[str, Mapping[str, int]]) -> None:
    few = [
        f"'{label}' has {count['recordings']} by {count['artists']}"
        for label, count in counts.items()
        if count["recordings"] < LEAST_RECORDINGS or count["artists"] < LEAST_ARTISTS
    ]
    if few:
        raise RejectedInputError(
            f"Too few recordings to learn from: {'; '.join(few)} artists. "
            f"Each label needs {LEAST_RECORDINGS} by {LEAST_ARTISTS} artists.",
            reason="too_few_labels",
            value=few,
            hint="Label more recordings of other artists, put similar labels together, or take these rows out.",
        )
    if len(labels) < 2:  # noqa: PLR2004 - a choice has two sides
        raise RejectedInputError(
            f"There is nothing to tell apart: {len(labels)} label(s) can be used.",
            reason="too_few_labels",
            value=list(labels),
            hint="Label recordings with at least two labels.",
        )


def _digest(target: str, examples: Sequence[Example], vectors: Floats, made_by: Mapping[str, str]) -> str:
    """SHA-256 of all that a model is made from."""
    causes = {
        "target": target,
        "made_by": made_by,
        "labels": [(example.track_id, example.artist_id, example.label) for example in examples],
        "vectors": hashlib.sha256(vectors.astype("<f8").tobytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(causes, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Task:
    """Vectors (n, d), the number of each one's label, and its artist."""

    vectors: Floats
    truth: Integers
    artists: Integers
    labels: tuple[str, ...]
    calibrated: bool
    seed: int

    def folds(self, rows: Integers, number: int) -> list[tuple[Integers, Integers]]:
        """Splits of `rows` (places in them to learn from, places to test): see `folds`."""
        return folds(self.truth[rows], self.artists[rows], self.labels, number, self.seed)

    def fitted(self, rows: Integers) -> Parameters:
        """The classifier that these rows teach."""
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        pipeline = make_pipeline(
            StandardScaler(),
            SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True),  # missing: as the average
            LogisticRegression(C=INVERSE_REGULARISATION, max_iter=1000),
        )
        two = len(self.labels) == 2  # noqa: PLR2004
        sharpness = 0.5 if two else 1.0
        if self.calibrated:
            # Without an ensemble: one classifier of all rows, and a temperature from scores of unheard artists.
            calibration = CalibratedClassifierCV(
                pipeline, method="temperature", ensemble=False, cv=self.folds(rows, CALIBRATION_FOLDS)
            ).fit(self.vectors[rows], self.truth[rows])
            pipeline = calibration.calibrated_classifiers_[0].estimator
            # Where every unheard artist was told right, any certainty fits; calibration only ever takes some away.
            sharpness = min(sharpness, float(calibration.calibrated_classifiers_[0].calibrators[0].beta_))
        else:
            pipeline.fit(self.vectors[rows], self.truth[rows])
        scaler, _, regression = (step for _, step in pipeline.steps)
        weights, offsets = regression.coef_, regression.intercept_
        if two:  # scikit-learn keeps the score of the second label; that of the first is its opposite
            weights, offsets = np.concatenate([-weights, weights]), np.concatenate([-offsets, offsets])
        return Parameters(
            mean=np.nan_to_num(scaler.mean_, nan=0.0),  # a feature that no recording has
            scale=np.nan_to_num(scaler.scale_, nan=1.0),
            weights=weights,
            offsets=offsets,
            sharpness=sharpness,
        )

    def cross_validated(self) -> dict[str, Any]:
        """What `measured` says of predictions for artists that were not learned from."""
        probabilities = np.empty((len(self.truth), len(self.labels)))
        by_fold = []
        for learned, heard in self.folds(np.arange(len(self.truth)), FOLDS):
            probabilities[heard] = self.fitted(learned).probabilities(self.vectors[heard])
            by_fold.append(float((probabilities[heard].argmax(axis=1) == self.truth[heard]).mean()))
        found = measured(self.truth, probabilities, self.labels)
        # To say the commonest label always, and how common each is: of all recordings, which is more than a fold knows.
        frequencies = np.bincount(self.truth, minlength=len(self.labels)) / len(self.truth)
        baseline = measured(self.truth, np.tile(frequencies, (len(self.truth), 1)), self.labels)
        said = probabilities[np.arange(len(self.truth)), self.truth]
        # As scikit-learn's log loss does: what was called impossible costs much, not infinitely much.
        gains = np.log(np.maximum(said, np.finfo(np.float64).eps)) - np.log(frequencies[self.truth])
        return found | {
            "log_loss_gain": float(gains.mean()),
            "log_loss_gain_error": clustered_error(gains, self.artists),
            "folds": FOLDS,
            "accuracy_by_fold": by_fold,
            "baseline": {name: baseline[name] for name in ("accuracy", "macro_f1", "log_loss")},
        }


def folds(
    truth: Integers, artists: Integers, labels: Sequence[str], number: int, seed: int
) -> list[tuple[Integers, Integers]]:
    """`number` splits (rows to learn from, rows to test) by artist, each with about the same share of every label.

    All recordings of an artist are tested together, and every recording is tested once.

    Raises:
        RejectedInputError: indivisible_labels: a split has no recording of a label to learn from, or none to test.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    splits = [(learned, heard) for learned, heard in splitter.split(truth, truth, artists)]
    for learned, heard in splits:
        absent = [labels[label] for label in sorted(set(range(len(labels))) - set(truth[learned].tolist()))]
        if absent or not len(heard):
            of = ", ".join(absent) or "the labels"
            raise RejectedInputError(
                f"The recordings of {of} cannot be divided by artist into {number} parts.",
                reason="indivisible_labels",
                value=absent,
                hint="Label recordings of more artists, so that no artist has most of a label.",
            )
    return splits


def measured(truth: Integers, probabilities: Floats, labels: Sequence[str]) -> dict[str, Any]:
    """How good `probabilities` (n, k) are for the labels' numbers `truth` (n).

    accuracy, macro_f1 (mean of the labels' F1), log_loss (nats), expected_calibration_error, and by label precision,
    recall, F1 (0 where a label was never predicted) and support (recordings).
    """
    from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support

    numbers = list(range(len(labels)))
    predicted = probabilities.argmax(axis=1)
    by_label = zip(
        *precision_recall_fscore_support(truth, predicted, labels=numbers, zero_division=0.0), labels, strict=True
    )
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "macro_f1": float(f1_score(truth, predicted, labels=numbers, average="macro", zero_division=0.0)),
        "log_loss": float(log_loss(truth, probabilities, labels=numbers)),
        "expected_calibration_error": calibration_error(truth, probabilities),
        "by_label": {
            label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for p, r, f, n, label in by_label
        },
    }


def clustered_error(values: Floats, clusters: Integers) -> float:
    """Standard error of the mean of `values`, of which those of one cluster are not independent (Liang and Zeger 1986).

    Recordings of an artist are right or wrong together: a hundred by two artists are worth little more than two.
    """
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1], weights=values - values.mean())
    return float(np.sqrt((sums**2).sum())) / len(values)


def calibration_error(truth: Integers, probabilities: Floats) -> float:
    """Expected calibration error (Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017, equation 3), 0..1.

    Predictions are put into `ECE_BINS` equal bins by the probability of the likeliest label; it is the mean distance
    of a bin's accuracy from its mean probability, weighted by its predictions.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = [abs(float(right[bins == b].sum() - confidence[bins == b].sum())) for b in range(ECE_BINS)]
    return sum(gaps) / len(truth)
