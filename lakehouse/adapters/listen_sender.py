"""Sends listens that came live to topic `listens`, and says so only when all replicas have them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

from lakehouse.adapters import kafka, lake
from lakehouse.adapters.avro_registry import SchemaRegistry
from lakehouse.adapters.listens import TOPIC, Index, known_listens
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.listening.imports import TOLERANCE_S, Listen, Seen
from lakehouse.domain.listening.imports.submission import SOURCE
from lakehouse.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import KafkaError, Message, Producer
    from pyiceberg.catalog import Catalog

#: A player waits for the answer; what is not acknowledged by then is given up, and the player sends it again.
DELIVERY_TIMEOUT_MS = 10_000


class ListenSender:
    """Takes submissions. Safe for many threads; connects when first used and survives a broker that goes away.

    It has a producer of its own, with the settings of all (`kafka.producer_config`). `kafka.EventProducer` answers for
    everything sent so far: a failure is raised by whichever call comes next and stays, and its `flush` may wait for
    five minutes for what others sent. A submission needs an answer of its own within seconds, and the next one a
    producer that works again.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._catalog: Catalog | None = None
        self._producer: Producer | None = None
        self._registry = SchemaRegistry(settings.registry.http)
        self._encode: Callable[[dict[str, Any]], bytes] | None = None

    def close(self) -> None:
        """Give up what is under way."""
        if self._producer is not None:
            self._producer.flush(1)
        self._registry.close()

    def ping(self) -> None:
        """Returns when Kafka answers.

        Raises:
            RetryableError: it does not.
        """
        from confluent_kafka import KafkaException

        producer, _ = self._ready()
        try:
            producer.list_topics(TOPIC, timeout=5)
        except KafkaException as error:
            raise RetryableError("Kafka does not answer.", hint=kafka.HINT) from error

    def send(self, user_id: int, listens: Sequence[Listen], received_at: datetime) -> int:
        """Send what is new of `listens` and wait until Kafka has it; returns how many were new.

        A listen is a duplicate by the rule of imports (`Seen`), of what the lake has and of the submission's own. What
        is on its way to the lake is not known yet: the same listen sent twice has the same `event_id` and counts once.

        Raises:
            RetryableError: Kafka, the registry or the lake did not answer. Sending the same again doubles nothing.
        """
        with Index(None) as index:
            self._find_known(index, user_id, [listen.listened_at for listen in listens])
            seen = Seen(index, SOURCE)
            for listen in listens:
                seen.expect(listen)
            seen.settle()
            fresh = [listen for listen in listens if seen.is_new(listen)]
        producer, encode = self._ready()
        values = [encode(listen.record(user_id, received_at)) for listen in fresh]
        self._deliver(producer, str(user_id).encode(), values)
        return len(fresh)

    def _find_known(self, index: Index, user_id: int, moments: Sequence[datetime]) -> None:
        from pyiceberg.exceptions import NoSuchTableError
        from sqlalchemy.exc import SQLAlchemyError

        margin = timedelta(seconds=TOLERANCE_S)
        try:
            with self._lock:
                if self._catalog is None:
                    self._catalog = lake.catalog(self._settings)
            known_listens(self._catalog, index, user_id, between=(min(moments) - margin, max(moments) + margin))
        except NoSuchTableError as error:
            raise RetryableError("The lake has no tables yet.", hint="Run `wavehouse lake init`.") from error
        except (OSError, SQLAlchemyError) as error:
            raise RetryableError("The lake does not answer.", hint="See `wavehouse status`.") from error

    def _ready(self) -> tuple[Producer, Callable[[dict[str, Any]], bytes]]:
        from confluent_kafka import Producer

        with self._lock:
            if self._encode is None:
                schema = load(f"topics.{TOPIC}").avro_schema()
                self._encode = self._registry.encoder(kafka.subject(TOPIC), schema)
            if self._producer is None:
                more = {"linger.ms": 5, "delivery.timeout.ms": DELIVERY_TIMEOUT_MS}
                self._producer = Producer(kafka.producer_config(self._settings) | more)
            return self._producer, self._encode

    def _deliver(self, producer: Producer, key: bytes, values: Sequence[bytes]) -> None:
        from confluent_kafka import KafkaException

        outcomes: list[KafkaError | None] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            outcomes.append(error)

        try:
            for value in values:
                producer.produce(TOPIC, value, key, on_delivery=delivered)
        except (BufferError, KafkaException) as error:
            raise RetryableError("Kafka takes no more listens at the moment.", hint=kafka.HINT) from error
        # Every message has an outcome by its own time limit; the deadline is for a client that is broken.
        deadline = time.monotonic() + 2 * DELIVERY_TIMEOUT_MS / 1000
        while len(outcomes) < len(values) and time.monotonic() < deadline:
            producer.poll(0.05)
        if len(outcomes) < len(values) or any(outcomes):
            raise RetryableError("Kafka did not take the listens.", hint=kafka.HINT)
