"""The stream job in SQL: events from Kafka to bronze and dead letters, and running totals a minute to Kafka.

    topic --> decode --+-- undecodable -----------------------> topic dead_letters, bronze.dead_letters
                       +-- every event as received ----------------------------> bronze.<topic>
                       +-- valid ones, the first of each event_id, by minute and listener --> <...>_minutes

Everything here is a pure function of the settings and contracts. Columns come from lakehouse.contracts and predicates
from lakehouse.domain.listening; no host, column list or rule is written in this module.

The minutes are plain GROUP BYs on the event's own time and not windows closed by a watermark: an event that comes 30
days late corrects its minute (docs/adr/0004-windows-without-watermarks.md). What comes after more than 44 days is in
the lake alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lakehouse.adapters import kafka
from lakehouse.adapters.avro_registry import CCOMPAT_PATH
from lakehouse.adapters.lake import CATALOG, catalog_properties
from lakehouse.config.settings import Settings
from lakehouse.contracts import DEAD_LETTERS, EVENT_TOPICS, Contract, load
from lakehouse.domain.listening.rules import (
    LIVE_DAYS,
    counts_live_sql,
    is_bot_sql,
    is_late_sql,
    is_stream_sql,
    rejection_reason_sql,
)
from lakehouse.errors import FatalError

JOB_NAME = "plays-to-lake-and-live"
#: Class in flink_jobs/java that runs the statements on the cluster.
MAIN_CLASS = "org.wavehouse.flink.Submit"
FUNCTIONS = tuple(
    f"CREATE TEMPORARY SYSTEM FUNCTION {name} AS 'org.wavehouse.flink.{class_name}'"
    for name, class_name in (
        ("DECODE_EVENT", "DecodeEvent"),
        ("ENCODE_EVENT", "EncodeEvent"),
    )
)


@dataclass(frozen=True)
class Window:
    """Running totals of one topic: `facts` gives the SQL of what is taken from each event, `measures` that of each
    column that is not part of the key, from facts.
    """

    name: str
    source: str
    event_time: str
    facts: Mapping[str, str]
    measures: Mapping[str, str]


#: Measures follow the descriptions in lakehouse/contracts/topics. All of them include bots except `streams`, whose
#: counting policy leaves them out; `bot_plays` says how many were there.
WINDOWS = (
    Window(
        name="play_minutes",
        source="plays",
        event_time="played_at",
        facts={
            "is_stream": is_stream_sql(),
            "is_bot": is_bot_sql(),
            "is_late": is_late_sql("played_at"),
            "ms_played": "ms_played",
        },
        measures={
            "plays": "COUNT(*)",
            "streams": "COUNT(*) FILTER (WHERE is_stream)",
            "bot_plays": "COUNT(*) FILTER (WHERE is_bot)",
            "late_plays": "COUNT(*) FILTER (WHERE is_late)",
            "ms_played": "SUM(ms_played)",
        },
    ),
    Window(
        name="ad_minutes",
        source="ad_impressions",
        event_time="shown_at",
        facts={"is_late": is_late_sql("shown_at"), "cost_micros": "cost_micros"},
        measures={
            "impressions": "COUNT(*)",
            "late_impressions": "COUNT(*) FILTER (WHERE is_late)",
            "cost_micros": "SUM(cost_micros)",
        },
    ),
)


def configuration(settings: Settings) -> dict[str, str]:
    """Flink options of the job; those of the cluster (memory, ports, heartbeats) are the cluster's own."""
    return {
        "pipeline.name": JOB_NAME,
        # Operators that keep a record copy it themselves; handing each its own copy cost a fifth of the job.
        "pipeline.object-reuse": "true",
        "parallelism.default": "2",
        "execution.runtime-mode": "STREAMING",
        "execution.checkpointing.interval": "10 s",
        "execution.checkpointing.min-pause": "2 s",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.dir": checkpoint_root(settings),
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.num-retained": "1",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        # A checkpoint that times out (a busy disk) is tried again; it never fails the job.
        "execution.checkpointing.tolerable-failed-checkpoints": "1000000",
        "state.backend.type": "rocksdb",
        # Most events and minutes are new, and a Bloom filter says so without a look at the files.
        "state.backend.rocksdb.use-bloom-filter": "true",
        # Whole filters and indexes don't fit into the cache beyond three million identities: then every look reads
        # one of a megabyte again, and an event costs three times as much. In parts, a look needs 4 kB of them.
        "state.backend.rocksdb.memory.partitioned-index-filters": "true",
        # Files of the upper levels are soon merged into the next, so packing them should not pay (not measured alone).
        "state.backend.rocksdb.compression.per.level": "NO_COMPRESSION;NO_COMPRESSION;SNAPPY_COMPRESSION",
        # Identities and minutes must outlive the 30 days an offline device may take, with room for an outage.
        "table.exec.state.ttl": f"{LIVE_DAYS + 1} d",
        "table.local-time-zone": "UTC",
        # Updates of a minute are gathered for a moment, so that a burst of plays is one update.
        "table.exec.mini-batch.enabled": "true",
        "table.exec.mini-batch.allow-latency": "1 s",
        "table.exec.mini-batch.size": "20000",
        # Replayed history has about one event a minute, track and country: a local pre-aggregation only costs.
        "table.optimizer.agg-phase-strategy": "ONE_PHASE",
        "table.optimizer.reuse-optimize-block-with-digest-enabled": "true",
        # An outage of Kafka, the lake or the registry is waited out, however long it takes.
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
    }


