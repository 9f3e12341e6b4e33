"""Tokens by which a player shows whose listens it sends. Only their SHA-256 is kept: who reads the database has none.

A token is 128 random bits, so that its hash needs neither salt nor slowness: there is nothing to guess. It is written
as a UUID, because that is what ListenBrainz gives out.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lakehouse.adapters import migrations
from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError, RetryableError

SCHEMA = "scrobble"
MIGRATIONS = Path(__file__).with_name("scrobble_migrations")
STATEMENT_TIMEOUT_MS = 5_000
#: SQLSTATEs of an undefined table and schema.
NO_TABLES = {"42P01", "3F000"}


@dataclass(frozen=True)
class Token:
    """What is known of a token, without itself. Times are UTC."""

    token_id: int
    user_id: int
    label: str
    created_at: datetime
    revoked_at: datetime | None


def hashed(token: str) -> str:
    """What is kept of a token: its SHA-256 in hex; case does not matter, as in any UUID."""
    return hashlib.sha256(token.strip().lower().encode()).hexdigest()


def create(settings: Settings, user_id: int, *, label: str) -> tuple[int, str]:
    """Make a token for a listener; returns its number and the token, which is nowhere else.

    Raises:
        RetryableError: PostgreSQL does not answer.
    """
    token = str(uuid.UUID(bytes=secrets.token_bytes(16)))
    with _owner(settings) as connection:
        migrations.upgrade(connection, MIGRATIONS, SCHEMA)
        token_id = connection.execute(
            sa.text("insert into scrobble.token (token_hash, user_id, label) values (:hash, :user, :label) "
                    "returning token_id"),
            {"hash": hashed(token), "user": user_id, "label": label},
        ).scalar_one()  # fmt: skip
    return int(token_id), token


def tokens(settings: Settings, user_id: int | None = None) -> list[Token]:
    """Tokens of one listener, or of all, oldest first; revoked ones too.

    Raises:
        RetryableError: PostgreSQL does not answer.
    """
    query = """select token_id, user_id, label, created_at, revoked_at from scrobble.token
        where cast(:user as bigint) is null or user_id = :user order by token_id"""
    with _owner(settings) as connection:
        migrations.upgrade(connection, MIGRATIONS, SCHEMA)
        return [Token(*row) for row in connection.execute(sa.text(query), {"user": user_id})]


def revoke(settings: Settings, token_id: int) -> Token:
    """Make a token invalid from now on; one that is revoked keeps the moment of the first time.

    Raises:
        RetryableError: PostgreSQL does not answer.
        FatalError: there is no such token.
    """
    query = """update scrobble.token set revoked_at = coalesce(revoked_at, transaction_timestamp())
        where token_id = :id returning token_id, user_id, label, created_at, revoked_at"""
    with _owner(settings) as connection:
        migrations.upgrade(connection, MIGRATIONS, SCHEMA)
        row = connection.execute(sa.text(query), {"id": token_id}).one_or_none()
    if row is None:
        raise FatalError(f"There is no token {token_id}.", hint="See `wavehouse listens token list`.")
    return Token(*row)


class Tokens:
    """Looks tokens up as the service's own role, which can read hashes and listeners only. Safe for many threads."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.postgres.address
        self._engine = sa.create_engine(
            settings.postgres.url(SCHEMA, role="scrobble_service"),
            pool_size=2,
            max_overflow=6,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "connect_timeout": 5,
                "application_name": "scrobble-api",
                "options": f"-c default_transaction_read_only=on -c statement_timeout={STATEMENT_TIMEOUT_MS}",
            },
        )

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def ping(self) -> None:
        """Returns when the database answers."""
        self.user(str(uuid.UUID(int=0)))

    def user(self, token: str) -> int | None:
        """Listener of a token; None when there is no such token or it was revoked.

        Raises:
            RetryableError: PostgreSQL does not answer.
        """
        query = "select user_id from scrobble.token where token_hash = :hash and revoked_at is null"
        with _answers(self._address), self._engine.connect() as connection:
            try:
                found: Any = connection.execute(sa.text(query), {"hash": hashed(token)}).scalar_one_or_none()
            except sa.exc.ProgrammingError as error:
                if getattr(error.orig, "sqlstate", "") in NO_TABLES:
                    return None  # the first token makes the table, so there is none
                raise
        return None if found is None else int(found)


@contextmanager
def _answers(address: str) -> Iterator[None]:
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
        raise RetryableError(
            f"The tokens at {address} can't be read.",
            hint="`wavehouse status` shows whether PostgreSQL runs; `wavehouse up --only lake` starts it.",
        ) from error


@contextmanager
def _owner(settings: Settings) -> Iterator[sa.Connection]:
    """A transaction of the owner, who may do all."""
    engine = sa.create_engine(settings.postgres.url(SCHEMA), hide_parameters=True, connect_args={"connect_timeout": 5})
    try:
        with _answers(settings.postgres.address), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
