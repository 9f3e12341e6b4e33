"""What audio features cost beside plain librosa on the same files, and how far the two agree.

The baseline is what librosa's documentation shows: `librosa.load`, then one call a feature on the samples, with its
defaults. What librosa has not is taken from the usual library for it: loudness and its range from pyloudnorm, the true
peak from a polyphase resampler of scipy, the fingerprint from chromaprint's `fpcalc`. ffmpeg's `ebur128` filter judges
loudness and is in nobody's time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kit import Cost, measure, median
from lakehouse.domain.audio.features import key_of
from lakehouse.errors import FatalError

GOALS = {
    "times_librosa": 8.0,
    "times_real_time": 300.0,
    "tempo_share": 0.98,
    "key_share": 0.95,
    "scalars_share": 1.0,
    "mfcc_correlation": 0.999,
    "loudness_lu": 0.1,
}
#: A tempo agrees within this share, a scalar within that.
TEMPO_WITHIN, SCALAR_WITHIN = 0.04, 0.01
#: The tolerance of true-peak meters in EBU Tech 3341.
TRUE_PEAK_WITHIN = 0.4
#: librosa's trim looks at overlapping frames of 93 ms, so that it hears sound 46 ms before it begins.
SILENCE_WITHIN = 100
#: The shortest file that every contender can describe: pyloudnorm's loudness range needs 3 s.
SHORTEST_S = 3.5
#: Means over time that both compute by one definition.
SCALARS = (
    "spectral_centroid_hz",
    "spectral_bandwidth_hz",
    "spectral_rolloff_hz",
    "spectral_flatness",
    "zero_crossing_rate",
    "rms_energy",
    "onset_rate_hz",
)


def run(folder: Path, *, rounds: int, limit: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Cost and agreement over the audio files below `folder`, `limit` of them at most, in the order of their names.

    Every file is described by each contender in turn, `rounds` times, so that the machine's noise hits all alike.

    Raises:
        FatalError: there is no audio file of at least `SHORTEST_S` seconds.
    """
    with one_thread():
        return _run(audio_files(folder)[:limit], rounds, say)


