"""What the ledger says is in the topics: nothing lost, nothing doubled, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from lakehouse.adapters import kafka, truth_ledger
from lakehouse.adapters.avro_registry import SchemaRegistry
from lakehouse.adapters.kafka import EventProducer
from lakehouse.adapters.truth_ledger import Run
from lakehouse.config.settings import CHECKOUT, Settings
from lakehouse.contracts import SIMULATED_TOPICS, load
from lakehouse.domain.simulation import Scenario, Tracks, simulate
from lakehouse.errors import FatalError, RejectedInputError, RetryableError
from tests.conftest import WAVEHOUSE
from tests.integration.broker import Broker
from tests.stream_oracle import records

pytestmark = pytest.mark.stack

SCENARIO = Scenario(users=500, days=30, end=date(2026, 10, 31), seed=3)
ARGUMENTS = ("--users", "500", "--days", "30", "--end", "2026-10-31", "--seed", "3")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def own(stack: Settings, broker: Broker, tmp_path: Path) -> Settings:
    """The stack's registry with a broker and a home folder of the test's own, and topics made anew."""
    settings = stack.model_copy(
        update={"home": tmp_path / "home", "kafka": stack.kafka.model_copy(update={"port": broker.port})}
    )
    admin = AdminClient(kafka.client_config(settings))
    for deleted in admin.delete_topics([contract.name for contract in kafka.topic_contracts()]).values():
        with suppress(KafkaException):  # the first test finds none
            deleted.result(30)
    wait_for_topics(settings)
    kafka.init_subjects(settings)
    return settings


@retry(retry=retry_if_result(lambda complete: not complete), stop=stop_after_delay(60), wait=wait_fixed(0.2))
def wait_for_topics(settings: Settings) -> bool:
    """Deletion goes on for a moment after it was acknowledged."""
    with suppress(RetryableError):
        kafka.init_topics(settings)
    return set(kafka.topic_ids(settings, SIMULATED_TOPICS)) == set(SIMULATED_TOPICS)


@pytest.fixture
def run(own: Settings) -> Run:
    """A simulation written down and not yet sent, on a catalogue that needs no lake."""
    catalogue = pa.table(
        {
            "content_id": [1000 + n for n in range(12)],
            "duration_ms": [40_000 + 20_000 * n for n in range(12)],
            "artist_id": [n % 4 for n in range(12)],
            "artist_name": [f"artist {n % 4}" for n in range(12)],
            "sha256": [f"{n:064x}" for n in range(12)],
        }
    )
    tracks = Tracks.from_catalog(catalogue)
    ids = kafka.topic_ids(own, SIMULATED_TOPICS)
    return truth_ledger.write(own, SCENARIO, tracks, simulate(SCENARIO, tracks), topic_ids=ids)


def sent(settings: Settings) -> int:
    return sum(sum(kafka.end_offsets(settings, topic).values()) for topic in SIMULATED_TOPICS)


def command(settings: Settings) -> subprocess.Popen[str]:
    """`wavehouse simulate plays` as a process of its own."""
    environment = os.environ | {"WAVEHOUSE_HOME": str(settings.home), "WAVEHOUSE_KAFKA__PORT": str(settings.kafka.port)}
    return subprocess.Popen(
        [WAVEHOUSE, "simulate", "plays", *ARGUMENTS, "--json"],
        env=environment,
        cwd=CHECKOUT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    answer: dict[str, Any] = json.loads(out)
    return answer


@retry(retry=retry_if_result(lambda reached: not reached), stop=stop_after_delay(120), wait=wait_fixed(0.02))
def wait_for_records(settings: Settings, number: int) -> bool:
    return sent(settings) >= number


def expected(run: Run, topic: str) -> tuple[Counter[str], Counter[str]]:
    """How often each event id must be readable, and how many records must be unreadable for each reason."""
    table = run.table(topic).select(["event_id", "defect"]).to_pylist()
    unreadable = ("malformed", "unknown_schema")
    readable = Counter(str(row["event_id"]) for row in table if row["defect"] not in unreadable)
    return readable, Counter(str(row["defect"]) for row in table if row["defect"] in unreadable)


def actual(settings: Settings, topic: str) -> tuple[list[dict[str, Any]], Counter[str]]:
    """What can be read from a topic, in order within each partition, and the reasons why the rest cannot."""
    rows, unreadable = [], Counter[str]()
    with SchemaRegistry(settings.registry.http) as registry:
        for message in records(settings, topic):
            try:
                record = registry.decode(message.value() or b"").record
            except RejectedInputError as error:
                unreadable[error.reason] += 1
                continue
            assert message.key() == str(record["user_id"]).encode()
            rows.append(record | {"event_id": str(record["event_id"]), "partition": message.partition()})
    return rows, unreadable


def test_topics_hold_the_ledger_record_by_record(own: Settings, run: Run) -> None:
    assert truth_ledger.produce(own, run) == sum(c["records"] for c in run.manifest["counts"].values())
    for topic in SIMULATED_TOPICS:
        rows, unreadable = actual(own, topic)
        readable, bad = expected(run, topic)
        assert Counter(row["event_id"] for row in rows) == readable
        assert unreadable == bad
        contract = load(f"topics.{topic}")
        names = contract.arrow_schema().names
        ledger = run.table(topic, ["defect", *names]).to_pylist()
        written = {(row["event_id"], row["received_at"]): row for row in ledger}
        for row in rows:
            truth = written[row["event_id"], row["received_at"]]
            texts = {column.name: str(row[column.name]) for column in contract.columns if column.type == "uuid"}
            assert {name: (row | texts)[name] for name in names} == {name: truth[name] for name in names}
        # Within a partition records come as they were received, and a user never changes partition.
        received: dict[int, Any] = {}
        for row in rows:
            assert row["received_at"] >= received.get(row["partition"], row["received_at"])
            received[row["partition"]] = row["received_at"]
        assert len({(row["user_id"], row["partition"]) for row in rows}) == len({row["user_id"] for row in rows})
        assert set(received) == {0, 1, 2, 3}


def test_a_killed_simulation_sends_the_same_events_again_and_then_nothing(own: Settings, run: Run) -> None:
    process = command(own)
    wait_for_records(own, 5_000)
    process.kill()
    process.communicate(timeout=60)
    total = sum(c["records"] for c in run.manifest["counts"].values())
    assert 0 < sent(own) < total, "it was killed too late to show anything"
    found = truth_ledger.find(own, SCENARIO.run_id)
    assert found is not None
    assert found.manifest == run.manifest

    again = result(command(own))
    assert (again["state"], again["sent"]) == ("produced", total)
    for topic in SIMULATED_TOPICS:
        rows, unreadable = actual(own, topic)
        readable, bad = expected(run, topic)
        assert {row["event_id"] for row in rows} == set(readable)
        assert set(unreadable) == set(bad)

    before = sent(own)
    third = result(command(own))
    assert (third["state"], third["sent"]) == ("produced", 0)
    assert sent(own) == before


def test_a_killed_broker_loses_and_doubles_nothing(own: Settings, run: Run, broker: Broker) -> None:
    process = command(own)
    wait_for_records(own, 5_000)
    broker.kill()
    broker.start()
    assert result(process)["state"] == "produced"
    for topic in SIMULATED_TOPICS:
        rows, unreadable = actual(own, topic)
        assert (Counter(row["event_id"] for row in rows), unreadable) == expected(run, topic)


def test_a_message_beyond_all_limits_and_a_record_of_another_shape_are_refused(own: Settings) -> None:
    with EventProducer(own) as producer:
        with pytest.raises(FatalError, match="too large"):
            producer.send_encoded("plays", b"1", b"\x00" * 20_000_000)
        with pytest.raises(RejectedInputError) as caught:
            producer.send("plays", {"event_id": "not enough"})
        assert caught.value.reason == "incompatible_schema"
        producer.send("likes", run_like := like(7))
    rows, _ = actual(own, "likes")
    assert [row["event_id"] for row in rows] == [run_like["event_id"]]


def like(user_id: int) -> dict[str, Any]:
    moment = 1_793_491_199_999_999
    return {
        "event_id": "019fc4fc-7a07-73ec-8db6-cbff78a3dc36",
        "user_id": user_id,
        "track_id": 1000,
        "is_liked": True,
        "liked_at": moment,
        "received_at": moment + 5,
        "country": "SE",
    }
