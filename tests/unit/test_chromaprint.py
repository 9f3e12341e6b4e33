"""Fingerprints made in this process are those of chromaprint's own program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks.features import fpcalc
from lakehouse.adapters import chromaprint
from lakehouse.adapters.audio_probe import probe
from lakehouse.domain.catalog.quality.duplicates import bit_error_rate, same_recording
from spark_jobs.extract_features import features_of
from tests.audio_files import chord, clicks, write

MISSING = shutil.which("fpcalc") is None


@pytest.mark.skipif(MISSING, reason="fpcalc is not installed: make setup")
def test_a_fingerprint_is_fpcalcs(tmp_path: Path) -> None:
    sound = np.concatenate([chord(220, 8) + clicks(120, 8), chord(330, 8) + clicks(90, 8)]).astype(np.float32)
    other = np.concatenate([chord(233, 8) + clicks(100, 8), chord(277, 8) + clicks(70, 8)]).astype(np.float32)
    path = write(tmp_path / "a.flac", sound, title="T", artist="A")
    mine = chromaprint.decoded(features_of(path)["fingerprint"])
    theirs = chromaprint.decoded(fpcalc(path))
    assert len(mine) == pytest.approx(len(theirs), abs=1)
    assert bit_error_rate(mine, theirs) < 0.02
    another = write(tmp_path / "b.flac", other, title="T", artist="A")
    assert not same_recording(mine, chromaprint.decoded(features_of(another)["fingerprint"]))


@pytest.mark.skipif(MISSING, reason="fpcalc is not installed: make setup")
@pytest.mark.parametrize(("suffix", "parts"), [(".flac", 16), (".wav", 16), (".ogg", 2), (".mp3", 2)])
def test_the_ingests_fingerprint_is_fpcalcs_of_the_whole_recording(tmp_path: Path, suffix: str, parts: int) -> None:
    sound = np.concatenate([chord(220 + n, 8) + clicks(60 + n, 8) for n in range(0, 10 * parts, 10)]).astype(np.float32)
    path = write(tmp_path / f"a{suffix}", sound, title="T", artist="A")
    command = ["fpcalc", "-raw", "-plain", "-algorithm", "2", "-length", "0", str(path)]
    theirs = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip().split(",")
    mine = np.array(probe(path, path.name).fingerprint, np.uint32)
    assert len(mine) > (8 * parts - 3) * 8  # of all, not of the first two minutes
    assert len(mine) == pytest.approx(len(theirs), abs=1)
    assert bit_error_rate(mine, np.array(theirs, np.int64).astype(np.uint32)) < 0.02


@pytest.mark.skipif(MISSING, reason="fpcalc is not installed: make setup")
def test_too_short_a_sound_has_no_fingerprint() -> None:
    fingerprinter = chromaprint.Fingerprinter(22_050)
    fingerprinter.add(np.zeros(22_050, np.float32))
    assert fingerprinter.finish() == ""
    fingerprinter = chromaprint.Fingerprinter(11_025, length_s=None)
    fingerprinter.add(np.zeros(11_025, np.float32))
    assert not len(fingerprinter.finish_raw())
    assert not len(chromaprint.decoded("no fingerprint"))
