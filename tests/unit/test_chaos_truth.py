"""What the chaos tests compare with: the crowd sends all there is, draws are the seed's, and a loss shows."""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from uuid import UUID

import duckdb
import fastavro
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from infra.local.supervise import log_file
from lakehouse.adapters import clickhouse
from lakehouse.config.settings import load_settings
from lakehouse.contracts import EVENT_TOPICS, load
from lakehouse.domain.listening.rules import artificial_rules, royalty_bearing_sql
from lakehouse.errors import RetryableError
from tests import model_sql, stream_oracle
from tests.chaos import crowd as crowds
from tests.chaos.crowd import BAD_MESSAGES, crowd
from tests.chaos.draws import MORTAL, PRODUCER_PACE, PRODUCER_SECONDS, RECORDS, death, producer_death
from tests.chaos.exactness import MARTS, WINDOWS
from tests.chaos.test_stream_outages import refused
from tests.chaos.truth import Truth
from tests.stream_oracle import Reading, same

AT = datetime(2026, 10, 1, 12, tzinfo=UTC)


def events_of(seed: int, count: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {topic: [] for topic in EVENT_TOPICS}
    for topic, event in itertools.islice(crowd(seed), count):
        if isinstance(event, dict):
            found[topic].append(event)
    return found


# The crowd


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 22])
def test_the_crowd_sends_every_topic_soon_and_as_its_contract_says(seed: int) -> None:
    for topic, events in events_of(seed, 500).items():
        assert events, topic
        schema = fastavro.parse_schema(load(f"topics.{topic}").avro_schema())
        names = {field["name"] for field in schema["fields"]}
        for event in events:
            assert event.keys() <= names
            buffer = io.BytesIO()
            fastavro.schemaless_writer(buffer, schema, event)
            buffer.seek(0)
            read = fastavro.schemaless_reader(buffer, schema, None)
            wanted = stream_oracle.fingerprint(dict.fromkeys(names) | event)
            assert stream_oracle.fingerprint(read) == wanted


def test_the_crowd_is_the_same_for_a_seed_and_another_for_another() -> None:
    first = list(itertools.islice(crowd(1), 1_000))
    assert list(itertools.islice(crowd(1), 1_000)) == first
    ids = [{e["event_id"] for events in events_of(seed, 1_000).values() for e in events} for seed in (1, 2)]
    assert not ids[0] & ids[1]


#: Seeds of the tests; each may run alone.
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 22, 23, 24, *range(1_000, 1_020)])
def test_the_crowd_makes_every_kind_of_trouble_soon(seed: int) -> None:
    sent = list(itertools.islice(crowd(seed), 3_000))
    bad = {event for _, event in sent if isinstance(event, bytes)}
    assert bad
    assert bad <= set(BAD_MESSAGES)
    events = events_of(seed, 3_000)
    for topic in EVENT_TOPICS if seed < 5 else WINDOWS:
        assert len(stream_oracle.distinct(events[topic])) < len(events[topic]), f"{topic}: no copies"
    assert {reason for _, reason in stream_oracle.rejected("plays", events["plays"])} >= {
        "negative_ms_played",
        "played_at_in_future",
    }
    assert stream_oracle.rejected("ad_impressions", events["ad_impressions"])
    plays = stream_oracle.valid("plays", events["plays"])
    assert max(e["received_at"] - e["played_at"] for e in plays) > timedelta(days=20)
    assert {e["tier"] for e in plays} == {"free", "premium"}
    assert any(stream_oracle.is_bot(e) for e in plays)


# Draws


