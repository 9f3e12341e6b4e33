"""How far the stream job is: what the topics hold against what the lake and the live counts have."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from flink_jobs import statements
from lakehouse.adapters import kafka, lake, window_loader
from lakehouse.adapters.flink import FlinkClient
from lakehouse.config.settings import Settings
from lakehouse.errors import RetryableError

POLL_SECONDS = 1.0
SAY_SECONDS = 5.0


@dataclass(frozen=True)
class Progress:
    """Records, rows of them in the lake and dead letters by topic; and window updates not live yet (to a limit)."""

    records: dict[str, int]
    rows: dict[str, int]
    dead_letters: dict[str, int]
    windows_pending: int

    @property
    def missing(self) -> int:
        """Records that are neither in bronze nor among the dead letters; what one topic has too many fills no other."""
        left = (count - self.rows[topic] - self.dead_letters.get(topic, 0) for topic, count in self.records.items())
        return sum(max(count, 0) for count in left)

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
        return asdict(self) | {"missing": self.missing, "done": self.done}


def measure(settings: Settings) -> Progress:
    """Compare end offsets with row counts and dead letters. Windows are looked at only when nothing else is missing.

    Raises:
        RetryableError: an engine does not answer.
    """
    # Ends first: what is read later can only be more.
    ends = {topic: sum(kafka.end_offsets(settings, topic).values()) for topic in statements.TOPICS}
    rows = {topic: lake.row_count(settings, f"bronze.{topic}") for topic in statements.TOPICS}
    dead = Counter(lake.read(settings, "bronze.dead_letters", columns=("topic",))["topic"].to_pylist())
    found = Progress(records=ends, rows=rows, dead_letters=dict(dead), windows_pending=0)
    if found.missing == 0:
        # A lake commit follows a checkpoint, before which the job has flushed its windows to Kafka.
        pending = window_loader.pending(settings, topics=window_loader.TOPICS)
        found = replace(found, windows_pending=sum(p.records + p.uncommitted for p in pending.values()))
    return found


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
