"""Trino over HTTPS: one way to run a statement.

As the engine (jobs), the analyst (people, who read what is published) or the auditor (who also reads what was built,
at any snapshot). Only the engine writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError, RetryableError

if TYPE_CHECKING:
    from trino.dbapi import Connection

User = Literal["engine", "analyst", "auditor"]


@dataclass(frozen=True)
class Result:
    """Rows of a statement and the names of their columns."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        """Rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def arrow(self) -> pa.Table:
        """Rows as an Arrow table with inferred types."""
        return pa.Table.from_pylist(self.dicts()) if self.rows else pa.table({name: [] for name in self.columns})


def ca_file(settings: Settings) -> str:
    """Certificate of the authority that signed the coordinator's, made when the stack first started."""
    return str(settings.run / "trino" / "ca.pem")


def session(settings: Settings) -> Any:
    """An HTTP session that trusts our own authority alone.

    Its `trust_env` is off: REQUESTS_CA_BUNDLE, where it is set, would take the place of that authority.
    """
    import requests

    made = requests.Session()
    made.verify = ca_file(settings)
    made.trust_env = False
    return made


def connect(settings: Settings, *, user: User = "engine", schema: str | None = None) -> Connection:
    """An open DB-API connection; the caller closes it."""
    import trino

    passwords = {
        "engine": settings.trino.engine_password,
        "analyst": settings.trino.analyst_password,
        "auditor": settings.trino.auditor_password,
    }
    return trino.dbapi.connect(
        host=settings.trino.host,
        port=settings.trino.port,
        http_scheme="https",
        auth=trino.auth.BasicAuthentication(user, passwords[user].get_secret_value()),
        http_session=session(settings),
        catalog="lake",
        schema=schema,
        source="wavehouse",
        timezone="UTC",
    )


def query(
    settings: Settings, sql: str, parameters: Sequence[object] = (), *, user: User = "engine", schema: str | None = None
) -> Result:
    """Run one statement to its end. Values go in as `?` parameters, never into the text.

    Raises:
        FatalError: Trino refused the statement; the message is Trino's own.
        RetryableError: Trino does not answer.
    """
    import requests
    import trino

    try:
        with connect(settings, user=user, schema=schema) as connection:
            cursor = connection.cursor()
            cursor.execute(sql, list(parameters) or None)
            rows = [tuple(row) for row in cursor.fetchall()]
            return Result(tuple(d[0] for d in cursor.description or ()), rows)
    except trino.exceptions.TrinoUserError as error:
        raise FatalError(
            f"Trino: {error.message}", hint="Check the statement; `show tables from gold` lists tables."
        ) from error
    except (trino.exceptions.Error, trino.exceptions.HttpError, requests.exceptions.RequestException, OSError) as error:
        raise RetryableError(
            f"Trino at {settings.trino.address} does not answer: {str(error)[:200]}",
            hint="`wavehouse status` shows whether it runs; `wavehouse logs trino` says why not.",
        ) from error
