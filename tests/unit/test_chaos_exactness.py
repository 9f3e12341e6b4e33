"""The comparison after each fault finds what it is there to find, where everything is right but for one thing."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.adapters import clickhouse, lake, trino
from lakehouse.config.settings import Settings
from lakehouse.contracts import EVENT_TOPICS, SILVER_TOPICS, load
from tests import stream_oracle
from tests.chaos import exactness
from tests.chaos.conftest import Victim
from tests.chaos.crowd import crowd
from tests.chaos.truth import Truth
from tests.stream_oracle import Reading

Rows = list[dict[str, Any]]


class World:
    """What Kafka, the lake, ClickHouse and the marts answer after the first events of the crowd, all of it right."""

    def __init__(self) -> None:
        self.truth = Truth(begins={topic: {} for topic in EVENT_TOPICS})
        self.kafka: dict[str, list[Reading]] = {topic: [] for topic in EVENT_TOPICS}
        self.lake: dict[str, Rows] = {f"bronze.{table}": [] for table in (*EVENT_TOPICS, "dead_letters")}
        self.letters: dict[tuple[str, int, int], str] = {}
        for number, (topic, event) in enumerate(itertools.islice(crowd(1), 3_000)):
            place = (0, len(self.kafka[topic]))
            at = {"kafka_partition": place[0], "kafka_offset": place[1]}
            if isinstance(event, bytes):
                self.truth.acknowledge([(topic, event, event)])
                self.kafka[topic].append(Reading(place, event, None, "malformed"))
                self.lake["bronze.dead_letters"].append({"topic": topic, "reason": "malformed", "payload": event} | at)
                self.letters[topic, *place] = "malformed"
            else:
                message = struct.pack("q", number)
                self.truth.acknowledge([(topic, event, message)])
                columns = dict.fromkeys(column.name for column in load(f"topics.{topic}").columns) | event
                self.kafka[topic].append(Reading(place, message, columns))
                self.lake[f"bronze.{topic}"].append(columns | at)
        events = self.truth.events
        valid = {topic: stream_oracle.valid(topic, events[topic]) for topic in EVENT_TOPICS}
        self.lake |= {f"silver_audit.{topic}": [dict(e) for e in valid[topic]] for topic in SILVER_TOPICS}
        for play in self.lake["silver_audit.plays"]:
            play |= {"is_bot": stream_oracle.is_bot(play), "is_stream": stream_oracle.is_stream(play)}
        for topic in stream_oracle.FAULTS:
            refused = enumerate(sorted(stream_oracle.rejected(topic, events[topic])))
            self.lake[f"silver_audit.{topic}_rejected"] = [
                {"event_id": e, "reason": reason, "kafka_partition": 0, "kafka_offset": n} for n, (e, reason) in refused
            ]
        self.windows: dict[str, dict[Any, dict[str, int]]] = {}
        self.live: dict[str, Rows] = {}
        for topic, (table, key, minutes) in exactness.WINDOWS.items():
            self.windows[table] = minutes(events[topic])
            self.live[table] = [
                dict(zip(key, at, strict=True)) | counts | {"version": 1}
                for at, counts in minutes(events[topic]).items()
            ]
        self.marts = {
            mart: [at + counts for at, counts in days(valid).items()] for mart, (_, _, days) in exactness.MARTS.items()
        }

    def compare(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        """Both comparisons, with this world's answers."""
        patch.setattr(stream_oracle, "readings", lambda _, topic: iter(self.kafka[topic]))
        patch.setattr(stream_oracle, "published_windows", lambda _, table, key: self.windows[table])
        patch.setattr(stream_oracle, "published_dead_letters", lambda _: self.letters)
        patch.setattr(lake, "read", self._read)
        patch.setattr(clickhouse, "connect", lambda settings, user: self)
        patch.setattr(trino, "query", lambda _, sql: trino.Result((), self.marts[sql.rsplit(".", 1)[1]]))
        patch.setattr(Victim, "command", lambda self, *arguments, **options: "{}")
        exactness.assert_exact(settings, self.truth)
        exactness.assert_silver_and_days(Victim(settings), self.truth)

    def _read(self, _: Settings, table: str, *, columns: tuple[str, ...] = ()) -> pa.Table:
        schema = load(table).arrow_schema()
        wanted = pa.schema([schema.field(n).with_nullable(True) for n in columns or schema.names])
        return pa.Table.from_pylist(self.lake[table], schema=wanted)

    # A client of ClickHouse
    def query(self, sql: str, **_: object) -> World:
        self.asked = sql.split("live.")[1].split(maxsplit=1)[0]
        return self

    def named_results(self) -> Iterator[dict[str, Any]]:
        return iter([dict(row) for row in self.live[self.asked]])

    def command(self, sql: str) -> None:
        """Merged already."""

    def close(self) -> None:
        """Nothing to close."""


