"""The contender of `wavehouse bench stream`: the play minutes as a plain PyFlink DataStream job with Python functions.

Runs in the environment `flink` and imports nothing of ours. Prints the id of the job it has submitted.
"""

from __future__ import annotations

import io
import json
import sys
import urllib.request

import fastavro
from pyflink.common import Configuration, Types, WatermarkStrategy
from pyflink.common.serialization import ByteArraySchema
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.kafka import (
    DeliveryGuarantee,
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.state import ValueStateDescriptor

BOTS = ("bot", "crawler", "spider", "headless", "python-requests", "curl/")
MINUTE_US = 60_000_000
STREAM_MS = 30_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


def plain(schema):
    """The schema with moments as numbers."""
    if isinstance(schema, dict):
        if schema.get("logicalType") == "timestamp-micros":
            return "long"
        return {k: plain(v) for k, v in schema.items() if k != "logicalType"}
    return [plain(part) for part in schema] if isinstance(schema, list) else schema


class First(KeyedProcessFunction):
    """The first event of each identity."""

    def open(self, context):
        """State of one identity."""
        self.seen = context.get_state(ValueStateDescriptor("seen", Types.BOOLEAN()))

    def process_element(self, play, context):
        """One play, or none if it was there."""
        if self.seen.value() is None:
            self.seen.update(True)
            yield play


class Totals(KeyedProcessFunction):
    """Running totals of a minute, track, country and listener, encoded."""

    def __init__(self, schema, header):
        self.schema, self.header = schema, header

    def open(self, context):
        """State of one minute."""
        self.totals = context.get_state(ValueStateDescriptor("totals", Types.PICKLED_BYTE_ARRAY()))
        self.parsed = fastavro.parse_schema(self.schema)

    def process_element(self, play, context):
        """The new totals as a message."""
        plays, streams, bots, late, heard = self.totals.value() or (0, 0, 0, 0, 0)
        bot = any(part in play["user_agent"].lower() for part in BOTS)
        totals = (
            plays + 1,
            streams + (not bot and play["ms_played"] >= STREAM_MS),
            bots + bot,
            late + (play["received_at"] - play["played_at"] >= HOUR_US),
            heard + play["ms_played"],
        )
        self.totals.update(totals)
        row = dict(zip(("plays", "streams", "bot_plays", "late_plays", "ms_played"), map(int, totals), strict=True))
        row |= {name: play[name] for name in ("track_id", "country", "user_id")}
        row["window_start"] = play["played_at"] // MINUTE_US * MINUTE_US
        buffer = io.BytesIO()
        buffer.write(self.header)
        fastavro.schemaless_writer(buffer, self.parsed, row)
        yield buffer.getvalue()


def main(arguments):
    """Submit the job; `arguments` as benchmarks/stream.py gives them."""
    registry = arguments["registry"] + "/apis/ccompat/v7/subjects/{}-value/versions/latest"

    def known(subject):
        with urllib.request.urlopen(registry.format(subject)) as answer:  # noqa: S310 - the address of our registry
            found = json.load(answer)
        return found["id"], json.loads(found["schema"])

    _, reader = known("plays")
    number, written = known("play_minutes")
    reader, written = plain(reader), plain(written)

    parsed = fastavro.parse_schema(reader)

    def decode(value):
        return fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed)

    def valid(play):
        ahead = play["played_at"] - play["received_at"]
        return 0 <= play["ms_played"] <= DAY_US // 1000 and ahead <= 5 * MINUTE_US and -ahead < 44 * DAY_US

    def minute(play):
        return (play["played_at"] // MINUTE_US, play["track_id"], play["country"], play["user_id"])

    options = Configuration()
    for name, value in {
        "python.executable": arguments["python"],
        "python.client.executable": arguments["python"],
        "parallelism.default": "2",
        "state.backend.type": "rocksdb",
        "execution.checkpointing.interval": "10 s",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.dir": arguments["checkpoints"],
        "restart-strategy.type": "none",
    }.items():
        options.set_string(name, value)
    env = StreamExecutionEnvironment.get_execution_environment(options)
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(arguments["kafka"])
        .set_topics(arguments["source"])
        .set_group_id("bench-python")
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_bounded(KafkaOffsetsInitializer.latest())
        .set_value_only_deserializer(ByteArraySchema())
        .build()
    )
    record = (
        KafkaRecordSerializationSchema.builder()
        .set_topic(arguments["target"])
        .set_value_serialization_schema(ByteArraySchema())
        .build()
    )
    sink = (
        KafkaSink.builder()
        .set_bootstrap_servers(arguments["kafka"])
        .set_record_serializer(record)
        .set_delivery_guarantee(DeliveryGuarantee.AT_LEAST_ONCE)
        .build()
    )
    (
        env.from_source(source, WatermarkStrategy.no_watermarks(), "plays")
        .map(decode)
        .filter(valid)
        .key_by(lambda play: play["event_id"])
        .process(First())
        .key_by(minute)
        .process(Totals(written, b"\0" + number.to_bytes(4, "big")), output_type=Types.PRIMITIVE_ARRAY(Types.BYTE()))
        .sink_to(sink)
    )
    sys.stdout.write("\njob " + str(env.execute_async(arguments["name"]).get_job_id()) + "\n")


main(json.loads(sys.argv[1]))
