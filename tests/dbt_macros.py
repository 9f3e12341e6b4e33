"""The project's own macros without dbt: each in an environment where a macro's `return` ends that macro, as in dbt."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import jinja2

from lakehouse.config.settings import CHECKOUT


class _ReturnedError(Exception):
    """What a macro returned."""


def load(name: str, variables: Mapping[str, Any], run_query: Callable[[str], list[tuple[Any, ...]]]) -> dict[str, Any]:
    """Macros of `dbt/macros/<name>.sql` by name, in a run with `variables`. Tables are named without their schema."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - SQL, no HTML

    def returned(value: Any) -> None:
        raise _ReturnedError(value)

    environment.globals |= {
        "return": returned,
        "execute": True,
        "var": lambda key, default=None: variables.get(key, default),
        "run_query": lambda sql: SimpleNamespace(rows=run_query(sql)),
        "api": SimpleNamespace(Relation=SimpleNamespace(create=lambda *, identifier, **_: identifier)),
        "target": SimpleNamespace(database="lake"),
        "generate_schema_name": lambda schema, _: schema,
        "modules": SimpleNamespace(datetime=datetime),
    }
    text = (CHECKOUT / "dbt" / "macros" / f"{name}.sql").read_text()
    macros = {m[1]: m[0] for m in re.finditer(r"\{% macro (\w+)\(.*?endmacro %\}", text, re.DOTALL)}
    found: dict[str, Any] = {}
    # They call each other, in whatever order they stand.
    environment.globals |= {one: lambda *arguments, one=one: found[one](*arguments) for one in macros}
    for one, source in macros.items():
        found[one] = _ending_with_return(getattr(environment.from_string(source).module, one))
    return found


def _ending_with_return(macro: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return macro(*arguments, **named)
        except _ReturnedError as error:
            return error.args[0]

    return call
