"""Every contract is a valid ODCS document, every column of the dictionary is used, and what derives from them holds."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft201909Validator, FormatChecker
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters import lake
from lakehouse.config.settings import CHECKOUT
from lakehouse.contracts import (
    DEAD_LETTERS,
    EVENT_TOPICS,
    SILVER_TOPICS,
    SIMULATED_TOPICS,
    Column,
    Contract,
    all_ids,
    load,
)
from lakehouse.contracts.dbt_files import files as generated_files
from lakehouse.contracts.model import HERE, NAMESPACES, TYPES, dictionary
from lakehouse.errors import FatalError

CONTRACTS = [load(contract_id) for contract_id in all_ids()]
TOPICS = [contract for contract in CONTRACTS if contract.namespace == "topics"]
PII = {"none", "pseudonym", "personal"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

every_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.id)


@pytest.fixture(scope="module")
def odcs() -> Draft201909Validator:
    schema = json.loads((files("open_data_contract_standard") / "schema.json").read_text())
    return Draft201909Validator(schema, format_checker=FormatChecker())


@every_contract
def test_is_a_valid_odcs_document(contract: Contract, odcs: Draft201909Validator) -> None:
    faults = [f"{error.json_path}: {error.message}" for error in odcs.iter_errors(contract.odcs())]
    assert faults == []


def test_the_standard_is_really_asked(odcs: Draft201909Validator) -> None:
    document = CONTRACTS[0].odcs() | {"kind": "Table"}
    document["schema"][0]["properties"][0]["logicalType"] = "varchar"
    assert {error.json_path for error in odcs.iter_errors(document)} >= {"$.kind"}
    assert len(list(odcs.iter_errors(document))) >= 2


@every_contract
def test_file_lies_where_its_id_says(contract: Contract) -> None:
    raw = yaml.safe_load((HERE / contract.namespace / f"{contract.name}.yaml").read_text())
    assert raw["id"] == contract.id
    assert raw["schema"][0]["name"] == contract.name
    assert (raw["apiVersion"], raw["kind"], raw["status"]) == ("v3.1.0", "DataContract", "active")


@every_contract
def test_has_a_key_an_owner_a_purpose_and_a_freshness(contract: Contract) -> None:
    assert contract.key
    assert contract.owner
    assert contract.purpose.endswith(".")
    assert "frequency" in {promise["property"] for promise in contract.sla}
    assert len({column.name for column in contract.columns}) == len(contract.columns)
    assert all(contract.column(name).required for name in contract.key)


@every_contract
def test_partitions_are_columns_of_the_contract(contract: Contract) -> None:
    for name, transform in contract.partition_by:
        assert contract.column(name).type in {"timestamp", "date"} or transform == "identity"


def test_every_column_of_the_dictionary_is_used_and_none_is_defined_elsewhere() -> None:
    used = {column.name for contract in CONTRACTS for column in contract.columns}
    assert used == set(dictionary())


def test_every_yaml_file_is_a_known_contract() -> None:
    known = {f"{contract.id.replace('.', '/', 1)}.yaml" for contract in CONTRACTS} | {"fields.yaml"}
    assert {path.relative_to(HERE).as_posix() for path in HERE.rglob("*.yaml")} == known
    assert {contract.namespace for contract in CONTRACTS} == set(NAMESPACES)


@pytest.mark.parametrize("column", dictionary().values(), ids=lambda column: column.name)
def test_a_column_says_what_it_is(column: Column) -> None:
    assert column.type in TYPES
    assert column.pii in PII
    assert column.description
    if column.type == "timestamp":
        assert column.unit == "us"
        assert column.name.endswith(("_at", "_start"))
    if column.name.endswith("_ms") or column.name.startswith("ms_"):
        assert column.unit == "ms"
    if column.name.endswith("_hz"):
        assert column.unit in {"Hz", "1/s"}
    if column.name.startswith(("is_", "has_")):
        assert column.type == "boolean"
    if column.name.endswith("_on"):
        assert column.type == "date"
    if column.name.endswith("_minor"):
        assert (column.type, column.unit) == ("integer", "minor unit of currency")


def test_unknown_contracts_and_columns_are_named() -> None:
    with pytest.raises(FatalError, match=r"no contract 'bronze\.nothing'"):
        load("bronze.nothing")
    with pytest.raises(KeyError, match="no column 'nothing'"):
        load("bronze.plays").column("nothing")


def test_bronze_holds_what_its_topic_carries() -> None:
    for topic in EVENT_TOPICS:
        carried = [(c.name, c.type, c.required) for c in load(f"topics.{topic}").columns]
        kept = [(c.name, c.type, c.required) for c in load(f"bronze.{topic}").columns]
        assert kept[: len(carried)] == carried
        assert [name for name, _, _ in kept[len(carried) :]] == ["kafka_partition", "kafka_offset"]


def test_a_topic_with_a_bronze_table_is_one_that_the_stream_job_keeps() -> None:
    ids = set(all_ids())
    assert set(EVENT_TOPICS) == {c.name for c in TOPICS if f"bronze.{c.name}" in ids} - {DEAD_LETTERS}
    # What the others hold is computed from these.
    assert {c.name for c in TOPICS} - set(EVENT_TOPICS) == {"play_minutes", "ad_minutes", DEAD_LETTERS}
    assert set(SIMULATED_TOPICS) <= set(SILVER_TOPICS) <= set(EVENT_TOPICS)


@pytest.mark.parametrize("name", ["bronze.plays", "bronze.follows", "bronze.dead_letters", "gold_audit.streams_daily"])
def test_a_table_is_partitioned_as_its_contract_says(name: str, tmp_path: Path) -> None:
    tables = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())
    tables.create_namespace(name.split(".", maxsplit=1)[0])
    made = lake.create(tables, load(name))
    names = {field.field_id: field.name for field in made.schema().fields}
    assert [(names[f.source_id], str(f.transform)) for f in made.spec().fields] == list(load(name).partition_by)


def test_files_of_the_dbt_project_are_as_generated() -> None:
    stale = [
        path.relative_to(CHECKOUT).as_posix()
        for path, text in generated_files(CHECKOUT / "dbt").items()
        if not path.is_file() or path.read_text() != text
    ]
    assert stale == [], "run `wavehouse contracts generate`"


LONGS = st.integers(-(2**63), 2**63 - 1)
#: What can stand in both datetime and an Arrow column.
MICROSECONDS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
FLOATS = st.floats(allow_nan=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "uuid": st.uuids().map(str),
    "integer": LONGS,
    "number": FLOATS,
    "boolean": st.booleans(),
    "date": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "timestamp": MICROSECONDS.map(lambda us: EPOCH + timedelta(microseconds=us)),
    "bytes": st.binary(max_size=50),
    "list<number>": st.lists(FLOATS, max_size=5),
    "list<string>": st.lists(st.text(), max_size=5),
    "list<integer>": st.lists(LONGS, max_size=5),
}


def records(contract: Contract) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {c.name: VALUES[c.type] if c.required else st.none() | VALUES[c.type] for c in contract.columns}
    )


def test_values_of_every_type_are_tried() -> None:
    assert set(VALUES) == set(TYPES)


@every_contract
@given(data=st.data())
def test_records_survive_arrow_and_avro(contract: Contract, data: st.DataObject) -> None:
    record = data.draw(records(contract))
    table = pa.Table.from_pylist([record], schema=contract.arrow_schema())
    assert table.validate(full=True) is None
    assert table.to_pylist() == [record]

    buffer = io.BytesIO()
    schema = fastavro.parse_schema(contract.avro_schema())
    fastavro.schemaless_writer(buffer, schema, table.to_pylist()[0])
    buffer.seek(0)
    read: Any = fastavro.schemaless_reader(buffer, schema, None)
    ids = {c.name for c in contract.columns if c.type == "uuid"}
    assert {k: str(v) if k in ids and v is not None else v for k, v in read.items()} == record
    assert buffer.read() == b""


@pytest.mark.parametrize("contract", TOPICS, ids=lambda contract: contract.id)
@given(data=st.data())
def test_a_reader_of_today_reads_what_a_producer_with_one_more_optional_column_writes(
    contract: Contract, data: st.DataObject
) -> None:
    """Adding an optional column is the compatible change that BACKWARD allows, both ways."""
    today = contract.avro_schema()
    extra = {"name": "added_later", "type": ["null", "string"], "default": None}
    tomorrow = today | {"fields": [*today["fields"], extra]}
    record = data.draw(records(contract))
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(tomorrow), record | {"added_later": "x"})
    buffer.seek(0)
    old: Any = fastavro.schemaless_reader(buffer, fastavro.parse_schema(tomorrow), fastavro.parse_schema(today))
    assert set(old) == set(record)
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(today), record)
    buffer.seek(0)
    new: Any = fastavro.schemaless_reader(buffer, fastavro.parse_schema(today), fastavro.parse_schema(tomorrow))
    assert new["added_later"] is None
