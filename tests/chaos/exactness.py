"""The comparison after each fault: Kafka, bronze, dead letters, minutes, ClickHouse, silver and daily marts, with an
oracle computed from what was sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC
from typing import Any

from lakehouse.adapters import clickhouse, lake, trino
from lakehouse.config.settings import Settings
from lakehouse.contracts import EVENT_TOPICS, SILVER_TOPICS
from tests import stream_oracle
from tests.chaos.conftest import Victim
from tests.chaos.truth import Truth
from tests.stream_oracle import fingerprint, same

WINDOWS = {
    "plays": ("play_minutes", ("window_start", "track_id", "country", "user_id"), stream_oracle.play_windows),
    "ad_impressions": ("ad_minutes", ("window_start", "campaign_id", "country", "user_id"), stream_oracle.ad_windows),
}
#: Daily marts with their key, the counts that are compared, and the oracle over valid events by topic.
MARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Any], dict[Any, Any]]]] = {
    "streams_daily": (
        ("played_on", "track_id", "country", "tier"),
        ("plays", "streams", "bot_plays", "ms_played", "royalty_streams"),
        lambda valid: stream_oracle.streams_daily(valid["plays"]),
    ),
    "listener_daily": (
        ("local_played_on", "user_id"),
        ("plays", "streams", "ms_played"),
        lambda valid: stream_oracle.listener_daily(valid["plays"]),
    ),
    "advertisers_daily": (
        ("shown_on", "campaign_id", "creative_id", "country", "currency"),
        ("impressions", "bot_impressions", "cost_micros", "billable_cost_micros", "clicks", "bot_clicks"),
        lambda valid: stream_oracle.advertisers_daily(valid["ad_impressions"], valid["ad_clicks"]),
    ),
}


def assert_exact(settings: Settings, truth: Truth) -> None:
    """Kafka holds what was sent; every record of every topic is in the lake once, or among its dead letters; all
    minutes equal those of the oracle, in Kafka and in ClickHouse.
    """
    undecodable = {}
    for topic in EVENT_TOPICS:
        wanted = {}
        for reading in truth.check_kafka(topic, stream_oracle.readings(settings, topic)):
            if reading.event is None:
                undecodable[topic, *reading.place] = (reading.reason, reading.value)
            else:
                wanted[reading.place] = fingerprint(reading.event)
        rows = lake.read(settings, f"bronze.{topic}")
        found = {}
        for batch in rows.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                place = (row.pop("kafka_partition"), row.pop("kafka_offset"))
                found[place] = fingerprint(row)
        assert len(found) == rows.num_rows, f"bronze.{topic}: {rows.num_rows - len(found)} rows twice"
        same(f"bronze.{topic}", found, wanted)
    for topic, (table, key, compute) in WINDOWS.items():
        minutes = compute(truth.events[topic])
        same(f"topic {table}", stream_oracle.published_windows(settings, table, key), minutes)
        assert_live(settings, table, key, minutes, final="FINAL")
        # After merges a plain count, without FINAL, is the same.
        merge(settings, table)
        assert_live(settings, table, key, minutes, final="")
    dead = lake.read(settings, "bronze.dead_letters").to_pylist()
    letters = {(d["topic"], d["kafka_partition"], d["kafka_offset"]): (d["reason"], d["payload"]) for d in dead}
    assert len(dead) == len(letters), f"dead letters: {len(dead) - len(letters)} rows twice"
    same("dead letters", letters, undecodable)
    reasons = {place: reason for place, (reason, _) in undecodable.items()}
    same("topic dead_letters", stream_oracle.published_dead_letters(settings), reasons)


def assert_live(settings: Settings, table: str, key: tuple[str, ...], minutes: dict[Any, Any], *, final: str) -> None:
    """Rows that ClickHouse answers with are those of the oracle, each once."""
    client = clickhouse.connect(settings, "reader")
    result = client.query(f"SELECT * FROM live.{table} {final}", query_tz="UTC")  # noqa: S608 - names of ours
    found, rows = {}, 0
    for row in result.named_results():
        window = {name: value for name, value in row.items() if name not in ("kafka_partition", "version")}
        moment = window["window_start"]
        window["window_start"] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        found[tuple(window.pop(name) for name in key)] = window
        rows += 1
    client.close()
    assert len(found) == rows, f"live.{table} {final}: {rows - len(found)} rows twice"
    same(f"live.{table} {final}", found, minutes)


def merge(settings: Settings, table: str) -> None:
    """Let ClickHouse replace all rows now that it would replace some day."""
    client = clickhouse.connect(settings, "loader")
    client.command(f"OPTIMIZE TABLE live.{table} FINAL")
    client.close()


def assert_silver_and_days(victim: Victim, truth: Truth) -> None:
    """Run dbt over all that was received; silver holds each valid event once and the rejected ones with their reasons,
    and the daily marts equal the oracle row by row.
    """
    settings = victim.settings
    transform(victim, truth)
    for topic in SILVER_TOPICS:
        if topic != "plays":
            ids = lake.read(settings, f"silver_audit.{topic}", columns=("event_id",))["event_id"].to_pylist()
            assert len(ids) == len(set(ids)), f"silver.{topic}: {len(ids) - len(set(ids))} rows twice"
            wanted = stream_oracle.valid(topic, truth.events[topic])
            same(f"silver.{topic}", dict.fromkeys(ids), dict.fromkeys(e["event_id"] for e in wanted))
    for topic in stream_oracle.FAULTS:
        columns = ("event_id", "reason", "kafka_partition", "kafka_offset")
        rows = lake.read(settings, f"silver_audit.{topic}_rejected", columns=columns).to_pylist()
        places = {(row["kafka_partition"], row["kafka_offset"]) for row in rows}
        assert len(places) == len(rows), f"silver.{topic}_rejected: {len(rows) - len(places)} rows twice"
        refused = dict.fromkeys((row["event_id"], row["reason"]) for row in rows)
        same(f"silver.{topic}_rejected", refused, dict.fromkeys(stream_oracle.rejected(topic, truth.events[topic])))
    assert_silver_plays(settings, truth)
    valid = {
        topic: stream_oracle.valid(topic, truth.events[topic]) for topic in ("plays", "ad_impressions", "ad_clicks")
    }
    for mart, (key, counts, compute) in MARTS.items():
        sql = f"select {', '.join((*key, *counts))} from lake.gold_audit.{mart}"  # noqa: S608 - names of ours
        answer = trino.query(settings, sql).rows
        days = {row[: len(key)]: row[len(key) :] for row in answer}
        assert len(days) == len(answer), f"{mart}: {len(answer) - len(days)} rows twice"
        same(mart, days, compute(valid))


def assert_silver_plays(settings: Settings, truth: Truth) -> None:
    """Silver holds each valid play once, as it was sent and judged."""
    sent = ("user_id", "track_id", "country", "tier", "ms_played", "played_at", "received_at")
    columns = ("event_id", *sent, "is_bot", "is_stream")
    rows = lake.read(settings, "silver_audit.plays", columns=columns).to_pylist()
    found = {row["event_id"]: tuple(row[name] for name in columns) for row in rows}
    assert len(found) == len(rows), f"silver.plays: {len(rows) - len(found)} rows twice"
    wanted = {
        e["event_id"]: (e["event_id"], *(e[name] for name in sent), stream_oracle.is_bot(e), stream_oracle.is_stream(e))
        for e in stream_oracle.valid("plays", truth.events["plays"])
    }
    same("silver.plays", found, wanted)


def transform(victim: Victim, truth: Truth) -> None:
    """Silver and the daily marts, over every day of receipt, without dbt's own tests."""
    first, last = (day.isoformat() for day in truth.received)
    window = victim.command("dbt-vars", "--from", first, "--to", last, "--json").splitlines()[-1]
    rejected = [f"{topic}_rejected" for topic in stream_oracle.FAULTS]
    select = [f"+{model}" for model in (*SILVER_TOPICS, *rejected, *MARTS)]
    models = ["--select", *select, "--exclude", "resource_type:unit_test", "test_type:data"]
    # An engine that was killed a moment ago may fail the first try: the task in Airflow is tried again too.
    victim.command("dbt", "build", *models, "--vars", json.dumps(json.loads(window)), attempts=3)
