"""Killing the stream in mid-run: bronze holds each record once, the minutes are exact, in Kafka and in ClickHouse."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flink_jobs.statements import JOB_NAME
from lakehouse.adapters import clickhouse, lake
from lakehouse.adapters.flink import FlinkClient
from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import Settings
from lakehouse.errors import RetryableError
from tests import stream_oracle
from tests.chaos.conftest import Victim

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

START = datetime(2026, 10, 1, tzinfo=UTC)
#: Plays a second while the victim lives, and plays sent after its death.
PACE = 400
AFTERWARDS = 3_000
COUNTRIES = ("DE", "US", "SE")
WINDOWS = {
    "plays": ("play_minutes", ("window_start", "track_id", "country", "user_id"), stream_oracle.play_windows),
    "ad_impressions": ("ad_minutes", ("window_start", "campaign_id", "country", "user_id"), stream_oracle.ad_windows),
}
#: Malformed (three), of a schema nobody registered, and of the schema of another topic (ids are given out from 1).
BAD_MESSAGES = (b"", b"\0\0", b"not avro at all", b"\0\0\0\xff\xf0rest", b"\0\0\0\0\1rest", b"\0\0\0\0\2rest")


def crowd(seed: int) -> Iterator[tuple[str, dict[str, Any] | bytes]]:
    """Plays without end, with ads and likes: repetitions, late, impossible and broken ones among them.

    Few tracks, countries and minutes, so that most minutes get several updates, from both before and after a kill.
    """
    rng = random.Random(seed)

    def new_id() -> str:
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))

    sent: list[dict[str, Any]] = []
    for number in itertools.count():
        user = rng.randrange(400)
        moment = START + timedelta(seconds=number * 8 % 86_400, microseconds=rng.randrange(1_000_000))
        late = timedelta(days=rng.randrange(30)) if rng.random() < 0.02 else timedelta()
        play = {
            "event_id": new_id(),
            "user_id": user,
            "track_id": int(5 * rng.random() ** 2),
            "session_id": new_id(),
            "played_at": moment - late,
            "received_at": moment,
            "ms_played": rng.randrange(200_000),
            "track_duration_ms": 200_000,
            "reason_start": "clickrow",
            "reason_end": "trackdone",
            "context": "album",
            "device": "phone",
            "user_agent": "Googlebot/2.1" if user % 50 == 0 else "wavehouse-ios/9",
            "tier": "free",
            "country": rng.choice(COUNTRIES),
            "time_zone": "Europe/Berlin",
            "is_offline": bool(late),
        }
        chance = rng.random()
        if chance < 0.01:
            play["ms_played"] = -1
        elif chance < 0.02:
            play["played_at"] = moment + timedelta(days=400)
        sent.append(play)
        yield "plays", play
        if rng.random() < 0.05:
            yield "plays", rng.choice(sent)
        if rng.random() < 0.002:
            yield "plays", rng.choice(BAD_MESSAGES)
        if number % 5 == 0:
            shown = {
                name: play[name] for name in ("user_id", "session_id", "received_at", "device", "user_agent", "country")
            }
            yield (
                "ad_impressions",
                shown
                | {
                    "event_id": new_id(),
                    "campaign_id": rng.randrange(5),
                    "creative_id": 1,
                    "shown_at": play["played_at"],
                    "cost_micros": rng.randrange(-50, 9_000),
                    "currency": "EUR",
                    "time_zone": "Europe/Berlin",
                },
            )
        if number % 20 == 0:
            like = {name: play[name] for name in ("user_id", "track_id", "received_at", "country")}
            yield "likes", like | {"event_id": new_id(), "is_liked": True, "liked_at": play["received_at"]}


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


def live_windows(settings: Settings, table: str, key: tuple[str, ...]) -> dict[Any, dict[str, int]]:
    """What ClickHouse answers, by key."""
    client = clickhouse.connect(settings, "reader")
    result = client.query(f"SELECT * FROM live.{table} FINAL", query_tz="UTC")  # noqa: S608 - names of ours
    found = {}
    for row in result.named_results():
        window = {name: value for name, value in row.items() if name not in ("kafka_partition", "version")}
        moment = window["window_start"]
        window["window_start"] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        found[tuple(window.pop(name) for name in key)] = window
    client.close()
    return found


def assert_exact(settings: Settings) -> None:
    """Every record of every topic is in the lake once, and all minutes equal those of the oracle."""
    undecodable = {}
    for topic in ("plays", "ad_impressions", "likes"):
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
            assert live_windows(settings, table, key) == wanted
    dead = lake.read(settings, "bronze.dead_letters").to_pylist()
    assert len(dead) == len(undecodable)
    assert {(d["topic"], d["kafka_partition"], d["kafka_offset"]): d["reason"] for d in dead} == undecodable


def row_sum(settings: Settings) -> int:
    return sum(lake.row_count(settings, f"bronze.{topic}") for topic in ("plays", "ad_impressions", "likes"))


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
