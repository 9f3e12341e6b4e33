"""Contracts: the only definition of every topic's and table's columns, and what derives from it.

A contract is a YAML file in the Open Data Contract Standard v3.1 (bitol-io/open-data-contract-standard). To keep one
definition a column, a file names its columns and takes their type, unit and meaning from the dictionary `fields.yaml`;
`columnsOf` puts the columns of another contract in front (bronze holds what its topic carries). `Contract.odcs`
gives the complete document. Everything physical (Arrow, Avro, Flink, ClickHouse and Trino columns) is derived here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from lakehouse.errors import FatalError

HERE = Path(__file__).parent
#: What a namespace is stored in decides its folder.
NAMESPACES = ("topics", "bronze", "silver_audit", "gold_audit", "live")


@dataclass(frozen=True)
class PhysicalType:
    """One logical type in every system that stores it. Avro is a JSON-able schema."""

    odcs: str
    arrow: pa.DataType
    avro: Any
    flink: str
    trino: str
    clickhouse: str


#: The one mapping from logical to physical types. Timestamps are UTC microseconds everywhere; event ids are text,
#: because a native UUID type is not read the same way by all of the engines.
TYPES: dict[str, PhysicalType] = {
    "string": PhysicalType("string", pa.string(), "string", "STRING", "varchar", "String"),
    "uuid": PhysicalType(
        "string", pa.string(), {"type": "string", "logicalType": "uuid"}, "STRING", "varchar", "String"
    ),
    "integer": PhysicalType("integer", pa.int64(), "long", "BIGINT", "bigint", "Int64"),
    "number": PhysicalType("number", pa.float64(), "double", "DOUBLE", "double", "Float64"),
    "boolean": PhysicalType("boolean", pa.bool_(), "boolean", "BOOLEAN", "boolean", "Bool"),
    "date": PhysicalType("date", pa.date32(), {"type": "int", "logicalType": "date"}, "DATE", "date", "Date32"),
    "timestamp": PhysicalType(
        "timestamp",
        pa.timestamp("us", tz="UTC"),
        {"type": "long", "logicalType": "timestamp-micros"},
        "TIMESTAMP_LTZ(6)",
        "timestamp(6) with time zone",
        "DateTime64(6, 'UTC')",
    ),
    "bytes": PhysicalType("string", pa.binary(), "bytes", "BYTES", "varbinary", "String"),
    "list<number>": PhysicalType(
        "array",
        pa.list_(pa.float64()),
        {"type": "array", "items": "double"},
        "ARRAY<DOUBLE>",
        "array(double)",
        "Array(Float64)",
    ),
    "list<string>": PhysicalType(
        "array",
        pa.list_(pa.string()),
        {"type": "array", "items": "string"},
        "ARRAY<STRING>",
        "array(varchar)",
        "Array(String)",
    ),
    "list<integer>": PhysicalType(
        "array",
        pa.list_(pa.int64()),
        {"type": "array", "items": "long"},
        "ARRAY<BIGINT>",
        "array(bigint)",
        "Array(Int64)",
    ),
}


@dataclass(frozen=True)
class Column:
    """One column: its meaning and, by `type`, its form in every engine."""

    name: str
    type: str
    description: str
    unit: str | None = None
    pii: str = "none"
    required: bool = True
    key_position: int | None = None

    @property
    def physical(self) -> PhysicalType:
        """The engines' types of this column."""
        return TYPES[self.type]

    @property
    def doc(self) -> str:
        """Description with the unit, as shown to people."""
        return f"{self.description} [{self.unit}]" if self.unit and self.unit != "1" else self.description


