"""What the running engines hold is what the contracts say; a second definition anywhere shows here."""

from __future__ import annotations

import pyarrow as pa
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from lakehouse.adapters import clickhouse, kafka, lake, publish, trino
from lakehouse.adapters.avro_registry import SchemaRegistry
from lakehouse.config.settings import Settings
from lakehouse.contracts import all_ids, load

pytestmark = pytest.mark.stack

CONTRACTS = [load(contract_id) for contract_id in all_ids()]
ICEBERG = [c.id for c in CONTRACTS if c.namespace in lake.CREATED_FROM_CONTRACT]
TOPICS = [c.name for c in CONTRACTS if c.namespace == "topics"]
LIVE = [c.id for c in CONTRACTS if c.namespace == "live"]


def narrow(kind: pa.DataType) -> pa.DataType:
    """Iceberg tells no short strings from long ones; PyIceberg reads them all as long."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(narrow(kind.value_type))
    return kind


@pytest.mark.parametrize("contract_id", ICEBERG)
def test_iceberg_tables(stack: Settings, contract_id: str) -> None:
    contract = load(contract_id)
    table = lake.catalog(stack).load_table(contract_id)
    actual = [(f.name, narrow(f.type), f.nullable) for f in table.schema().as_arrow()]
    assert actual == [(f.name, narrow(f.type), f.nullable) for f in contract.arrow_schema()]
    assert [field.doc for field in table.schema().fields] == [column.doc for column in contract.columns]
    names = {field.field_id: field.name for field in table.schema().fields}
    assert [(names[f.source_id], str(f.transform)) for f in table.spec().fields] == list(contract.partition_by)
    assert table.format_version == 2
    assert table.properties["write.parquet.compression-codec"] == "zstd"


@pytest.mark.parametrize("namespace", sorted({contract_id.split(".")[0] for contract_id in ICEBERG}))
def test_no_table_of_the_lake_is_without_a_contract(stack: Settings, namespace: str) -> None:
    found = {".".join(table) for table in lake.catalog(stack).list_tables(namespace)}
    assert found == {contract_id for contract_id in ICEBERG if contract_id.startswith(f"{namespace}.")}


def test_no_live_table_is_without_a_contract(stack: Settings) -> None:
    rows = clickhouse.connect(stack, "reader").query("SHOW TABLES FROM live").result_rows
    assert {f"live.{name}" for (name,) in rows} == set(LIVE)


@pytest.mark.parametrize("contract_id", [id_ for layer in publish.LAYERS for id_ in publish.tables_of(layer)])
def test_published_views_have_the_columns_of_their_contract(played: Settings, contract_id: str) -> None:
    contract = load(contract_id)
    schema, view = publish.view_of(contract).split(".")
    found = trino.query(
        played,
        "select column_name from lake.information_schema.columns where table_schema = ? and table_name = ? "
        "order by ordinal_position",
        [schema, view],
    )
    assert [name for (name,) in found.rows] == [column.name for column in contract.columns]


@pytest.mark.parametrize("topic", TOPICS)
def test_registry_subjects(stack: Settings, topic: str) -> None:
    with SchemaRegistry(stack.registry.http) as registry:
        schema_id, schema = registry.latest(kafka.subject(topic))
        assert schema == load(f"topics.{topic}").avro_schema()
        assert registry.register(kafka.subject(topic), schema) == schema_id


@pytest.mark.parametrize("topic", TOPICS)
def test_topics(stack: Settings, topic: str) -> None:
    properties = load(f"topics.{topic}").properties
    assert len(kafka.end_offsets(stack, topic)) == properties["partitions"]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": stack.kafka.address})
    config = admin.describe_configs([resource])[resource].result(timeout=60)
    assert config["cleanup.policy"].value == properties["cleanupPolicy"]
    assert config["max.message.bytes"].value == str(kafka.MAX_BATCH_BYTES)


@pytest.mark.parametrize("contract_id", LIVE)
def test_clickhouse_tables(stack: Settings, contract_id: str) -> None:
    contract = load(contract_id)
    client = clickhouse.connect(stack, "reader")
    rows = client.query(f"DESCRIBE TABLE {contract_id}").named_results()
    actual = [(row["name"], row["type"], row["comment"]) for row in rows]
    assert actual == [(c.name, c.physical.clickhouse, c.doc) for c in contract.columns]
    made = client.query(
        "SELECT engine_full, sorting_key FROM system.tables WHERE database || '.' || name = {id:String}",
        parameters={"id": contract_id},
    ).first_row
    assert made[0].startswith("ReplacingMergeTree(version)")
    assert made[1].replace("`", "") == ", ".join(contract.key)


def test_what_is_made_twice_stays_as_it_is(stack: Settings) -> None:
    before = kafka.init_subjects(stack)
    assert kafka.init_topics(stack) == []
    assert kafka.init_subjects(stack) == before
    assert lake.init(stack) == []