def checkpoint_root(settings: Settings) -> str:
    """URI of the folder that holds the checkpoints of all runs of the job."""
    return (settings.data / "flink" / "checkpoints").as_uri()


def render(settings: Settings) -> list[str]:
    """The statements of the job, in order; the last one starts it."""
    statements = [
        *FUNCTIONS,
        f"CREATE CATALOG {CATALOG} WITH ({_options({'type': 'iceberg'} | catalog_properties(settings))})",
    ]
    for topic in EVENT_TOPICS:
        statements += [_source(settings, topic), _decoded(settings, topic)]
    for window in WINDOWS:
        statements += [_window_table(settings, window), _first_of_each(window)]
    statements += [_undecodable(), _dead_letter_table(settings)]
    inserts = [
        *(_bronze(topic) for topic in EVENT_TOPICS),
        _dead_letter_rows(),
        _dead_letter_messages(settings),
        *(_window(settings, window) for window in WINDOWS),
    ]
    statements.append("EXECUTE STATEMENT SET BEGIN\n" + ";\n".join(inserts) + ";\nEND")
    return statements


def render_window(settings: Settings, window: Window, *, source: str, target: str) -> list[str]:
    """The statements of one window alone, from the Kafka topic `source` as long as it is now to the topic `target`, for
    measurements: decoding, identity and totals as in the whole job, without the lake.
    """
    until_now = {"scan.bounded.mode": "latest-offset"}
    return [
        *FUNCTIONS,
        _source(settings, window.source, {"topic": source} | until_now),
        _decoded(settings, window.source),
        _window_table(settings, window, {"topic": target}),
        _first_of_each(window),
        _window(settings, window),
    ]


def _source(settings: Settings, topic: str, others: Mapping[str, str] = MappingProxyType({})) -> str:
    """Raw bytes, because a format of Flink's own fails the job on a broken message. `others` are further options."""
    options = {
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": settings.kafka.address,
        "properties.group.id": JOB_NAME,
        "properties.isolation.level": "read_committed",
        # Only for a first start; afterwards the offsets of the checkpoint count.
        "scan.startup.mode": "earliest-offset",
        "format": "raw",
    } | dict(others)
    return f"""CREATE TEMPORARY TABLE {topic}_raw (
  `value` BYTES,
  kafka_partition INT METADATA FROM 'partition' VIRTUAL,
  kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
  arrived AS PROCTIME()
) WITH ({_options(options)})"""


def _decoded(settings: Settings, topic: str) -> str:
    contract = load(f"topics.{topic}")
    schema = _literal(json.dumps(contract.avro_schema()))
    fields = ", ".join(f"d.`{c.name}`" for c in contract.columns)
    return f"""CREATE TEMPORARY VIEW {topic}_decoded AS
SELECT {fields}, d.reason, d.message, `value`, kafka_partition, kafka_offset, arrived
FROM (
  SELECT DECODE_EVENT(`value`, {schema}, {_literal(settings.registry.http + CCOMPAT_PATH)}) AS d,
    `value`, CAST(kafka_partition AS BIGINT) AS kafka_partition, kafka_offset, arrived
  FROM {topic}_raw
)"""


def _bronze(topic: str) -> str:
    columns = _names(c.name for c in load(f"bronze.{topic}").columns)
    return (
        f"INSERT INTO {CATALOG}.bronze.{topic} ({columns})\nSELECT {columns} FROM {topic}_decoded WHERE reason IS NULL"
    )


def _undecodable() -> str:
    rows = "\nUNION ALL ".join(
        f"SELECT {_literal(topic)} AS topic, kafka_partition, kafka_offset, reason, message, `value` AS payload "
        f"FROM {topic}_decoded WHERE reason IS NOT NULL"
        for topic in EVENT_TOPICS
    )
    return f"CREATE TEMPORARY VIEW undecodable AS\n{rows}"


def _dead_letter_rows() -> str:
    columns = _names(c.name for c in load(f"bronze.{DEAD_LETTERS}").columns)
    return f"INSERT INTO {CATALOG}.bronze.{DEAD_LETTERS} ({columns})\nSELECT {columns} FROM undecodable"


