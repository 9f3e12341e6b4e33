"""Fingerprints made in this process are those of chromaprint's own program."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.features import fpcalc
from lakehouse.adapters import chromaprint
from lakehouse.domain.catalog.quality.duplicates import bit_error_rate, same_recording
from spark_jobs.extract_features import features_of
from tests.audio_files import chord, clicks, write

MISSING = shutil.which("fpcalc") is None


@pytest.mark.skipif(MISSING, reason="fpcalc is not installed: make setup")
def test_a_fingerprint_is_fpcalcs(tmp_path: Path) -> None:
    sound = np.concatenate([chord(220, 8) + clicks(120, 8), chord(330, 8) + clicks(90, 8)]).astype(np.float32)
    other = np.concatenate([chord(233, 8) + clicks(100, 8), chord(277, 8) + clicks(70, 8)]).astype(np.float32)
    path = write(tmp_path / "a.flac", sound, title="T", artist="A")
    mine = chromaprint.decoded(features_of(path.read_bytes())["fingerprint"])
    theirs = chromaprint.decoded(fpcalc(path))
    assert len(mine) == pytest.approx(len(theirs), abs=1)
    assert bit_error_rate(mine, theirs) < 0.02
    another = write(tmp_path / "b.flac", other, title="T", artist="A")
    assert not same_recording(mine, chromaprint.decoded(features_of(another.read_bytes())["fingerprint"]))


@pytest.mark.skipif(MISSING, reason="fpcalc is not installed: make setup")
def test_too_short_a_sound_has_no_fingerprint() -> None:
    fingerprinter = chromaprint.Fingerprinter(22_050)
    fingerprinter.add(np.zeros(22_050, np.float32))
    assert fingerprinter.finish() == ""
    assert not len(chromaprint.decoded("no fingerprint"))
