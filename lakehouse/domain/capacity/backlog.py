"""What waits in landing, as numbers that a scaler can follow: files, bytes, age, and the CPU seconds they will cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lakehouse.domain.capacity.ingest import KBIT, Rates


@dataclass(frozen=True)
class Backlog:
    """Files and bytes that wait, how long the oldest has [s], and an estimate of the work [CPU seconds]."""

    files: int
    size_bytes: int
    oldest_age_s: float
    core_s: float


#: Metric of each field, for Prometheus: name, meaning. The scaler in infra/cluster asks for the last.
METRICS = {
    "files": ("wavehouse_ingest_backlog_files", "Landed files without an outcome."),
    "size_bytes": ("wavehouse_ingest_backlog_bytes", "Their size."),
    "oldest_age_s": ("wavehouse_ingest_backlog_oldest_age_seconds", "Since when the oldest of them waits."),
    "core_s": ("wavehouse_ingest_backlog_core_seconds", "CPU seconds that they will cost, by the measured rates."),
}


def backlog(waiting: Iterable[tuple[int, datetime]], now: datetime, rates: Rates, kbit_s: float) -> Backlog:
    """The backlog of files given as size [bytes] and moment of arrival, at `now`, both with a time zone.

    How long a file plays is not known before it is decoded: `kbit_s` is the average bit rate of what is delivered.
    """
    files = list(waiting)
    size = sum(size for size, _ in files)
    oldest = min((arrived for _, arrived in files), default=now)
    audio_s = size * 8 / (kbit_s * KBIT)
    return Backlog(len(files), size, max((now - oldest).total_seconds(), 0.0), audio_s * rates.core_s_per_audio_s)


def exposition(found: Backlog) -> str:
    """The backlog in Prometheus' text format (exposition format 0.0.4)."""
    lines = []
    for field, (name, meaning) in METRICS.items():
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", f"{name} {getattr(found, field)}"]
    return "\n".join(lines) + "\n"