def test_where_everything_is_right_nothing_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    World().compare(settings, monkeypatch)


def plays(world: World) -> Rows:
    return world.lake["bronze.plays"]


DAMAGES: dict[str, Callable[[World], object]] = {
    "likes: of .* Kafka has lost 1": lambda w: w.kafka["likes"].pop(),
    "follows: of .* and it has 1 that": lambda w: w.kafka["follows"].append(Reading((1, 0), b"x", {"event_id": "x"})),
    "bronze.plays: of .* 1 are lost": lambda w: plays(w).pop(),
    "bronze.plays: 1 rows twice": lambda w: plays(w).append(plays(w)[0]),
    "bronze.listens: .* 1 differ": lambda w: w.lake["bronze.listens"][0].update(title="Another"),
    "bronze.playback_telemetry: .* are lost": lambda w: w.lake["bronze.playback_telemetry"].clear(),
    "dead letters: .* 1 are lost": lambda w: w.lake["bronze.dead_letters"].pop(),
    "dead letters: .* 1 differ": lambda w: w.lake["bronze.dead_letters"][0].update(payload=b"else"),
    "topic dead_letters: .* 1 are lost": lambda w: w.letters.popitem(),
    "topic play_minutes: .* 1 are lost": lambda w: w.windows["play_minutes"].popitem(),
    "topic ad_minutes: .* 1 differ": lambda w: next(iter(w.windows["ad_minutes"].values())).update(impressions=9),
    "live.play_minutes FINAL: .* 1 are lost": lambda w: w.live["play_minutes"].pop(),
    "live.ad_minutes FINAL: 1 rows twice": lambda w: w.live["ad_minutes"].append(w.live["ad_minutes"][0]),
    "silver.plays: .* 1 differ": lambda w: w.lake["silver_audit.plays"][0].update(is_stream=None),
    "silver.plays: .* 1 are lost": lambda w: w.lake["silver_audit.plays"].pop(),
    "silver.ad_clicks: .* 1 are lost": lambda w: w.lake["silver_audit.ad_clicks"].pop(),
    "silver.likes: 1 rows twice": lambda w: w.lake["silver_audit.likes"].append(w.lake["silver_audit.likes"][0]),
    "silver.plays_rejected: .* 1 are lost": lambda w: w.lake["silver_audit.plays_rejected"].pop(),
    "streams_daily: .* 1 differ": lambda w: w.marts["streams_daily"].append((*w.marts["streams_daily"].pop()[:-1], -1)),
    "listener_daily: .* 1 are lost": lambda w: w.marts["listener_daily"].pop(),
    "advertisers_daily: 1 rows twice": lambda w: w.marts["advertisers_daily"].append(w.marts["advertisers_daily"][0]),
    "playlist_edits: nothing was sent": lambda w: w.truth.acknowledged["playlist_edits"].clear(),
}


@pytest.mark.parametrize("says", DAMAGES)
def test_one_thing_that_is_wrong_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    world = World()
    DAMAGES[says](world)
    with pytest.raises(AssertionError, match=says):
        world.compare(settings, monkeypatch)
