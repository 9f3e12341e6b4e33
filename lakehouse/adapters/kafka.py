"""Kafka: topics as their contracts say, and a producer that neither loses nor doubles what it sends.

Message values are Avro in the Confluent wire format (`avro_registry`); keys are the partition key as decimal
text, placed by the partitioner of the Java clients, so that every client finds one user's events in the same partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from lakehouse.adapters.avro_registry import SchemaRegistry
from lakehouse.config.settings import Settings
from lakehouse.contracts import Contract, all_ids, load
from lakehouse.domain.catalog.content import MAX_ATTRIBUTES_BYTES
from lakehouse.errors import FatalError, RetryableError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer
    from confluent_kafka.admin import AdminClient

HINT = "See `wavehouse status`; `wavehouse up --only stream` starts Kafka."
#: How long one message may be under way, a broker that restarts included.
DELIVERY_TIMEOUT_MS = 300_000
#: Back-pressure: more than this wait for the broker, and `send` waits too.
MAX_QUEUED = 200_000
#: The largest message that a producer takes. No message of ours is larger than a change of a catalogue item, whose text
#: PostgreSQL may write longer than it was checked (1e9 as 1000000000).
MAX_MESSAGE_BYTES = 2 * MAX_ATTRIBUTES_BYTES
#: The largest batch that a topic takes: such a message alone, uncompressed, with what the protocol adds.
MAX_BATCH_BYTES = MAX_MESSAGE_BYTES + 65_536
REQUEST_TIMEOUT_S = 20.0


class MessageTooLargeError(FatalError):
    """A message has more than `MAX_MESSAGE_BYTES`; nothing of it was queued, and others can be sent."""


def topic_contracts() -> list[Contract]:
    """Contracts of all topics."""
    return [load(contract_id) for contract_id in all_ids() if contract_id.startswith("topics.")]


def subject(topic: str) -> str:
    """Subject of the schema registry that holds the value schema of `topic`."""
    return f"{topic}-value"


def client_config(settings: Settings) -> dict[str, Any]:
    """What every client needs; its own log lines are silenced because errors are raised."""
    return {"bootstrap.servers": settings.kafka.address, "log_level": 0, "socket.timeout.ms": 30_000}


def producer_config(settings: Settings) -> dict[str, Any]:
    """What every producer needs: nothing is acknowledged before all replicas have it, nothing twice by a retry."""
    return client_config(settings) | {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "message.max.bytes": MAX_MESSAGE_BYTES,
    }


def init_topics(settings: Settings) -> list[str]:
    """Create the topics that the contracts define and bring the settings of the others in line; returns the new ones.

    Raises:
        RetryableError: Kafka does not answer.
        FatalError: a topic has another number of partitions than its contract (keys would move between them).
    """
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

    admin = _admin(settings)
    present = _metadata(admin, settings).topics
    created = []
    for contract in topic_contracts():
        partitions = contract.properties["partitions"]
        # How long records stay is the broker's own setting (infra/local keeps them for good).
        config = {"cleanup.policy": contract.properties["cleanupPolicy"], "max.message.bytes": str(MAX_BATCH_BYTES)}
        if contract.name not in present:
            new = NewTopic(contract.name, num_partitions=partitions, replication_factor=-1, config=config)
            if _await_created(admin.create_topics([new])[contract.name], contract.name):
                created.append(contract.name)
            continue
        actual = len(present[contract.name].partitions)
        if actual != partitions:
            raise FatalError(
                f"Topic {contract.name} has {actual} partitions, its contract says {partitions}.",
                hint="Give the contract the number it was created with; a new number needs a new topic.",
            )
        entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in config.items()]
        resource = ConfigResource("TOPIC", contract.name, incremental_configs=entries)
        _await(admin.incremental_alter_configs([resource])[resource])
    return created


def init_subjects(settings: Settings) -> dict[str, int]:
    """Register the value schema of every topic and hold it to its contract's compatibility; returns the schema ids.

    Raises:
        RetryableError: the registry does not answer.
        FatalError: the contract of a topic changed in a way that breaks its readers.
    """
    ids = {}
    with SchemaRegistry(settings.registry.http) as registry:
        for contract in topic_contracts():
            name = subject(contract.name)
            ids[name] = registry.register(name, contract.avro_schema())
            registry.set_compatibility(name, contract.properties["compatibility"])
    return ids


@dataclass(frozen=True)
class SubjectState:
    """What the registry holds of a topic, beside its contract."""

    topic: str
    compatibility: str
    """As the contract says."""
    held_to: str | None
    """As the registry has it."""
    faults: list[str]
    """Why the contract's schema may not follow the newest one."""

    @property
    def is_sound(self) -> bool:
        """Whether producers of the contract may go on."""
        return self.compatibility == self.held_to and not self.faults


def check_subjects(settings: Settings) -> list[SubjectState]:
    """Compare every topic's contract with the registry, changing nothing.

    Raises:
        RetryableError: the registry does not answer.
        FatalError: a topic has no subject.
    """
    with SchemaRegistry(settings.registry.http) as registry:
        return [
            SubjectState(
                contract.name,
                contract.properties["compatibility"],
                registry.compatibility(subject(contract.name)),
                registry.faults(subject(contract.name), contract.avro_schema()),
            )
            for contract in topic_contracts()
        ]


def topic_ids(settings: Settings, topics: Iterable[str]) -> dict[str, str]:
    """The id Kafka gave each topic when it was created; a topic made anew has another one. Missing topics are left out.

    Raises:
        RetryableError: Kafka does not answer.
    """
    from confluent_kafka import TopicCollection

    admin = _admin(settings)
    wanted = [topic for topic in topics if topic in _metadata(admin, settings).topics]
    if not wanted:
        return {}
    described = admin.describe_topics(TopicCollection(wanted), request_timeout=REQUEST_TIMEOUT_S)
    return {topic: str(_await(future).topic_id) for topic, future in described.items()}