def test_a_seed_draws_who_dies_and_when() -> None:
    deaths = [death(seed) for seed in range(300)]
    assert [death(seed) for seed in range(300)] == deaths
    assert {name for drawn in deaths for name in drawn.services} == set(MORTAL)
    assert all(1 <= len(set(drawn.services)) <= 3 for drawn in deaths)
    assert len({drawn.records for drawn in deaths}) > 200
    assert all(RECORDS[0] <= drawn.records <= RECORDS[1] and 0 <= drawn.share < 1 for drawn in deaths)
    # A good part at the sharpest moment, the others everywhere.
    shares = Counter(int(drawn.share * 4) for drawn in deaths if drawn.share)
    assert 60 < 300 - shares.total() < 140
    assert min(shares[quarter] for quarter in range(4)) > 20
    assert death(7, ("kafka",)).records == death(7).records
    assert str(death(7, ("kafka",))).startswith("seed 7: kafka after ")


def test_a_seed_draws_when_a_producer_dies() -> None:
    deaths = [producer_death(seed, events=3_000) for seed in range(200)]
    assert [producer_death(seed, events=3_000) for seed in range(200)] == deaths
    assert {drawn.acknowledged for drawn in deaths} == set(range(100, 1_500, 100))
    assert all(0 <= drawn.seconds <= PRODUCER_SECONDS for drawn in deaths)
    assert "acknowledged" in str(deaths[0])


