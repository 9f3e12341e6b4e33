"""A second, plain computation of what the stream job must give, from the raw records of the topics.

Nothing of the job's SQL is used: the rules are written out here by hand, so that an error there shows as a difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from lakehouse.adapters.avro_registry import SchemaRegistry, split
from lakehouse.adapters.kafka import client_config, end_offsets
from lakehouse.config.settings import Settings
from lakehouse.errors import RejectedInputError

BOTS = ("bot", "crawler", "spider", "headless", "python-requests", "curl/")
Key = tuple[datetime, int, str, int]


def records(settings: Settings, topic: str) -> Iterator[Message]:
    """Every record of `topic` up to its present end, in order within each partition."""
    ends = {partition: end for partition, end in end_offsets(settings, topic).items() if end}
    consumer = Consumer(client_config(settings) | {"group.id": "oracle", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    try:
        while ends:
            for message in consumer.consume(10_000, timeout=1):
                assert message.error() is None, message.error()
                if message.offset() + 1 >= ends.get(message.partition(), 0):
                    ends.pop(message.partition(), None)
                yield message
    finally:
        consumer.close()


@dataclass
class Decoded:
    """The records of one event topic: places (partition, offset) and events of those that can be read, and the rest."""

    places: set[tuple[int, int]] = field(default_factory=set)
    events: list[dict[str, Any]] = field(default_factory=list)
    undecodable: dict[tuple[int, int], str] = field(default_factory=dict)


def decoded(settings: Settings, topic: str) -> Decoded:
    """What the topic holds; an unreadable record with its reason code (a schema of another topic is incompatible)."""
    found = Decoded()
    with SchemaRegistry(settings.registry.http) as registry:
        for message in records(settings, topic):
            place = (message.partition(), message.offset())
            try:
                value = message.value() or b""
                if registry.schema(split(value)[0])["name"].removeprefix("wavehouse.") != topic:
                    raise RejectedInputError("of another topic", reason="incompatible_schema")
                record = registry.decode(value).record
                found.events.append(record | {"event_id": str(record["event_id"])})
                found.places.add(place)
            except RejectedInputError as error:
                found.undecodable[place] = error.reason
    return found


def valid_plays(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The distinct valid plays."""
    seen: set[str] = set()
    found = []
    for e in events:
        invalid = (
            e["ms_played"] < 0
            or e["ms_played"] > 24 * 3600 * 1000
            or e["played_at"] - e["received_at"] > timedelta(minutes=5)
        )
        if invalid or e["event_id"] in seen:
            continue
        seen.add(e["event_id"])
        found.append(e)
    return found


def is_bot(play: dict[str, Any]) -> bool:
    """Whether the player says that it is an automaton."""
    return any(part in play["user_agent"].lower() for part in BOTS)


def is_stream(play: dict[str, Any]) -> bool:
    """Whether a valid play counts."""
    return not is_bot(play) and play["ms_played"] >= 30_000


def play_windows(events: list[dict[str, Any]]) -> dict[Key, dict[str, int]]:
    """Totals by minute, track, country and listener of the distinct valid plays."""
    totals: dict[Key, dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(("plays", "streams", "bot_plays", "late_plays", "ms_played"), 0)
    )
    for e in valid_plays(events):
        key = (e["played_at"].replace(second=0, microsecond=0), e["track_id"], e["country"], e["user_id"])
        total = totals[key]
        total["plays"] += 1
        total["late_plays"] += e["received_at"] - e["played_at"] >= timedelta(hours=1)
        total["bot_plays"] += is_bot(e)
        total["streams"] += is_stream(e)
        total["ms_played"] += e["ms_played"]
    return dict(totals)


def days(plays: list[dict[str, Any]]) -> dict[date, tuple[int, int]]:
    """Plays and streams by UTC day of valid plays."""
    found: dict[date, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for e in plays:
        count, streams = found[e["played_at"].date()]
        found[e["played_at"].date()] = (count + 1, streams + is_stream(e))
    return dict(found)


def ad_windows(events: list[dict[str, Any]]) -> dict[Key, dict[str, int]]:
    """Totals by minute, campaign, country and listener of the distinct valid impressions."""
    totals: dict[Key, dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(("impressions", "late_impressions", "cost_micros"), 0)
    )
    seen = set()
    for e in events:
        invalid = e["cost_micros"] < 0 or e["shown_at"] - e["received_at"] > timedelta(minutes=5)
        if invalid or e["event_id"] in seen:
            continue
        seen.add(e["event_id"])
        key = (e["shown_at"].replace(second=0, microsecond=0), e["campaign_id"], e["country"], e["user_id"])
        totals[key]["impressions"] += 1
        totals[key]["late_impressions"] += e["received_at"] - e["shown_at"] >= timedelta(hours=1)
        totals[key]["cost_micros"] += e["cost_micros"]
    return dict(totals)


def published_windows(settings: Settings, topic: str, key: tuple[str, ...]) -> dict[Key, dict[str, int]]:
    """The last record of each key in a window topic; `key` names its key columns."""
    last: dict[Key, dict[str, int]] = {}
    with SchemaRegistry(settings.registry.http) as registry:
        for message in records(settings, topic):
            row = registry.decode(message.value() or b"").record
            last[tuple(row.pop(name) for name in key)] = row  # type: ignore[index]
    return last