def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Offset that the next committed record of each partition gets; without transactions, the number ever written.

    Raises:
        RetryableError: Kafka does not answer.
        FatalError: there is no such topic.
    """
    from confluent_kafka import IsolationLevel, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    admin = _admin(settings)
    known = _metadata(admin, settings).topics
    if topic not in known:
        raise FatalError(f"There is no topic {topic}.", hint="Run `wavehouse events init`.")
    asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in known[topic].partitions}
    found = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=REQUEST_TIMEOUT_S)
    return {place.partition: int(_await(future).offset) for place, future in found.items()}


class EventProducer:
    """Sends events, each exactly once and in order within its partition, as long as the process lives.

    Use it as a context manager: leaving it without an exception waits until everything is acknowledged. `send` and
    `send_encoded` wait while too much is queued. A delivery that failed is raised by the next call of any method.
    """

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import Producer

        _metadata(_admin(settings), settings)  # a broker that is away is noticed now and not five minutes later
        self._failure: KafkaError | None = None
        self._producer: Producer = Producer(
            producer_config(settings)
            | {
                "linger.ms": 20,
                "batch.size": 262_144,
                "queue.buffering.max.messages": MAX_QUEUED,
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                "delivery.report.only.error": True,
                "on_delivery": self._on_delivery,
            }
        )
        self._registry = SchemaRegistry(settings.registry.http)
        self._encoders: dict[str, Callable[[Mapping[str, Any]], bytes]] = {}
        self._keys: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
            else:
                self._producer.purge()
        finally:
            self._registry.close()

    def encoder(self, topic: str) -> Callable[[Mapping[str, Any]], bytes]:
        """The function that turns a record of `topic` into a message; registers the schema of its contract.

        Raises:
            RetryableError: the registry does not answer.
            FatalError: there is no contract for the topic, or the registry refuses its schema.
        """
        if topic not in self._encoders:
            contract = load(f"topics.{topic}")
            self._encoders[topic] = self._registry.encoder(subject(topic), contract.avro_schema())
            self._keys[topic] = contract.properties["partitionKey"]
        return self._encoders[topic]

    def batch_encoder(self, topic: str) -> Callable[[Iterable[Mapping[str, Any]]], list[bytes]]:
        """As `encoder`, for many records at once, with moments in microseconds; see `SchemaRegistry.batch_encoder`."""
        return self._registry.batch_encoder(subject(topic), load(f"topics.{topic}").avro_schema())

    def send(self, topic: str, record: Mapping[str, Any]) -> None:
        """Encode `record` by the contract of `topic` and queue it under its partition key.

        Raises:
            RejectedInputError: the record does not fit the contract.
            RetryableError: an earlier delivery failed, or the registry does not answer.
            MessageTooLargeError: as of `send_encoded`.
        """
        value = self.encoder(topic)(record)
        self.send_encoded(topic, str(record[self._keys[topic]]).encode(), value)

    def send_encoded(self, topic: str, key: bytes, value: bytes) -> None:
        """Queue a message as it stands.

        Raises:
            RetryableError: an earlier delivery failed.
            MessageTooLargeError: the message can never be delivered, because of its size.
            FatalError: nor this one, for another reason.
        """
        from confluent_kafka import KafkaError, KafkaException

        while True:
            try:
                self._producer.produce(topic, value, key)
                break
            except BufferError:
                # Failed messages leave the queue when their time is up, so this ends in room or in an error.
                self._producer.poll(0.1)
                self._raise_failure()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise MessageTooLargeError(
                        f"A message for {topic} is too large: {len(value):,} bytes, and Kafka takes "
                        f"{MAX_MESSAGE_BYTES:,}.",
                        hint="Shorten what it says.",
                    ) from error
                raise FatalError(
                    f"Kafka cannot take a message for {topic}: {error.args[0].str()}.", hint="Mend what sends it."
                ) from error
        self._producer.poll(0)
        if self._failure is not None:
            self._raise_failure()

    def flush(self) -> None:
        """Wait until the broker has acknowledged everything.

        Raises:
            RetryableError: it did not within five minutes, or a delivery failed.
        """
        left = self._producer.flush(DELIVERY_TIMEOUT_MS / 1000)
        self._raise_failure()
        if left:
            raise RetryableError(f"Kafka left {left} messages unacknowledged.", hint=HINT)

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise RetryableError(f"Kafka did not take a message: {self._failure.str()}.", hint=HINT)


def _admin(settings: Settings) -> AdminClient:
    from confluent_kafka.admin import AdminClient

    return AdminClient(client_config(settings))


def _metadata(admin: AdminClient, settings: Settings) -> Any:
    from confluent_kafka import KafkaException

    try:
        return admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise RetryableError(f"Kafka at {settings.kafka.address} does not answer.", hint=HINT) from error


def _await(future: Any) -> Any:
    """Result of an admin request."""
    from confluent_kafka import KafkaException

    try:
        return future.result(timeout=REQUEST_TIMEOUT_S + 5)
    except (KafkaException, TimeoutError) as error:
        raise RetryableError(f"Kafka did not do as asked: {error}.", hint=HINT) from error


def _await_created(future: Any, topic: str) -> bool:
    """Whether the topic is new; false when another process was faster."""
    from confluent_kafka import KafkaError, KafkaException

    try:
        future.result(timeout=REQUEST_TIMEOUT_S + 5)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise RetryableError(f"Kafka did not create {topic}: {error.args[0].str()}.", hint=HINT) from error
    return True
