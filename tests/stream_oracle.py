"""A second, plain computation of what the stream job, silver and the daily marts must give, from events.

Nothing of the job's SQL or of the models is used: the rules are written out here by hand, so that an error there shows
as a difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from confluent_kafka import Consumer, Message, TopicPartition

from lakehouse.adapters.avro_registry import SchemaRegistry, split
from lakehouse.adapters.kafka import client_config, end_offsets
from lakehouse.config.settings import Settings
from lakehouse.contracts import DEAD_LETTERS
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


@dataclass(frozen=True)
class Reading:
    """One record of an event topic: its place (partition, offset), its bytes, and what they say, or the reason code why
    they can't be read.
    """

    place: tuple[int, int]
    value: bytes
    event: dict[str, Any] | None
    reason: str | None = None


def readings(settings: Settings, topic: str) -> Iterator[Reading]:
    """Every record of `topic`, in order within each partition; one with a schema of another topic is incompatible."""
    with SchemaRegistry(settings.registry.http) as registry:
        for message in records(settings, topic):
            place, value = (message.partition(), message.offset()), message.value() or b""
            try:
                if registry.schema(split(value)[0])["name"].removeprefix("wavehouse.") != topic:
                    raise RejectedInputError("of another topic", reason="incompatible_schema")
                record = registry.decode(value).record
                yield Reading(place, value, record | {"event_id": str(record["event_id"])})
            except RejectedInputError as error:
                yield Reading(place, value, None, error.reason)


def published_dead_letters(settings: Settings) -> dict[tuple[str, int, int], str]:
    """The topic of dead letters: reasons by topic, partition and offset."""
    with SchemaRegistry(settings.registry.http) as registry:
        letters = [registry.decode(message.value() or b"").record for message in records(settings, DEAD_LETTERS)]
    return {(e["topic"], e["kafka_partition"], e["kafka_offset"]): e["reason"] for e in letters}


def fingerprint(row: Mapping[str, Any]) -> int:
    """A number that tells rows apart by their columns and values, within this process; ids may be UUIDs or text."""
    return hash(frozenset((name, str(v) if isinstance(v, UUID) else v) for name, v in row.items()))


def distinct(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of each event_id."""
    first: dict[str, dict[str, Any]] = {}
    for event in events:
        first.setdefault(event["event_id"], event)
    return list(first.values())


def play_fault(e: dict[str, Any]) -> str | None:
    """Reason code why a play is rejected."""
    if e["ms_played"] < 0:
        return "negative_ms_played"
    if e["played_at"] - e["received_at"] > timedelta(minutes=5):
        return "played_at_in_future"
    return "play_longer_than_a_day" if e["ms_played"] > 24 * 3600 * 1000 else None


def ad_fault(e: dict[str, Any]) -> str | None:
    """Reason code why an ad impression is rejected."""
    if e["cost_micros"] < 0:
        return "negative_cost"
    return "shown_at_in_future" if e["shown_at"] - e["received_at"] > timedelta(minutes=5) else None


#: Events of the other topics are never rejected.
FAULTS: Mapping[str, Callable[[dict[str, Any]], str | None]] = {"plays": play_fault, "ad_impressions": ad_fault}


