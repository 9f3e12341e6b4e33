"""What one core does of ingest: seconds of audio a CPU second, probing and extracting measured on real files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.features import one_thread
from benchmarks.kit import measure
from lakehouse.domain.audio.tagged import judge
from lakehouse.domain.audio.validation import AudioFacts
from lakehouse.errors import FatalError, RejectedInputError

LIMIT = 24


def run(folder: Path, say: Callable[[str], None]) -> dict[str, float | int]:
    """Rates by stage over at most `LIMIT` accepted files below `folder`, in the order of their names.

    Raises:
        FatalError: no file there is accepted.
    """
    with one_thread():
        return _run(folder, say)


def _run(folder: Path, say: Callable[[str], None]) -> dict[str, float | int]:
    from spark_jobs import compiled

    compiled.ensure()
    from lakehouse.adapters.audio_probe import probe
    from spark_jobs.extract_features import features_of

    probe_s = features_s = audio_s = 0.0
    files = 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if files == LIMIT:
            break
        probing, facts = _timed(lambda path=path: probe(path, path.name))
        try:
            judge(facts, datetime.now(UTC).date())
        except RejectedInputError:
            continue
        features_s += measure(lambda path=path: features_of(path)).cpu_s
        probe_s += probing
        audio_s += facts.duration_ms / 1000
        files += 1
        say(f"    {path.name}")
    if not files:
        raise FatalError(f"No file in {folder} is accepted.", hint="Give a folder of tagged audio files.")
    return {
        "files": files,
        "audio_s": round(audio_s, 1),
        "probe_audio_s_per_core_s": round(audio_s / probe_s, 1),
        "features_audio_s_per_core_s": round(audio_s / features_s, 1),
    }


def _timed(work: Callable[[], AudioFacts]) -> tuple[float, AudioFacts]:
    """CPU seconds of the call, and what it gives."""
    found: list[AudioFacts] = []
    return measure(lambda: found.append(work())).cpu_s, found[0]
