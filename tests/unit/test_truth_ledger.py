"""The ledger as files: what is written, when it is trusted, and what the commands say when something is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from lakehouse.adapters import finance_files, kafka, truth_ledger
from lakehouse.cli import simulate as simulate_cli
from lakehouse.config.settings import Settings, load_settings
from lakehouse.contracts import SIMULATED_TOPICS, load
from lakehouse.domain.royalties.pools import PoolKey, Revenue
from lakehouse.domain.royalties.revenue_file import parse
from lakehouse.domain.simulation import Scenario, Simulation, Tracks, simulate
from lakehouse.errors import FatalError, RejectedInputError, RetryableError

SCENARIO = Scenario(30, 5, date(2026, 10, 31), 1)
TRACKS = Tracks.from_catalog(
    pa.table(
        {
            "content_id": [5, 6],
            "duration_ms": [60_000, 90_000],
            "artist_id": [3, 4],
            "artist_name": ["a", "b"],
            "sha256": ["0", "1"],
        }
    )
)
IDS = {topic: topic.upper() for topic in SIMULATED_TOPICS}


@pytest.fixture(scope="module")
def made() -> Simulation:
    return simulate(SCENARIO, TRACKS)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))
    return load_settings()


def test_what_is_written_reads_back_with_the_contract_s_types(settings: Settings, made: Simulation) -> None:
    run = truth_ledger.write(settings, SCENARIO, TRACKS, made, topic_ids=IDS)
    assert run.is_intact()
    assert not run.is_produced
    assert [r.manifest for r in truth_ledger.runs(settings)] == [run.manifest]
    for topic in SIMULATED_TOPICS:
        table = run.table(topic)
        contract = load(f"topics.{topic}").arrow_schema()
        assert table.schema.names == [*contract.names, *truth_ledger.LABELS.names]
        assert [f.type for f in table.schema][: len(contract)] == contract.types
        assert table.num_rows == run.manifest["counts"][topic]["records"] == getattr(made, topic).num_rows
    assert run.manifest["arguments"]["end"] == "2026-10-31"
    assert run.manifest["topic_ids"] == IDS


def test_the_same_run_gives_the_same_files(settings: Settings, made: Simulation) -> None:
    first = truth_ledger.write(settings, SCENARIO, TRACKS, made, topic_ids=IDS)
    again = truth_ledger.write(settings, SCENARIO, TRACKS, simulate(SCENARIO, TRACKS), topic_ids=IDS)
    assert again.manifest == first.manifest
    assert [path.name for path in truth_ledger.folder(settings).iterdir()] == [SCENARIO.run_id]


def test_a_damaged_or_missing_file_is_noticed(settings: Settings, made: Simulation) -> None:
    run = truth_ledger.write(settings, SCENARIO, TRACKS, made, topic_ids=IDS)
    path = run.path / "likes.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"X")
    assert not run.is_intact()
    path.unlink()
    assert not run.is_intact()
    path.write_bytes(whole)
    assert run.is_intact()


def test_a_run_from_before_a_topic_has_sent_it_nothing(settings: Settings, made: Simulation) -> None:
    run = truth_ledger.write(settings, SCENARIO, TRACKS, made, topic_ids=IDS)
    counts = {topic: count for topic, count in run.manifest["counts"].items() if topic != "ad_clicks"}
    (run.path / "ad_clicks.parquet").unlink()
    older = truth_ledger.Run(run.path, run.manifest | {"counts": counts})
    assert older.table("ad_clicks").num_rows == 0
    assert older.table("ad_clicks", ["event_id", "defect"]).schema.names == ["event_id", "defect"]
    assert pa.concat_tables([older.table("likes"), truth_ledger._schema("likes").empty_table()]).num_rows > 0


class Sent:
    """Stands in for a producer: keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[dict[str, object]] = []
        self.keys: list[bytes] = []

    def batch_encoder(self, topic: str) -> Callable[[Iterable[dict[str, object]]], list[bytes]]:
        def encode(records: Iterable[dict[str, object]]) -> list[bytes]:
            given = list(records)
            self.records += given
            return [b"" for _ in given]

        return encode

    def send_encoded(self, topic: str, key: bytes, value: bytes) -> None:
        self.keys.append(key)


def test_what_a_record_does_not_have_is_sent_as_nothing(settings: Settings, made: Simulation) -> None:
    """And its other numbers stay whole."""
    run = truth_ledger.write(settings, SCENARIO, TRACKS, made, topic_ids=IDS)
    rows = run.table("playlist_edits")
    sent = Sent()
    truth_ledger._send(cast(kafka.EventProducer, sent), "playlist_edits", rows, 0)
    assert {record["edit"] for record in sent.records} >= {"create", "add"}
    for record, row in zip(sent.records, rows.to_pylist(), strict=True):
        for column in ("track_id", "position", "playlist_id"):
            assert (type(record[column]), record[column]) == (type(row[column]), row[column])
    assert sent.keys == [str(row["user_id"]).encode() for row in rows.to_pylist()]


def test_a_draft_is_no_run(settings: Settings, made: Simulation) -> None:
    run = truth_ledger.write(settings, SCENARIO, TRACKS, made, topic_ids=IDS)
    run.path.rename(run.path.with_name(f".{SCENARIO.run_id}.draft"))
    assert truth_ledger.find(settings, SCENARIO.run_id) is None


def test_produced_is_remembered(settings: Settings, made: Simulation) -> None:
    run = truth_ledger.mark_produced(truth_ledger.write(settings, SCENARIO, TRACKS, made, topic_ids=IDS))
    found = truth_ledger.find(settings, SCENARIO.run_id)
    assert found is not None
    assert found.is_produced
    assert found.manifest == run.manifest


