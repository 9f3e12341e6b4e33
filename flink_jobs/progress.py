"""How far the stream job is: what the topics hold against what the lake and the live counts have."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flink_jobs import statements
from lakehouse.adapters import kafka, lake, window_loader
from lakehouse.adapters.flink import FlinkClient
from lakehouse.config.settings import Settings
from lakehouse.contracts import EVENT_TOPICS
from lakehouse.errors import RetryableError

POLL_SECONDS = 1.0
SAY_SECONDS = 5.0


@dataclass(frozen=True)
class Progress:
    """Records in the event topics, rows of them in the lake, records that are neither there nor among the dead letters,
    and window updates not live yet (counted to a limit).
    """

    records: dict[str, int]
    rows: dict[str, int]
    dead_letters: int
    missing: int
    windows_pending: int

    @property
    def done(self) -> bool:
        """Whether everything sent so far has arrived everywhere."""
        return self.missing == 0 and self.windows_pending == 0

    def line(self) -> str:
        """One line for people."""
        total = sum(self.records.values())
        return (
            f"{total - self.missing:,} of {total:,} records in the lake, {self.windows_pending:,} updates not yet live"
        )

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return asdict(self) | {"done": self.done}


def missing(records: Mapping[str, int], rows: Mapping[str, int], dead_letters: Mapping[str, int]) -> int:
    """Records of all topics that are in neither place; what one topic has too many fills no other."""
    return sum(max(count - rows[topic] - dead_letters.get(topic, 0), 0) for topic, count in records.items())


def measure(settings: Settings) -> Progress:
    """Compare end offsets with row counts, from metadata. Only when these agree is more looked at: dead letters by
    topic, then the windows.

    Raises:
        RetryableError: an engine does not answer.
    """
    # Ends first: what is read later can only be more.
    ends = {topic: sum(kafka.end_offsets(settings, topic).values()) for topic in EVENT_TOPICS}
    rows = {topic: lake.row_count(settings, f"bronze.{topic}") for topic in EVENT_TOPICS}
    dead = lake.row_count(settings, "bronze.dead_letters")
    left, waiting = sum(ends.values()) - sum(rows.values()) - dead, 0
    if left <= 0:
        topics = lake.read(settings, "bronze.dead_letters", columns=("topic",))["topic"]
        left = missing(ends, rows, Counter(topics.to_pylist()))
    if left == 0:
        # A lake commit follows a checkpoint, before which the job has flushed its windows to Kafka.
        waiting = window_loader.updates_pending(settings)
    return Progress(records=ends, rows=rows, dead_letters=dead, missing=left, windows_pending=waiting)


def wait(settings: Settings, *, timeout_seconds: float, say: Callable[[str], None]) -> Progress:
    """Wait until everything sent so far is in the lake and live; engines that are away are waited for.

    Raises:
        RetryableError: it did not happen in time; the hint says what the job does.
    """
    deadline = time.monotonic() + timeout_seconds
    next_line = 0.0
    problem = ""
    while True:
        try:
            found = measure(settings)
            if found.done:
                return found
            problem = found.line()
        except RetryableError as error:
            problem = error.message
        if time.monotonic() >= next_line:
            say(problem)
            next_line = time.monotonic() + SAY_SECONDS
        if time.monotonic() > deadline:
            raise RetryableError(
                f"Not everything arrived in {timeout_seconds:.0f} s: {problem}", hint=job_hint(settings)
            )
        time.sleep(POLL_SECONDS)


def job_hint(settings: Settings) -> str:
    """What the job is doing, as advice."""
    try:
        with FlinkClient(settings.flink.http) as flink:
            jobs = flink.jobs(statements.JOB_NAME)
            if not jobs or jobs[-1].ended:
                return "The stream job does not run; see `wavehouse logs flink-job`."
            cause = flink.root_cause(jobs[-1].id)
            return f"The stream job is {jobs[-1].state}" + (f", last failure: {cause}" if cause else "; wait longer.")
    except RetryableError as error:
        return error.hint
