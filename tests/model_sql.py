"""dbt models in DuckDB: SQL that both engines read the same way, with each `ref` as the table of that name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import jinja2
import pyarrow as pa

from lakehouse.config.settings import CHECKOUT

#: Functions of Trino that DuckDB has under another name.
FUNCTIONS = "create macro date_format(moment, format) as strftime(moment, format)"


def sql(model: str, **macros: Any) -> str:
    """The SQL of `model`; `macros` stand for those of the project."""
    path = next((CHECKOUT / "dbt" / "models").rglob(f"{model}.sql"))
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - SQL, no HTML
    return environment.from_string(path.read_text()).render({"ref": str, "config": lambda **_: ""} | macros)


def rows(model: str, tables: Mapping[str, pa.Table], *, views: tuple[str, ...] = (), **macros: Any) -> list[Any]:
    """Rows of `model` as dicts, over `tables` by name and the models `views`, made in this order."""
    with duckdb.connect() as database:
        database.execute(FUNCTIONS)
        for name, table in tables.items():
            database.register(name, table)
        for view in views:
            database.execute(f"create view {view} as {sql(view, **macros)}")
        return database.sql(sql(model, **macros)).to_arrow_table().to_pylist()