def _run(files: list[tuple[Path, float]], rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    from spark_jobs import compiled

    compiled.ensure()
    contenders: dict[str, Callable[[Path], dict[str, Any]]] = {
        "ours": ours,
        "librosa": librosa_features,
        "other_libraries": other_features,
    }
    for describe in contenders.values():  # caches filled and functions compiled before the clock runs
        describe(files[0][0])
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    tracks = []
    for number, (path, seconds) in enumerate(files):
        spent, found = _in_turns(path, contenders, first=number, rounds=rounds)
        for name, cost in spent.items():
            costs[name].append(cost)
        tracks.append(compare(found["ours"], found["librosa"] | found["other_libraries"], ebur128(path)))
        ratio = (spent["librosa"].cpu_s + spent["other_libraries"].cpu_s) / spent["ours"].cpu_s
        say(f"    {path.name}: {seconds / spent['ours'].cpu_s:.0f} times real time, {ratio:.1f} times plain librosa")
    audio_s = sum(seconds for _, seconds in files)
    cpu = {name: sum(cost.cpu_s for cost in found) for name, found in costs.items()}
    return {
        "files": len(files),
        "audio_s": round(audio_s, 1),
        "rounds": rounds,
        "cpu_s": cpu,
        "times_real_time": audio_s / cpu["ours"],
        "librosa_times_real_time": audio_s / (cpu["librosa"] + cpu["other_libraries"]),
        "times_librosa": (cpu["librosa"] + cpu["other_libraries"]) / cpu["ours"],
        "times_librosa_alone": cpu["librosa"] / cpu["ours"],
        "agreement": agreement(tracks),
        "tracks": [{"file": path.name} | track for (path, _), track in zip(files, tracks, strict=True)],
        "goals": GOALS,
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """The numeric libraries use one thread, in this process and in those that it starts."""
    from threadpoolctl import threadpool_limits

    # Read when a library is loaded; the limits are for those that are loaded already.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    with threadpool_limits(1):
        yield


def audio_files(folder: Path) -> list[tuple[Path, float]]:
    """Files below `folder` that libsndfile opens and that are long enough, with their seconds, sorted by name.

    Raises:
        FatalError: there is none.
    """
    import soundfile

    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            info = soundfile.info(path)
        except soundfile.LibsndfileError:
            continue
        if info.duration >= SHORTEST_S:
            found.append((path, info.duration))
    if not found:
        raise FatalError(f"No audio of {SHORTEST_S} s or more in {folder}.", hint="Give a folder of audio files.")
    return found


def ours(path: Path) -> dict[str, Any]:
    """The features of our extractor, as the Spark job computes them."""
    from spark_jobs.extract_features import features_of

    return features_of(path)


def librosa_features(path: Path) -> dict[str, Any]:
    """The same features by librosa's documented calls."""
    import librosa

    samples, rate_hz = librosa.load(path)
    bpm, beats = librosa.beat.beat_track(y=samples, sr=rate_hz)
    onsets = librosa.onset.onset_detect(y=samples, sr=rate_hz)
    chroma = librosa.feature.chroma_stft(y=samples, sr=rate_hz).mean(axis=1)
    key, mode, _ = key_of(chroma)
    _, (start, end) = librosa.effects.trim(samples)
    return {
        "tempo_bpm": float(np.atleast_1d(bpm)[0]),
        "beats": len(beats),
        "musical_key": key,
        "musical_mode": mode,
        "chroma_mean": chroma,
        "mfcc_mean": librosa.feature.mfcc(y=samples, sr=rate_hz, n_mfcc=20).mean(axis=1),
        "spectral_centroid_hz": librosa.feature.spectral_centroid(y=samples, sr=rate_hz).mean(),
        "spectral_bandwidth_hz": librosa.feature.spectral_bandwidth(y=samples, sr=rate_hz).mean(),
        "spectral_rolloff_hz": librosa.feature.spectral_rolloff(y=samples, sr=rate_hz).mean(),
        "spectral_flatness": librosa.feature.spectral_flatness(y=samples).mean(),
        "spectral_contrast_mean": librosa.feature.spectral_contrast(y=samples, sr=rate_hz).mean(axis=1),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(samples).mean(),
        "rms_energy": librosa.feature.rms(y=samples).mean(),
        "onset_rate_hz": len(onsets) * rate_hz / len(samples),
        "silence_start_ms": 1000 * start / rate_hz,
        "silence_end_ms": 1000 * (len(samples) - end) / rate_hz,
    }


def other_features(path: Path) -> dict[str, Any]:
    """What librosa does not have, from the usual library for each."""
    import pyloudnorm
    import soundfile
    from scipy.signal import resample_poly

    samples, rate_hz = soundfile.read(path, always_2d=True)
    meter = pyloudnorm.Meter(rate_hz)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of silence: a logarithm of zero
        peak = np.abs(resample_poly(samples, 4, 1, axis=0)).max()
        return {
            "pyloudnorm_lufs": meter.integrated_loudness(samples),
            "pyloudnorm_range_lu": meter.loudness_range(samples),
            "scipy_true_peak_dbtp": float(20 * np.log10(peak)),
            "fingerprint": fpcalc(path),
        }


def fpcalc(path: Path) -> str:
    """The fingerprint by chromaprint's own program, in its compressed form; empty where that is not installed."""
    if shutil.which("fpcalc") is None:
        return ""
    done = subprocess.run(["fpcalc", "-plain", str(path)], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def ebur128(path: Path) -> dict[str, float]:
    """Integrated loudness [LUFS], range [LU] and true peak [dBTP] by ffmpeg; empty where that is not installed."""
    if shutil.which("ffmpeg") is None:
        return {}
    command = ["ffmpeg", "-hide_banner", "-nostats", "-i", str(path), "-af", "ebur128=peak=true", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr.rpartition("Summary:")[2]
    found = {}
    for name, pattern in (
        ("loudness_lufs", r"I:\s+(-?[\d.]+) LUFS"),
        ("loudness_range_lu", r"LRA:\s+(-?[\d.]+) LU"),
        ("true_peak_dbtp", r"Peak:\s+(-?[\d.]+) dBFS"),
    ):
        if match := re.search(pattern, said):
            found[name] = float(match[1])
    return found


def compare(ours: dict[str, Any], theirs: dict[str, Any], meter: dict[str, float]) -> dict[str, Any]:
    """How far two descriptions of one recording are apart; what one of them lacks is left out."""
    apart: dict[str, Any] = {
        "tempo": _relative(ours["tempo_bpm"], theirs["tempo_bpm"]),
        "key": (ours["musical_key"], ours["musical_mode"]) == (theirs["musical_key"], theirs["musical_mode"]),
        "mfcc_correlation": _correlation(ours["mfcc_mean"], theirs["mfcc_mean"]),
        "chroma_correlation": _correlation(ours["chroma_mean"], theirs["chroma_mean"]),
    }
    apart |= {name: _relative(ours[name], float(theirs[name])) for name in SCALARS if name in ours}
    if "spectral_contrast_mean" in ours:
        pairs = zip(ours["spectral_contrast_mean"], theirs["spectral_contrast_mean"], strict=True)
        apart["spectral_contrast_mean"] = max(_relative(mine, float(other)) for mine, other in pairs)
    if "beat_times_s" in ours:
        apart["beats"] = _relative(len(ours["beat_times_s"]), theirs["beats"])
    for name in ("silence_start_ms", "silence_end_ms"):
        if ours.get(name) is not None:
            apart[name] = abs(ours[name] - theirs[name])
    apart |= {name: abs(ours[name] - value) for name, value in meter.items() if ours.get(name) is not None}
    if ours.get("fingerprint") and theirs["fingerprint"]:
        from lakehouse.adapters import chromaprint
        from lakehouse.domain.catalog.quality.duplicates import bit_error_rate

        mine, other = (chromaprint.decoded(text) for text in (ours["fingerprint"], theirs["fingerprint"]))
        apart["fingerprint"] = bit_error_rate(mine, other)
    return apart


def agreement(tracks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a feature: what is compared, the worst track, the share of tracks within the bound, and its goal."""
    bounds: dict[str, tuple[str, float, float | None]] = {
        "tempo": ("relative difference", TEMPO_WITHIN, GOALS["tempo_share"]),
        "key": ("equal", 1, GOALS["key_share"]),
        **dict.fromkeys(SCALARS, ("relative difference", SCALAR_WITHIN, GOALS["scalars_share"])),
        "spectral_contrast_mean": ("relative difference", SCALAR_WITHIN, GOALS["scalars_share"]),
        "beats": ("relative difference", TEMPO_WITHIN, None),
        "mfcc_correlation": ("correlation", GOALS["mfcc_correlation"], 1.0),
        "chroma_correlation": ("correlation", GOALS["mfcc_correlation"], None),
        "silence_start_ms": ("ms apart", SILENCE_WITHIN, None),
        "silence_end_ms": ("ms apart", SILENCE_WITHIN, None),
        "loudness_lufs": ("LU from ffmpeg", GOALS["loudness_lu"], 1.0),
        "loudness_range_lu": ("LU from ffmpeg", 0.2, None),
        "true_peak_dbtp": ("dB from ffmpeg", TRUE_PEAK_WITHIN, None),
        "fingerprint": ("bit error rate to fpcalc", 0.02, None),
    }
    rows = []
    for name, (what, bound, goal) in bounds.items():
        values = [float(track[name]) for track in tracks if name in track]
        if not values:
            continue
        more_is_better = what in ("equal", "correlation")
        # ffmpeg prints one decimal: what differs by the bound may be printed as a hair more.
        within = [value >= bound if more_is_better else value <= bound + 1e-9 for value in values]
        share = sum(within) / len(values)
        rows.append(
            {
                "feature": name,
                "compared": what,
                "bound": bound,
                "worst": min(values) if more_is_better else max(values),
                "share": share,
                "goal": goal,
                "missed": goal is not None and share < goal,
            }
        )
    return rows


def _in_turns(
    path: Path, contenders: dict[str, Callable[[Path], dict[str, Any]]], *, first: int, rounds: int
) -> tuple[dict[str, Cost], dict[str, dict[str, Any]]]:
    """Median cost and the description of one file by contender; who begins turns from round to round."""
    names, found = list(contenders), {}
    costs: dict[str, list[Cost]] = {name: [] for name in names}

    def describe(name: str) -> None:
        found[name] = contenders[name](path)

    for number in range(rounds):
        turn = (first + number) % len(names)
        for name in names[turn:] + names[:turn]:
            costs[name].append(measure(lambda name=name: describe(name)))
    return {name: median(spent) for name, spent in costs.items()}, found


def _relative(value: float, reference: float) -> float:
    """Distance as a share of the reference; 0 when both are 0."""
    return 0.0 if value == reference else abs(value - reference) / max(abs(reference), 1e-12)


def _correlation(first: Any, second: Any) -> float:
    """Pearson's; 1 of two that are the same, be they constant."""
    mine, other = np.asarray(first), np.asarray(second)
    return 1.0 if np.allclose(mine, other) else float(np.corrcoef(mine, other)[0, 1])