@dataclass(frozen=True)
class Contract:
    """A topic or table: its columns in order, its key and what its storage needs to know."""

    id: str
    version: str
    purpose: str
    owner: str
    columns: tuple[Column, ...]
    properties: dict[str, Any] = field(default_factory=dict)
    sla: tuple[dict[str, Any], ...] = ()

    @property
    def namespace(self) -> str:
        """`topics`, `bronze`, `silver_audit`, `gold_audit` or `live`."""
        return self.id.split(".")[0]

    @property
    def name(self) -> str:
        """Name of the topic or table inside its namespace."""
        return self.id.split(".")[1]

    @property
    def key(self) -> tuple[str, ...]:
        """Columns that identify a row, in order."""
        keyed = [c for c in self.columns if c.key_position is not None]
        return tuple(c.name for c in sorted(keyed, key=lambda c: c.key_position or 0))

    @property
    def partition_by(self) -> tuple[tuple[str, str], ...]:
        """Iceberg partition fields as (column, transform); the transform is `identity`, `day` or `month`."""
        fields = []
        for text in filter(None, re.split(r",\s*", self.properties.get("partitionBy", ""))):
            match = re.fullmatch(r"(?:(day|month)\()?(\w+)\)?", text)
            if match is None:
                raise FatalError(
                    f"Contract {self.id}: partitionBy '{text}' is not understood.",
                    hint="Use column, day(column) or month(column).",
                )
            fields.append((match[2], match[1] or "identity"))
        return tuple(fields)

    def column(self, name: str) -> Column:
        """The column called `name`.

        Raises:
            KeyError: the contract has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.id} has no column '{name}'")

    def arrow_schema(self) -> pa.Schema:
        """Arrow schema; nullability as in the contract, descriptions as field metadata (Iceberg reads `doc`)."""
        return pa.schema(
            [
                pa.field(
                    c.name, c.physical.arrow, nullable=not c.required, metadata={"doc": c.doc, "unit": c.unit or ""}
                )
                for c in self.columns
            ]
        )

    def avro_schema(self) -> dict[str, Any]:
        """Avro record schema (1.12) of the message value. An optional column is a union with null, null by default."""
        fields: list[dict[str, Any]] = []
        for c in self.columns:
            entry: dict[str, Any] = {"name": c.name, "type": c.physical.avro, "doc": c.doc}
            if not c.required:
                entry |= {"type": ["null", c.physical.avro], "default": None}
            fields.append(entry)
        return {"type": "record", "name": self.name, "namespace": "wavehouse", "doc": self.purpose, "fields": fields}

    def clickhouse_ddl(self) -> str:
        """`CREATE TABLE IF NOT EXISTS` for ClickHouse; of a key, the row with the highest `version` wins."""
        columns = ",\n  ".join(
            f"`{c.name}` {c.physical.clickhouse if c.required else f'Nullable({c.physical.clickhouse})'} "
            f"COMMENT '{c.doc.replace(chr(39), chr(39) * 2)}'"
            for c in self.columns
        )
        order = ", ".join(f"`{name}`" for name in self.key)
        return (
            f"CREATE TABLE IF NOT EXISTS `{self.namespace}`.`{self.name}` (\n  {columns}\n)\n"
            f"ENGINE = ReplacingMergeTree(version) ORDER BY ({order})"
        )

    def dbt_columns(self) -> list[dict[str, Any]]:
        """Columns as a dbt properties file lists them, with the data type of Trino."""
        return [
            {"name": c.name, "data_type": c.physical.trino, "description": c.doc}
            | ({"constraints": [{"type": "not_null"}]} if c.required else {})
            for c in self.columns
        ]

    def odcs(self) -> dict[str, Any]:
        """The complete contract as an ODCS v3.1 document."""
        return {
            "apiVersion": "v3.1.0",
            "kind": "DataContract",
            "id": self.id,
            "version": self.version,
            "status": "active",
            "description": {"purpose": self.purpose},
            "team": {"name": self.owner},
            "schema": [
                {
                    "name": self.name,
                    "properties": [
                        {
                            "name": c.name,
                            "logicalType": c.physical.odcs,
                            "physicalType": c.physical.trino,
                            "description": c.doc,
                            "required": c.required,
                            "classification": c.pii,
                        }
                        | ({"primaryKey": True, "primaryKeyPosition": c.key_position} if c.key_position else {})
                        for c in self.columns
                    ],
                }
            ],
            "slaProperties": list(self.sla),
            "customProperties": [{"property": k, "value": v} for k, v in self.properties.items()],
        }


@cache
def dictionary() -> dict[str, Column]:
    """Every column name the platform uses, from `fields.yaml`."""
    raw = yaml.safe_load((HERE / "fields.yaml").read_text())
    return {name: Column(name=name, **spec) for name, spec in raw.items()}


def _column(contract_id: str, spec: dict[str, Any]) -> Column:
    known = dictionary()
    extra = set(spec) - {"name", "required", "description", "primaryKey", "primaryKeyPosition"}
    if spec["name"] not in known:
        raise FatalError(
            f"Contract {contract_id}: column '{spec['name']}' is not in fields.yaml.", hint="Define it there once."
        )
    if extra:
        raise FatalError(
            f"Contract {contract_id}: column '{spec['name']}' redefines {sorted(extra)}.", hint="Change fields.yaml."
        )
    base = known[spec["name"]]
    return replace(
        base,
        required=spec.get("required", base.required),
        description=spec.get("description", base.description),
        key_position=spec.get("primaryKeyPosition", 1) if spec.get("primaryKey") else None,
    )


@cache
def load(contract_id: str) -> Contract:
    """The contract `<namespace>.<name>`, for example `topics.plays`.

    Raises:
        FatalError: there is no such contract, or it names a column that the dictionary does not have.
    """
    path = HERE / (contract_id.replace(".", "/", 1) + ".yaml")
    if not path.is_file():
        raise FatalError(f"There is no contract '{contract_id}'.", hint=f"Known: {', '.join(all_ids())}.")
    raw = yaml.safe_load(path.read_text())
    properties = {p["property"]: p["value"] for p in raw.get("customProperties", [])}
    own = [_column(contract_id, spec) for spec in raw["schema"][0]["properties"]]
    inherited: list[Column] = []
    if source := properties.pop("columnsOf", None):
        # A table of its own key replaces the topic's key; one without (live tables) keeps it.
        keep_key = not any(c.key_position for c in own)
        inherited = [c if keep_key else replace(c, key_position=None) for c in load(source).columns]
    return Contract(
        id=raw["id"],
        version=raw["version"],
        purpose=raw["description"]["purpose"],
        owner=raw["team"]["name"],
        columns=tuple(inherited + own),
        properties=properties,
        sla=tuple(raw.get("slaProperties", ())),
    )


def all_ids() -> list[str]:
    """Ids of all contracts, sorted."""
    return sorted(f"{ns}.{path.stem}" for ns in NAMESPACES for path in (HERE / ns).glob("*.yaml"))