def test_only_one_simulation_at_a_time(settings: Settings) -> None:
    held, refused = truth_ledger.locked(settings), truth_ledger.locked(settings)
    with held, pytest.raises(RetryableError, match="Another simulation"), refused:
        pass
    with truth_ledger.locked(settings):
        pass


@pytest.mark.parametrize("topic_ids", [{}, {"plays": "A"}])
def test_missing_topics_are_named(topic_ids: dict[str, str]) -> None:
    with pytest.raises(
        FatalError, match="ad_impressions, likes, follows, playlist_edits, ad_clicks, playback_telemetry"
    ) as caught:
        truth_ledger.require_topics(topic_ids)
    assert "wavehouse events init" in caught.value.hint


class Calls:
    """Stands in for Kafka and the lake where the question is only which of them is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, made: Simulation) -> None:
        self.ids = dict(IDS)
        self.simulated = self.produced = 0
        monkeypatch.setattr(kafka, "topic_ids", lambda *_: dict(self.ids))
        monkeypatch.setattr(truth_ledger, "produce", self._produce)

        def write(settings: Settings, scenario: Scenario, topic_ids: dict[str, str], _: object) -> truth_ledger.Run:
            self.simulated += 1
            return truth_ledger.write(settings, scenario, TRACKS, made, topic_ids=topic_ids)

        monkeypatch.setattr(simulate_cli, "_write", write)

    def _produce(self, *_: object) -> int:
        self.produced += 1
        return 17

    def run(self, *extra: str) -> dict[str, object]:
        arguments = ["plays", "--users", "30", "--days", "5", "--seed", "1", "--json", *extra]
        done = CliRunner().invoke(simulate_cli.app, arguments, catch_exceptions=False)
        assert done.exit_code == 0
        answer: dict[str, object] = json.loads(done.stdout)
        return answer


def test_a_run_is_sent_once_and_again_only_for_new_topics(
    settings: Settings, made: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch, made)
    assert calls.run()["sent"] == 17
    assert calls.run()["sent"] == 0
    assert (calls.simulated, calls.produced) == (1, 1)
    # Topics made anew hold nothing of it, and the catalogue may have other ids by now.
    calls.ids["plays"] = "Z"
    assert calls.run()["sent"] == 17
    assert (calls.simulated, calls.produced) == (2, 2)
    assert calls.run("--no-bad-events")["run_id"] == "30u-5d-2026-10-31-s1-clean"
    assert calls.simulated == 3


def test_a_run_from_before_some_topics_is_not_made_again_for_them(
    settings: Settings, made: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch, made)
    run = truth_ledger.mark_produced(truth_ledger.write(settings, SCENARIO, TRACKS, made, topic_ids=IDS))
    later = ("follows", "playlist_edits", "ad_clicks", "playback_telemetry")
    older = {
        name: {key: value for key, value in run.manifest[name].items() if key.removesuffix(".parquet") not in later}
        for name in ("counts", "files", "topic_ids")
    }
    for topic in later:
        (run.path / f"{topic}.parquet").unlink()
    (run.path / "manifest.json").write_text(json.dumps(run.manifest | older))
    answer = calls.run()
    assert (answer["sent"], calls.simulated, calls.produced) == (0, 0, 0)
    assert answer["counts"] == older["counts"]
    # One of its own topics that is another, or gone, is what it was.
    calls.ids["likes"] = "Z"
    assert calls.run()["sent"] == 17
    assert (calls.simulated, calls.produced) == (1, 1)


def test_an_interrupted_run_is_sent_from_the_ledger_and_a_damaged_ledger_is_written_again(
    settings: Settings, made: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch, made)
    run = truth_ledger.write(settings, SCENARIO, TRACKS, made, topic_ids=IDS)
    assert calls.run()["sent"] == 17
    assert calls.simulated == 0
    (run.path / "plays.parquet").write_bytes(b"")
    calls.run()
    assert calls.simulated == 1


def test_a_bad_month_and_the_right_one_again(settings: Settings) -> None:
    right = [
        Revenue(PoolKey("2026-10", c, "premium", u), n, 0, 1, 1, 3)
        for c, u, n in (("GB", "GBP", 7), ("IN", "INR", 11), ("KW", "KWD", 4))
    ]
    (path,) = finance_files.deliver_truth(settings, right)
    assert parse(path.read_text(), name="f") == right

    def deliver(option: str) -> None:
        assert (
            CliRunner().invoke(simulate_cli.app, ["revenue", option, "2026-10"], catch_exceptions=False).exit_code == 0
        )

    deliver("--bad")
    assert parse(path.read_text(), name="f") == [
        Revenue(PoolKey("2026-10", "GB", "premium", "EUR"), 7, 0, 1, 1, 3),
        Revenue(PoolKey("2026-10", "IN", "premium", "INR"), 1100, 0, 100, 100, 3),
    ]
    deliver("--good")
    assert parse(path.read_text(), name="f") == right


def test_revenue_needs_its_simulation(settings: Settings) -> None:
    for arguments, error in (
        (["revenue"], FatalError),
        (["revenue", "--bad", "2026-09"], FatalError),
        (["revenue", "--bad", "2026-09", "--good", "2026-09"], RejectedInputError),
    ):
        with pytest.raises(error):
            CliRunner().invoke(simulate_cli.app, arguments, catch_exceptions=False)


def test_kafka_that_is_away_is_a_passing_condition(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "REQUEST_TIMEOUT_S", 0.5)
    away = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"port": 9})})
    for attempt in (kafka.EventProducer, kafka.init_topics, lambda s: kafka.end_offsets(s, "plays")):
        with pytest.raises(RetryableError, match="does not answer") as caught:
            attempt(away)
        assert "wavehouse up" in caught.value.hint
