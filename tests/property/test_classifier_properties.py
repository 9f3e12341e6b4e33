"""Whatever the labels and artists are: no artist is on both sides of a fold; of a file, every row is used or named."""

from __future__ import annotations

import csv
import io

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from lakehouse.domain.audio.classifier import calibration_error, folds
from lakehouse.domain.audio.labels import Known, parse
from lakehouse.errors import RejectedInputError

LABELS = ("A", "B", "C")
CELLS = st.sampled_from(["1", "2", "3", "4", "99", "", "x", "rock", "Rock", "jazz", 'a "b"', "1,2", "\u0301"])


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 15)), min_size=30, max_size=120),
    number=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_artist_is_on_one_side_of_a_fold_and_a_recording_is_tested_once(
    rows: list[tuple[int, int]], number: int, seed: int
) -> None:
    truth, artists = (np.array(column) for column in zip(*rows, strict=True))
    assume(len(set(artists.tolist())) >= number)
    assume(min(np.bincount(truth, minlength=3)) >= number)
    try:
        splits = folds(truth, artists, LABELS, number, seed)
    except RejectedInputError as error:
        assert error.reason == "indivisible_labels"
        return
    tested = np.concatenate([heard for _, heard in splits])
    assert sorted(tested.tolist()) == list(range(len(rows)))
    for learned, heard in splits:
        assert not set(artists[learned].tolist()) & set(artists[heard].tolist())
        assert set(truth[learned].tolist()) == {0, 1, 2}


@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=3).filter(any), max_size=30))
def test_every_row_of_a_file_is_used_or_named_once(rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["track_id", "label"], *rows])
    tracks = [Known(number, None, number != 3) for number in range(1, 5)]
    used, rejected = parse(text.getvalue(), name="f.csv", tracks=tracks)
    assert len(used) + len(rejected) == len(rows)
    assert len({labelled.track_id for labelled in used}) == len(used)
    spelled = {labelled.label for labelled in used}
    assert len({label.casefold() for label in spelled}) == len(spelled)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.5, 1.0)), min_size=1, max_size=50))
def test_calibration_error_lies_between_right_and_wrong(rows: list[tuple[bool, float]]) -> None:
    truth = np.array([int(not right) for right, _ in rows])
    probabilities = np.array([[top, 1 - top] for _, top in rows])
    found = calibration_error(truth, probabilities)
    assert 0 <= found <= 1
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    assert found >= abs(confidence.mean() - right.mean()) - 1e-9  # bins add, they don't cancel