def valid(topic: str, events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The distinct valid events of a topic."""
    fault = FAULTS.get(topic)
    return distinct(e for e in events if fault is None or fault(e) is None)


def rejected(topic: str, events: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    """Event id and reason code of the others."""
    return {(e["event_id"], reason) for e in events if (reason := FAULTS[topic](e)) is not None}


def is_bot(play: dict[str, Any]) -> bool:
    """Whether the player says that it is an automaton."""
    return any(part in play["user_agent"].lower() for part in BOTS)


def is_stream(play: dict[str, Any]) -> bool:
    """Whether a valid play counts."""
    return not is_bot(play) and play["ms_played"] >= 30_000


def play_windows(events: Iterable[dict[str, Any]]) -> dict[Key, dict[str, int]]:
    """Totals by minute, track, country and listener of the distinct valid plays."""
    totals: dict[Key, dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(("plays", "streams", "bot_plays", "late_plays", "ms_played"), 0)
    )
    for e in valid("plays", events):
        key = (e["played_at"].replace(second=0, microsecond=0), e["track_id"], e["country"], e["user_id"])
        total = totals[key]
        total["plays"] += 1
        total["late_plays"] += e["received_at"] - e["played_at"] >= timedelta(hours=1)
        total["bot_plays"] += is_bot(e)
        total["streams"] += is_stream(e)
        total["ms_played"] += e["ms_played"]
    return dict(totals)


def ad_windows(events: Iterable[dict[str, Any]]) -> dict[Key, dict[str, int]]:
    """Totals by minute, campaign, country and listener of the distinct valid impressions."""
    totals: dict[Key, dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(("impressions", "late_impressions", "cost_micros"), 0)
    )
    for e in valid("ad_impressions", events):
        key = (e["shown_at"].replace(second=0, microsecond=0), e["campaign_id"], e["country"], e["user_id"])
        totals[key]["impressions"] += 1
        totals[key]["late_impressions"] += e["received_at"] - e["shown_at"] >= timedelta(hours=1)
        totals[key]["cost_micros"] += e["cost_micros"]
    return dict(totals)


def artificial(plays: Iterable[dict[str, Any]]) -> set[str]:
    """Ids of the valid plays that no royalties are paid for, however long they are: of automata, too many at the same
    time, of one track in a loop, of a device that many accounts share. All but the first look at one UTC day.
    """
    plays = list(plays)
    accounts, loops, devices = defaultdict(list), defaultdict(list), defaultdict(list)
    for e in plays:
        day = e["played_at"].date()
        accounts[day, e["user_id"]].append(e)
        loops[day, e["user_id"], e["track_id"]].append(e)
        if e.get("device_hash") is not None:
            devices[day, e["device_hash"]].append(e)
    found = {e["event_id"] for e in plays if is_bot(e)}
    found |= {e["event_id"] for same in loops.values() if len(same) >= 100 for e in same}
    found |= {e["event_id"] for same in devices.values() if len({e["user_id"] for e in same}) >= 10 for e in same}
    for same in accounts.values():
        overlapping = _overlapping(same)
        if len(overlapping) >= 20:
            found |= overlapping
    return found


def _overlapping(plays: list[dict[str, Any]]) -> set[str]:
    """Ids of the plays of one account and day that run while another does, by more than five seconds."""
    tolerance = timedelta(seconds=5)
    ordered = sorted(plays, key=lambda e: (e["played_at"], e["event_id"]))
    found, others_ended = set(), None
    for e, later in zip(ordered, [*ordered[1:], None], strict=True):
        ended = e["played_at"] + timedelta(milliseconds=e["ms_played"])
        if (others_ended is not None and others_ended > e["played_at"] + tolerance) or (
            later is not None and ended > later["played_at"] + tolerance
        ):
            found.add(e["event_id"])
        others_ended = ended if others_ended is None else max(others_ended, ended)
    return found


def streams_daily(plays: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Plays, streams, plays of automata, time heard and streams that bear royalties, by UTC day, track, country and
    tier of valid plays.
    """
    unpaid = artificial(plays)
    return _sums(
        (
            (e["played_at"].date(), e["track_id"], e["country"], e["tier"]),
            (1, is_stream(e), is_bot(e), e["ms_played"], e["ms_played"] >= 30_000 and e["event_id"] not in unpaid),
        )
        for e in plays
    )


def listener_daily(plays: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Plays, streams and time heard, by day in the listener's time zone and listener of people's valid plays."""
    return _sums(
        ((e["played_at"].astimezone(ZoneInfo(e["time_zone"])).date(), e["user_id"]), (1, is_stream(e), e["ms_played"]))
        for e in plays
        if not is_bot(e)
    )


def advertisers_daily(
    ads: list[dict[str, Any]], clicks: list[dict[str, Any]]
) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Impressions, those of automata, cost, cost of the others, clicks and those of automata, by UTC day, campaign,
    creative, country and currency of valid impressions.
    """
    place = {
        e["event_id"]: (e["shown_at"].date(), e["campaign_id"], e["creative_id"], e["country"], e["currency"])
        for e in ads
    }
    shown = (
        (place[e["event_id"]], (1, is_bot(e), e["cost_micros"], 0 if is_bot(e) else e["cost_micros"], 0, 0))
        for e in ads
    )
    # As read from Kafka it is a UUID, as sent by a test it is text.
    of = ((str(e["impression_event_id"]), is_bot(e)) for e in clicks)
    clicked = ((place[impression], (0, 0, 0, 0, 1, bot)) for impression, bot in of if impression in place)
    return _sums(chain(shown, clicked))


def _sums(rows: Iterable[tuple[tuple[Any, ...], tuple[int, ...]]]) -> dict[tuple[Any, ...], tuple[int, ...]]:
    found: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for key, counts in rows:
        found[key] = tuple(map(sum, zip(found.get(key, (0,) * len(counts)), counts, strict=True)))
    return found


def same(what: str, got: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> None:
    """Assert that both hold the same, and that it is something; where they differ, a few examples are shown."""
    assert wanted, f"{what}: nothing to compare"
    lost = [key for key in wanted if key not in got]
    extra = [key for key in got if key not in wanted]
    other = [(key, got[key], wanted[key]) for key in wanted if key in got and got[key] != wanted[key]]
    assert not (lost or extra or other), (
        f"{what}: of {len(wanted)}, {len(lost)} are lost {lost[:5]}, {len(extra)} are extra {extra[:5]}, "
        f"{len(other)} differ (got, wanted) {other[:5]}"
    )


def published_windows(settings: Settings, topic: str, key: tuple[str, ...]) -> dict[Key, dict[str, int]]:
    """The last record of each key in a window topic; `key` names its key columns."""
    last: dict[Key, dict[str, int]] = {}
    with SchemaRegistry(settings.registry.http) as registry:
        for message in records(settings, topic):
            row = registry.decode(message.value() or b"").record
            last[tuple(row.pop(name) for name in key)] = row  # type: ignore[index]
    return last
