"""Killing the stream in mid-run: from Kafka to the daily marts everything holds what was sent, once."""

from __future__ import annotations

import threading
import time

import pytest

from flink_jobs.statements import JOB_NAME, configuration
from lakehouse.adapters.flink import FlinkClient
from lakehouse.config.settings import Settings
from lakehouse.errors import RetryableError
from tests.chaos.conftest import AWAY_S, SEEDS, Victim
from tests.chaos.crowd import crowd
from tests.chaos.draws import Death, death
from tests.chaos.exactness import assert_exact, assert_silver_and_days
from tests.chaos.truth import Truth
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

#: Records a second while the victim lives, and records sent after its death.
PACE = 400
AFTERWARDS = 3_000


def send(settings: Settings, truth: Truth, dying: Death, *, due: threading.Event, killed: threading.Event) -> None:
    """Send at an even pace until something is killed, and then some more at full speed; `due` is set as soon as the
    moment may be looked for.
    """
    started = time.monotonic()
    last = None
    with truth.sending(settings) as to:
        for number, (topic, event) in enumerate(crowd(dying.seed)):
            to.send(topic, event)
            if number == dying.records:
                due.set()
            if killed.is_set():
                last = last or number + AFTERWARDS
                if number == last:
                    return
            elif number % 50 == 0:
                killed.wait(max(number / PACE - (time.monotonic() - started), 0))


def checkpoint_number(settings: Settings) -> int:
    """Number of the newest completed checkpoint of the running job, 0 while there is none."""
    try:
        with FlinkClient(settings.flink.http) as flink:
            running = [job for job in flink.jobs(JOB_NAME) if not job.ended]
            return flink.checkpoints(running[-1].id).newest_id if running else 0
    except RetryableError:
        return 0


def await_checkpoint(settings: Settings, *, after: int, seconds: float = 240) -> int:
    deadline = time.monotonic() + seconds
    while (number := checkpoint_number(settings)) <= after:
        assert time.monotonic() < deadline, f"no checkpoint after {after} in {seconds} s"
        time.sleep(0.02)
    return number


def interval_s(settings: Settings) -> float:
    """From the beginning of one checkpoint to that of the next [s]."""
    return float(configuration(settings)["execution.checkpointing.interval"].removesuffix(" s"))


#: The short set: every engine of the stream dies once, at moments that their seeds draw.
FIXED = {
    "task manager": death(1, ("flink-taskmanager",)),
    "job manager": death(2, ("flink-jobmanager",)),
    "kafka and lake": death(3, ("kafka", "minio", "postgres")),
    "everything": death(
        4, ("flink-job", "flink-jobmanager", "flink-taskmanager", "kafka", "registry", "clickhouse", "loader")
    ),
}


@pytest.mark.parametrize(
    "dying",
    [
        *(pytest.param(drawn, id=f"{name}, {drawn}") for name, drawn in FIXED.items()),
        *(pytest.param(drawn, id=str(drawn)) for drawn in (death(100 + number) for number in range(SEEDS))),
    ],
)
def test_killed_in_mid_run_loses_nothing_and_counts_nothing_twice(victim: Victim, truth: Truth, dying: Death) -> None:
    settings = victim.settings
    pids = victim.pids()
    await_checkpoint(settings, after=0)
    failures: list[BaseException] = []
    due, killed = threading.Event(), threading.Event()

    def sender() -> None:
        try:
            send(settings, truth, dying, due=due, killed=killed)
        except BaseException as error:  # shown by the test, not lost with the thread
            failures.append(error)
            due.set()

    sending = threading.Thread(target=sender)
    sending.start()
    try:
        assert due.wait(240), f"{dying.records} records are not sent in 240 s"
        assert not failures, failures
        await_checkpoint(settings, after=await_checkpoint(settings, after=0))
        # Time itself is what is tried here: anywhere between two checkpoints.
        threading.Event().wait(dying.share * interval_s(settings))
        victim.kill([pids[name] for name in dying.services])
    finally:
        killed.set()
        sending.join()
    assert not failures, failures
    victim.command("stream", "wait", "--timeout", "600")
    assert_exact(settings, truth)

    def replaced() -> bool:
        now = victim.pids()
        return all(now.get(name) not in (None, pids[name]) for name in dying.services)

    until(replaced, "each killed service runs again", seconds=AWAY_S)
    # dbt takes most of a minute: the short set looks at silver and marts once, after all of it.
    if SEEDS or dying == list(FIXED.values())[-1]:
        assert_silver_and_days(victim, truth)
