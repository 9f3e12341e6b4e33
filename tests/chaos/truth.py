"""What the chaos tests sent: the truth that Kafka and everything behind it must equal."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import Settings
from lakehouse.contracts import EVENT_TOPICS
from tests import stream_oracle

#: What the oracle looks at; of other topics it is the identity alone.
KEPT = {
    "plays": (
        "event_id",
        "user_id",
        "track_id",
        "played_at",
        "received_at",
        "ms_played",
        "user_agent",
        "tier",
        "country",
        "time_zone",
        "device_hash",
    ),
    "ad_impressions": (
        "event_id",
        "user_id",
        "campaign_id",
        "creative_id",
        "shown_at",
        "received_at",
        "cost_micros",
        "currency",
        "user_agent",
        "country",
    ),
    "ad_clicks": ("event_id", "impression_event_id", "received_at", "user_agent"),
}
#: Topic, event (bytes are a message that is none) and the message as it is sent.
Sent = tuple[str, dict[str, Any] | bytes, bytes]


def digest(message: bytes) -> bytes:
    """Stands for a message; two of the same digest are the same message."""
    return hashlib.blake2b(message, digest_size=16).digest()


@dataclass
class Truth:
    """What the broker acknowledged since the first test of the stream, and what was there before.

    What was there before (the main job's events, which `wavehouse verify` has compared with their ledger) is taken from
    Kafka once, before anything is broken here.
    """

    begins: dict[str, dict[int, int]] = field(default_factory=dict)
    """By topic and partition, the first offset that was not there before."""
    events: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """By topic what the oracle computes from, in order within each key; copies are left out where that is known."""
    acknowledged: dict[str, Counter[bytes]] = field(default_factory=lambda: defaultdict(Counter))
    """By topic, how often a message (by digest) must be there."""
    uncertain: dict[str, Counter[bytes]] = field(default_factory=lambda: defaultdict(Counter))
    """The same of messages that may be there beyond that: their producer died, or failed, before it had an answer."""
    received: tuple[date, date] = (date.max, date.min)
    """First and last UTC date on which an event was received."""

    @classmethod
    def of(cls, settings: Settings) -> Truth:
        """Nothing sent yet, and what the topics hold."""
        truth = cls()
        for topic in EVENT_TOPICS:
            begins: dict[int, int] = {}
            for reading in stream_oracle.readings(settings, topic):
                partition, offset = reading.place
                begins[partition] = offset + 1
                if reading.event is not None:
                    truth._note(topic, reading.event)
            truth.begins[topic] = begins
        return truth

    def acknowledge(self, sent: Iterable[Sent]) -> None:
        """The broker has all of it."""
        for topic, event, message in sent:
            self.acknowledged[topic][digest(message)] += 1
            if isinstance(event, dict):
                self._note(topic, event)

    def suspect(self, sent: Iterable[Sent]) -> None:
        """The broker may have some of it, each once."""
        for topic, _, message in sent:
            self.uncertain[topic][digest(message)] += 1

    def check_kafka(self, topic: str, readings: Iterable[stream_oracle.Reading]) -> Iterator[stream_oracle.Reading]:
        """Hand the records of a topic through and assert at their end that they are those that were there before and
        those that were sent, each as often. Of what was uncertain, what came is part of the truth then.
        """
        before, came = 0, Counter[bytes]()
        for reading in readings:
            partition, offset = reading.place
            if offset < self.begins[topic].get(partition, 0):
                before += 1
            else:
                came[digest(reading.value)] += 1
                if reading.event is not None and digest(reading.value) in self.uncertain[topic]:
                    self._note(topic, reading.event)
            yield reading
        expected = self.acknowledged[topic]
        assert expected, f"{topic}: nothing was sent"
        assert before == sum(self.begins[topic].values()), f"{topic}: records from before are lost"
        lost, extra = expected - came, came - expected - self.uncertain[topic]
        assert not (lost or extra), (
            f"{topic}: of {expected.total()} acknowledged records, Kafka has lost {lost.total()}, "
            f"and it has {extra.total()} that nobody sent"
        )
        self.acknowledged[topic] = came
        self.uncertain[topic].clear()

    @contextmanager
    def sending(self, settings: Settings) -> Iterator[Sending]:
        """A producer whose events are part of the truth once all of them are acknowledged, at the end."""
        sending = Sending()
        try:
            with EventProducer(settings) as producer:
                sending.start(producer)
                yield sending
        except BaseException:
            self.suspect(sending.sent)
            raise
        self.acknowledge(sending.sent)

    def _note(self, topic: str, event: dict[str, Any]) -> None:
        names = KEPT.get(topic, ("event_id",))
        self.events[topic].append({name: event[name] for name in names if name in event})
        if (moment := event.get("received_at")) is not None:
            first, last = self.received
            self.received = min(first, moment.date()), max(last, moment.date())


class Sending:
    """Sends and remembers what."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def start(self, producer: EventProducer) -> None:
        """Begin with `producer`, which asks the registry for its schemas now and not when that may be away."""
        self._producer = producer
        self._encoders = {topic: producer.encoder(topic) for topic in EVENT_TOPICS}

    def send(self, topic: str, event: dict[str, Any] | bytes) -> None:
        """Queue an event, or bytes that are no event."""
        if isinstance(event, bytes):
            self.sent.append((topic, event, event))
            self._producer.send_encoded(topic, b"0", event)
        else:
            self.sent.append((topic, event, self._encoders[topic](event)))
            self._producer.send(topic, event)

    def send_copy(self, topic: str, key: bytes, message: bytes) -> None:
        """Queue a message of the topic once more; the oracle has its event already."""
        self.sent.append((topic, message, message))
        self._producer.send_encoded(topic, key, message)


def as_sent(settings: Settings, events: Iterable[tuple[str, dict[str, Any] | bytes]]) -> list[Sent]:
    """Events as another process sends them."""
    with EventProducer(settings) as producer:
        return [(topic, e, e if isinstance(e, bytes) else producer.encoder(topic)(e)) for topic, e in events]
