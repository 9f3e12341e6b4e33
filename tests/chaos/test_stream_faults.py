"""Killing the stream in mid-run: bronze holds each record once, the minutes are exact, in Kafka and in ClickHouse."""

from __future__ import annotations

import os
import random
import threading
import time
from datetime import UTC
from typing import Any

import pytest

from flink_jobs.statements import JOB_NAME
from lakehouse.adapters import clickhouse, lake
from lakehouse.adapters.flink import FlinkClient
from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import Settings
from lakehouse.contracts import EVENT_TOPICS
from lakehouse.errors import RetryableError
from tests import stream_oracle
from tests.chaos.conftest import Victim
from tests.chaos.crowd import crowd

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

#: Plays a second while the victim lives, and plays sent after its death.
PACE = 400
AFTERWARDS = 3_000
WINDOWS = {
    "plays": ("play_minutes", ("window_start", "track_id", "country", "user_id"), stream_oracle.play_windows),
    "ad_impressions": ("ad_minutes", ("window_start", "campaign_id", "country", "user_id"), stream_oracle.ad_windows),
}


def send(settings: Settings, seed: int, killed: threading.Event) -> None:
    """Send at an even pace until something is killed, and then some more at full speed."""
    started = time.monotonic()
    last = None
    with EventProducer(settings) as producer:
        for number, (topic, event) in enumerate(crowd(seed)):
            if isinstance(event, bytes):
                producer.send_encoded(topic, b"0", event)
            else:
                producer.send(topic, event)
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


def live_windows(settings: Settings, table: str, key: tuple[str, ...], *, final: str = "FINAL") -> list[Any]:
    """Rows that ClickHouse answers with, as pairs of key and counts."""
    client = clickhouse.connect(settings, "reader")
    result = client.query(f"SELECT * FROM live.{table} {final}", query_tz="UTC")  # noqa: S608 - names of ours
    found = []
    for row in result.named_results():
        window = {name: value for name, value in row.items() if name not in ("kafka_partition", "version")}
        moment = window["window_start"]
        window["window_start"] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        found.append((tuple(window.pop(name) for name in key), window))
    client.close()
    return found


def merge(settings: Settings, table: str) -> None:
    """Let ClickHouse replace all rows now that it would replace some day."""
    client = clickhouse.connect(settings, "loader")
    client.command(f"OPTIMIZE TABLE live.{table} FINAL")
    client.close()


def assert_exact(settings: Settings) -> None:
    """Every record of every topic is in the lake once, and all minutes equal those of the oracle."""
    undecodable = {}
    for topic in EVENT_TOPICS:
        expected = stream_oracle.decoded(settings, topic)
        undecodable |= {(topic, *place): reason for place, reason in expected.undecodable.items()}
        rows = lake.read(settings, f"bronze.{topic}", columns=("kafka_partition", "kafka_offset", "event_id"))
        places = list(zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True))
        assert len(places) == len(set(places)), f"{topic}: {len(places) - len(set(places))} rows twice"
        assert set(places) == expected.places
        assert sorted(rows["event_id"].to_pylist()) == sorted(event["event_id"] for event in expected.events)
        if topic in WINDOWS:
            table, key, compute = WINDOWS[topic]
            wanted = compute(expected.events)
            assert stream_oracle.published_windows(settings, table, key) == wanted
            deduplicated = live_windows(settings, table, key)
            assert (len(deduplicated), dict(deduplicated)) == (len(wanted), wanted)
            # After merges a plain count, without FINAL, is the same.
            merge(settings, table)
            plain = live_windows(settings, table, key, final="")
            assert (len(plain), dict(plain)) == (len(wanted), wanted)
    dead = lake.read(settings, "bronze.dead_letters").to_pylist()
    assert len(dead) == len(undecodable)
    assert {(d["topic"], d["kafka_partition"], d["kafka_offset"]): d["reason"] for d in dead} == undecodable


def row_sum(settings: Settings) -> int:
    return sum(lake.row_count(settings, f"bronze.{topic}") for topic in EVENT_TOPICS)


#: What the long run (`make chaos SEEDS=200`) picks from; `flink-job` is the supervisor of the job.
MORTAL = (
    "flink-taskmanager",
    "flink-jobmanager",
    "flink-job",
    "kafka",
    "registry",
    "clickhouse",
    "loader",
    "minio",
    "postgres",
)


def drawn(seed: int) -> Any:
    """One to three services that the seed picks, as a case of the test below."""
    chance = random.Random(seed)
    services = chance.sample(MORTAL, chance.randint(1, 3))
    return pytest.param(seed, services, id=f"seed {seed}: {', '.join(services)}")


@pytest.mark.parametrize(
    ("seed", "services"),
    [
        pytest.param(1, ["flink-taskmanager"], id="task manager"),
        pytest.param(2, ["flink-jobmanager"], id="job manager"),
        pytest.param(3, ["kafka", "minio", "postgres"], id="kafka and lake"),
        pytest.param(
            4,
            ["flink-job", "flink-jobmanager", "flink-taskmanager", "kafka", "registry", "clickhouse", "loader"],
            id="everything",
        ),
        *(drawn(100 + number) for number in range(int(os.environ.get("WAVEHOUSE_CHAOS_SEEDS", "0")))),
    ],
)
def test_killed_in_mid_run_loses_nothing_and_counts_nothing_twice(
    victim: Victim, seed: int, services: list[str]
) -> None:
    settings = victim.settings
    pids = victim.pids()
    before_rows, number = row_sum(settings), await_checkpoint(settings, after=0)
    failures: list[BaseException] = []
    killed = threading.Event()

    def sender() -> None:
        try:
            send(settings, seed, killed)
        except BaseException as error:  # shown by the test, not lost with the thread
            failures.append(error)

    sending = threading.Thread(target=sender)
    sending.start()
    try:
        while row_sum(settings) == before_rows:
            number = await_checkpoint(settings, after=number)
        # The sharpest moment: Flink has completed a checkpoint, Iceberg has not committed its files yet.
        await_checkpoint(settings, after=number)
        victim.kill([pids[name] for name in services])
    finally:
        killed.set()
        sending.join()
    assert not failures, failures
    victim.command("stream", "wait", "--timeout", "600")
    assert_exact(settings)
    now = victim.pids()
    assert all(now.get(name) != pids[name] for name in services), "a killed service was not replaced"
