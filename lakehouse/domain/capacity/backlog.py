"""What waits, as numbers that a scaler can follow and people can be alarmed by: how much, since when, at what cost."""

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


@dataclass(frozen=True)
class Deliveries:
    """Messages and feeds that wait, bytes of what lies in their folders, how long the oldest has waited [s]."""

    number: int
    size_bytes: int
    oldest_age_s: float


@dataclass(frozen=True)
class Features:
    """Recordings that wait for features, how long they play [s], how long the oldest has waited [s], and the work [CPU
    seconds].
    """

    recordings: int
    audio_s: float
    oldest_age_s: float
    core_s: float


@dataclass(frozen=True)
class LandingAge:
    """How long ago [s] what waits in landing was counted."""

    age_s: float


@dataclass(frozen=True)
class FeaturesAge:
    """How long ago [s] the recordings without features were counted."""

    age_s: float


Counts = Backlog | Deliveries | Features | LandingAge | FeaturesAge

#: Metric of each field, for Prometheus: name, meaning.
METRICS: dict[type, dict[str, tuple[str, str]]] = {
    Backlog: {
        "files": ("wavehouse_ingest_backlog_files", "Landed files without an outcome."),
        "size_bytes": ("wavehouse_ingest_backlog_bytes", "Their size."),
        "oldest_age_s": ("wavehouse_ingest_backlog_oldest_age_seconds", "Since when the oldest of them waits."),
        "core_s": ("wavehouse_ingest_backlog_core_seconds", "CPU seconds that they will cost, by the measured rates."),
    },
    Deliveries: {
        "number": ("wavehouse_deliveries_backlog", "Landed messages and feeds that wait to be looked at."),
        "size_bytes": ("wavehouse_deliveries_backlog_bytes", "Size of all that lies in their folders."),
        "oldest_age_s": ("wavehouse_deliveries_backlog_oldest_age_seconds", "Since when the oldest of them waits."),
    },
    Features: {
        "recordings": ("wavehouse_features_backlog_recordings", "Recordings without features of this extractor."),
        "audio_s": ("wavehouse_features_backlog_audio_seconds", "How long they play."),
        "oldest_age_s": ("wavehouse_features_backlog_oldest_age_seconds", "Since when the oldest of them is there."),
        "core_s": ("wavehouse_features_backlog_core_seconds", "CPU seconds that they will cost."),
    },
    LandingAge: {"age_s": ("wavehouse_ingest_backlog_count_age_seconds", "How old these figures are.")},
    FeaturesAge: {"age_s": ("wavehouse_features_backlog_count_age_seconds", "How old these figures are.")},
}
#: What the scaler of infra/cluster follows.
SCALED = METRICS[Backlog]["core_s"][0]


def backlog(waiting: Iterable[tuple[int, datetime]], now: datetime, rates: Rates, kbit_s: float) -> Backlog:
    """The backlog of files given as size [bytes] and moment of arrival, at `now`, both with a time zone.

    How long a file plays is not known before it is decoded: `kbit_s` is the average bit rate of what is delivered.
    """
    files = list(waiting)
    size = sum(size for size, _ in files)
    audio_s = size * 8 / (kbit_s * KBIT)
    age_s = _age_s((arrived for _, arrived in files), now)
    return Backlog(len(files), size, age_s, audio_s * rates.core_s_per_audio_s)


def deliveries(since: Iterable[datetime], size_bytes: int, now: datetime) -> Deliveries:
    """The backlog of deliveries that wait since these moments, all with a time zone."""
    moments = list(since)
    return Deliveries(len(moments), size_bytes, _age_s(moments, now))


def features(pending: Iterable[tuple[int, datetime]], now: datetime, rates: Rates) -> Features:
    """The backlog of recordings given as duration [ms] and the moment since when they are there, with a time zone."""
    recordings = list(pending)
    audio_s = sum(duration_ms for duration_ms, _ in recordings) / 1000
    core_s = audio_s / rates.features_audio_s_per_core_s * (1 + rates.overhead)
    return Features(len(recordings), audio_s, _age_s((there for _, there in recordings), now), core_s)


def _age_s(moments: Iterable[datetime], now: datetime) -> float:
    return max((now - min(moments, default=now)).total_seconds(), 0.0)


def values(*found: Counts) -> dict[str, float]:
    """The value of each metric, by its name."""
    return {name: getattr(one, field) for one in found for field, (name, _) in METRICS[type(one)].items()}


def exposition(*found: Counts) -> str:
    """The backlog in Prometheus' text format (exposition format 0.0.4)."""
    meanings = dict(metric for one in found for metric in METRICS[type(one)].values())
    lines = []
    for name, value in values(*found).items():
        lines += [f"# HELP {name} {meanings[name]}", f"# TYPE {name} gauge", f"{name} {value}"]
    return "\n".join(lines) + "\n"