def _dead_letter_table(settings: Settings) -> str:
    options = {
        "connector": "kafka",
        "topic": DEAD_LETTERS,
        "properties.bootstrap.servers": settings.kafka.address,
        # After a failure some come again: topic, partition and offset say which. Transactions would keep readers
        # waiting for a checkpoint, and be aborted by an outage longer than their timeout.
        "sink.delivery-guarantee": "at-least-once",
        "format": "raw",
    }
    return f"CREATE TEMPORARY TABLE {DEAD_LETTERS} (`value` BYTES NOT NULL) WITH ({_options(options)})"


def _dead_letter_messages(settings: Settings) -> str:
    contract = load(f"topics.{DEAD_LETTERS}")
    return f"INSERT INTO {DEAD_LETTERS}\nSELECT {_encoded(settings, contract)} FROM undecodable"


def _first_of_each(window: Window) -> str:
    """Facts of the valid events without their repetitions: the first to arrive stays, so that no update is taken back.

    Only what the totals need goes on from here: every column less is less to hand over to another task.
    """
    identity = _names(load(f"topics.{window.source}").key)
    taken = _group(window) | {f"`{name}`": sql for name, sql in window.facts.items()}
    return f"""CREATE TEMPORARY VIEW {window.source}_distinct AS
SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY {identity} ORDER BY arrived) AS occurrence
  FROM (
    SELECT {identity}, {", ".join(f"{sql} AS {name}" for name, sql in taken.items())}, arrived
    FROM {window.source}_decoded
    WHERE reason IS NULL AND ({rejection_reason_sql(window.source)}) IS NULL AND {counts_live_sql(window.event_time)}
  )
) WHERE occurrence = 1"""


def _group(window: Window) -> dict[str, str]:
    """SQL of the key columns of a window over its events, by quoted name."""
    key = load(f"topics.{window.name}").key
    minute = f"FLOOR({window.event_time} TO MINUTE)"
    return {f"`{name}`": minute if name == "window_start" else f"`{name}`" for name in key}


def _window_table(settings: Settings, window: Window, others: Mapping[str, str] = MappingProxyType({})) -> str:
    """The topic as a table of its key and the encoded message (which holds the key's columns too).

    The key stays in columns: of a key that we encode ourselves the planner can't know that it is the group's, and would
    send a tombstone ahead of every update.
    """
    contract = load(f"topics.{window.name}")
    keys = ",\n  ".join(f"`{name}` {contract.column(name).physical.flink} NOT NULL" for name in contract.key)
    options = {
        "connector": "upsert-kafka",
        "topic": window.name,
        "properties.bootstrap.servers": settings.kafka.address,
        # A later record replaces an earlier one, and after a failure the same updates are written again from the same
        # state: at-least-once leaves the same last record a key as transactions do, and no outage can expire it.
        "sink.delivery-guarantee": "at-least-once",
        "properties.linger.ms": "100",
        "properties.batch.size": "262144",
        "properties.compression.type": "lz4",
        "key.format": "json",
        "key.json.timestamp-format.standard": "ISO-8601",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    } | dict(others)
    return f"""CREATE TEMPORARY TABLE {window.name} (
  {keys},
  `value` BYTES NOT NULL,
  PRIMARY KEY ({_names(contract.key)}) NOT ENFORCED
) WITH ({_options(options)})"""


def _window(settings: Settings, window: Window) -> str:
    contract = load(f"topics.{window.name}")
    if [*contract.key, *window.measures] != [c.name for c in contract.columns]:
        raise FatalError(
            f"The measures of {window.name} are {list(window.measures)}, its contract has other columns.",
            hint="Bring WINDOWS in flink_jobs/statements.py in line with lakehouse/contracts/topics.",
        )
    key, totals = _names(contract.key), ", ".join(f"{sql} AS `{name}`" for name, sql in window.measures.items())
    return f"""INSERT INTO {window.name}
SELECT {key}, {_encoded(settings, contract)}
FROM (
SELECT {key}, {totals}
FROM {window.source}_distinct
GROUP BY {key}
)"""


def _encoded(settings: Settings, contract: Contract) -> str:
    """SQL of a message of a topic, from columns of the contract's names."""
    fixed = (json.dumps(contract.avro_schema()), kafka.subject(contract.name), settings.registry.http + CCOMPAT_PATH)
    return f"ENCODE_EVENT({', '.join(map(_literal, fixed))}, {_names(c.name for c in contract.columns)})"


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in columns)


def _options(options: Mapping[str, str]) -> str:
    return ", ".join(f"{_literal(key)} = {_literal(value)}" for key, value in options.items())


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
