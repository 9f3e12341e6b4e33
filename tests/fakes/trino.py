"""Trino as far as plain queries go: the same statements in DuckDB, which reads them as Trino does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.adapters.trino import Result
from lakehouse.config.settings import Settings
from lakehouse.contracts import load


def contract_rows(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of a contract's columns; what is not given is null."""
    schema = load(name).arrow_schema()
    return pa.Table.from_pylist(list(rows), schema=pa.schema([field.with_nullable(True) for field in schema]))


class DuckTrino:
    """Stands for `lakehouse.adapters.trino.query` over published tables, named as `gold.streams_monthly`."""

    def __init__(self, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone = 'UTC'; ATTACH ':memory:' AS lake")
        for layer in ("silver", "gold"):
            self._database.execute(f"CREATE SCHEMA lake.{layer}")
        for name, rows in tables.items():
            layer, _, table = name.partition(".")
            self._database.register("given", contract_rows(f"{layer}_audit.{table}", rows))
            self._database.execute(f"CREATE TABLE lake.{name} AS SELECT * FROM given")  # noqa: S608 - names of tests
        self.users: list[str] = []

    def query(
        self,
        settings: Settings,
        sql: str,
        parameters: Sequence[object] = (),
        *,
        user: str = "engine",
        schema: str | None = None,
    ) -> Result:
        """As `lakehouse.adapters.trino.query`."""
        assert settings is not None
        assert schema is None
        self.users.append(user)
        found = self._database.sql(sql, params=list(parameters)).to_arrow_table()
        rows = [tuple(_whole(value) for value in row.values()) for row in found.to_pylist()]
        return Result(tuple(found.column_names), rows)


def _whole(value: Any) -> Any:
    """Sums of integers are integers in Trino; in DuckDB they are wider than Arrow's."""
    return int(value) if isinstance(value, Decimal) and value.as_tuple().exponent == 0 else value