def test_a_producer_keeps_its_pace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its clock, which goes on with its sleep alone, shows when each hundred is acknowledged."""
    clock, acknowledged = SimpleNamespace(now=0.0), []

    class Producer:
        def __init__(self, _: object) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def send(self, *_: object) -> None:
            pass

        send_encoded = send

        def flush(self) -> None:
            acknowledged.append(clock.now)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(crowds, "EventProducer", Producer)
    monkeypatch.setattr(crowds, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    crowds.main(1, 250, PRODUCER_PACE)
    assert acknowledged == pytest.approx([number / PRODUCER_PACE for number in (100, 200, 250)])
    crowds.main(1, 250)
    assert acknowledged[3:] == [clock.now] * 3
    assert capsys.readouterr().out.split() == ["100", "200", "250"] * 2


# Outages


def test_a_full_disk_is_told_by_the_loader_and_not_by_its_lag(tmp_path: Path) -> None:
    settings = load_settings("test").model_copy(update={"home": tmp_path})
    log = log_file(settings, "loader")
    log.parent.mkdir(parents=True)

    def said(message: str, code: int) -> str:
        """What the loader says of an error of ClickHouse."""
        with pytest.raises(RetryableError) as caught, clickhouse.translated_errors(settings.clickhouse.address):
            raise DatabaseError(message, code=code)
        return f"{caught.value.message} Trying again in 0.5 s.\n"

    full = (
        "Received ClickHouse exception, code: 75, server response: Code: 75. DB::ErrnoException: Cannot write to file"
    )
    busy = "Received ClickHouse exception, code: 202, server response: Code: 202. DB::Exception: Too many queries"
    log.write_text(said(full, 75))
    before = log.stat().st_size
    with log.open("a") as more:
        more.write(f"play_minutes: 75 rows in 0.10 s\n{said(busy, 202)}")
    assert not refused(settings, before)
    with log.open("a") as more:
        more.write(said(full, 75))
    assert refused(settings, before)


# What was sent, beside what Kafka holds


def reading(offset: int, value: bytes, event: dict[str, Any] | None = None) -> Reading:
    return Reading((0, offset), value, event, None if event else "malformed")


def truth_of(*messages: bytes) -> Truth:
    """One record was there before, these were sent since."""
    truth = Truth(begins={"likes": {0: 1}})
    truth.acknowledge(("likes", message, message) for message in messages)
    return truth


def kafka(*messages: bytes) -> list[Reading]:
    return [reading(offset, message) for offset, message in enumerate((b"before", *messages))]


def test_what_was_sent_is_handed_through() -> None:
    readings = kafka(b"a", b"b", b"a")
    assert list(truth_of(b"a", b"a", b"b").check_kafka("likes", readings)) == readings


@pytest.mark.parametrize(
    ("sent", "held", "says"),
    [
        pytest.param((b"a", b"b"), kafka(b"a"), "lost 1, and it has 0", id="acknowledged and lost"),
        pytest.param((b"a", b"a"), kafka(b"a"), "lost 1, and it has 0", id="one of two copies lost"),
        pytest.param((b"a",), kafka(b"a", b"a"), "lost 0, and it has 1", id="doubled"),
        pytest.param((b"a",), kafka(b"b"), "lost 1, and it has 1", id="changed"),
        pytest.param((), kafka(), "nothing was sent", id="nothing to compare"),
        pytest.param((b"a",), [reading(1, b"a")], "from before are lost", id="what was there before is lost"),
    ],
)
def test_what_kafka_lost_or_doubled_shows(sent: tuple[bytes, ...], held: list[Reading], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        list(truth_of(*sent).check_kafka("likes", held))


def test_what_a_dead_producer_sent_may_be_there_once_more() -> None:
    event = {"event_id": "1", "received_at": AT}
    for held in (kafka(b"a"), [*kafka(b"a"), reading(2, b"b", event)]):
        truth = truth_of(b"a")
        truth.suspect([("likes", event, b"b")])
        list(truth.check_kafka("likes", held))
        assert truth.events["likes"] == [{"event_id": "1"}] * (len(held) - 2)
        # From now on it is certain.
        list(truth.check_kafka("likes", held))
        with pytest.raises(AssertionError, match="it has 1 that nobody sent"):
            list(truth.check_kafka("likes", [*held, reading(3, b"b", event)]))
    truth = truth_of(b"a")
    truth.suspect([("likes", event, b"b")])
    with pytest.raises(AssertionError, match="it has 1 that nobody sent"):
        list(truth.check_kafka("likes", [*kafka(b"a"), reading(2, b"b", event), reading(3, b"b", event)]))


def test_the_truth_keeps_what_the_oracle_computes_from() -> None:
    truth = Truth()
    events = events_of(5, 3_000)
    truth.acknowledge((topic, event, b"") for topic, some in events.items() for event in some)
    kept, sent = (
        {topic: stream_oracle.valid(topic, found[topic]) for topic in EVENT_TOPICS} for found in (truth.events, events)
    )
    for topic, (_, _, compute) in WINDOWS.items():
        assert compute(kept[topic]) == compute(sent[topic]) != {}
    for _, _, compute in MARTS.values():
        assert compute(kept) == compute(sent) != {}
    assert truth.received == (AT.date(), AT.date())


@pytest.mark.parametrize(
    ("got", "says"),
    [
        ({}, "2 are lost"),
        ({1: 1}, "1 are lost"),
        ({1: 1, 2: 2, 3: 3}, "1 are extra"),
        ({1: 1, 2: 3}, "1 differ"),
    ],
)
def test_a_difference_shows(got: dict[int, int], says: str) -> None:
    same("x", {2: 2, 1: 1}, {1: 1, 2: 2})
    with pytest.raises(AssertionError, match=says):
        same("x", got, {1: 1, 2: 2})


def test_nothing_is_equal_to_nothing_only_by_mistake() -> None:
    with pytest.raises(AssertionError, match="nothing to compare"):
        same("x", {}, {})


# The oracle of the daily marts


def test_the_oracle_of_days_equals_the_models() -> None:
    """Of people who listen so much that every rule about artificial plays finds some."""
    plays, ads, clicks = [], [], []
    for seed in range(3):
        events = events_of(seed, 6_000)
        for number, play in enumerate(stream_oracle.valid("plays", events["plays"])):
            plays.append(play | {"user_id": play["user_id"] % 15, "device_hash": number % 300 or None})
        ads += stream_oracle.valid("ad_impressions", events["ad_impressions"])
        clicks += stream_oracle.valid("ad_clicks", events["ad_clicks"])
    facts = {"is_bot": stream_oracle.is_bot, "is_stream": stream_oracle.is_stream}
    tables = {
        "plays": [e | {name: judge(e) for name, judge in facts.items()} | days(e) for e in plays],
        "ad_impressions": [
            e | {"is_bot": stream_oracle.is_bot(e), "shown_on": e["shown_at"].date(), "shown_at": None} for e in ads
        ],
        "ad_clicks": [e | {"is_bot": stream_oracle.is_bot(e)} for e in clicks],
    }
    thresholds = {rule.name: {"version": rule.version} | rule.thresholds for rule in artificial_rules()}
    macros = {
        "touched": lambda *_: "true",
        "artificial_rule": lambda name, key: thresholds[name][key],
        "royalty_bearing": lambda _, flags: royalty_bearing_sql("'2026-10'", flags),
    }
    with duckdb.connect() as database:
        for name, rows in tables.items():
            database.register(name, pa.Table.from_pylist(rows))
        for view in ("play_flags", "int_plays_judged", "int_ad_events"):
            # A word that DuckDB keeps for itself, and an interval that it reads as seconds.
            sql = model_sql.sql(view, **macros).replace("overlaps", "overlapped")
            sql = sql.replace("interval '0.001' second", "interval '1 ms'")
            database.execute(f"create view {view} as {sql}")
        found = database.sql("select distinct rule from play_flags").fetchall()
        assert {rule for (rule,) in found} == set(thresholds)
        valid = {"plays": plays, "ad_impressions": ads, "ad_clicks": clicks}
        for mart, (key, counts, compute) in MARTS.items():
            sql = f"select {', '.join((*key, *counts))} from ({model_sql.sql(mart, **macros)})"  # noqa: S608 - names of ours
            got = {row[: len(key)]: row[len(key) :] for row in database.sql(sql).fetchall()}
            same(mart, got, compute(valid))
            if mart == "advertisers_daily":
                assert sum(days[-2] for days in got.values()) > 0


def played(number: int, *, every_s: int, **other: Any) -> dict[str, Any]:
    """One of the plays of a day, each of 100 s."""
    moment = AT.replace(hour=0) + timedelta(seconds=number * every_s)
    play = {"event_id": f"{number:03}", "user_id": 1, "track_id": number, "played_at": moment, "ms_played": 100_000}
    return play | {"user_agent": "wavehouse-ios/9"} | other


@pytest.mark.parametrize(
    ("least", "play"),
    [
        pytest.param(100, lambda n: played(n, every_s=600, track_id=1), id="a track in a loop"),
        pytest.param(20, lambda n: played(n, every_s=94), id="at the same time by six seconds"),
        pytest.param(10, lambda n: played(n, every_s=600, user_id=n, device_hash=7), id="a device of many accounts"),
        pytest.param(1, lambda n: played(n, every_s=600, user_agent="curl/8"), id="an automaton"),
    ],
)
def test_plays_are_artificial_from_a_number_on(least: int, play: Callable[[int], dict[str, Any]]) -> None:
    assert stream_oracle.artificial([play(n) for n in range(least - 1)]) == set()
    assert stream_oracle.artificial([play(n) for n in range(least)]) == {f"{n:03}" for n in range(least)}


def test_plays_that_overlap_by_no_more_than_five_seconds_are_a_persons() -> None:
    assert stream_oracle.artificial([played(n, every_s=95) for n in range(99)]) == set()


def days(play: dict[str, Any]) -> dict[str, Any]:
    """Moments without a zone, which DuckDB computes with by itself, and days. The crowd is in Berlin, then at UTC+2."""
    return {
        "played_at": play["played_at"].replace(tzinfo=None),
        "received_at": None,
        "played_on": play["played_at"].date(),
        "local_played_on": (play["played_at"] + timedelta(hours=2)).date(),
    }


def test_clicks_read_from_kafka_find_their_impressions() -> None:
    """Avro's ids are UUIDs there; those of the impressions are text already."""
    events = events_of(1, 3_000)
    ads, clicks = (stream_oracle.valid(topic, events[topic]) for topic in ("ad_impressions", "ad_clicks"))
    read = [e | {"impression_event_id": UUID(e["impression_event_id"])} for e in clicks]
    assert stream_oracle.advertisers_daily(ads, read) == stream_oracle.advertisers_daily(ads, clicks)
    assert sum(counts[-2] for counts in stream_oracle.advertisers_daily(ads, read).values()) > 0
