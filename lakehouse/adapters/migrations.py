"""Bringing a schema of PostgreSQL to its newest revision with Alembic."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa


def upgrade(connection: sa.Connection, folder: Path, schema: str) -> list[str]:
    """Apply, in the transaction of `connection`, the revisions of `folder` that `schema` lacks; returns those applied.

    The schema is made if there is none, and holds Alembic's own table too. Whoever else migrates it waits.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    def revision() -> str | None:
        return MigrationContext.configure(connection, opts={"version_table_schema": schema}).get_current_revision()

    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes["connection"] = connection
    # The lock ends with the transaction.
    connection.execute(sa.text("select pg_advisory_xact_lock(hashtext(:what))"), {"what": f"{schema} migrations"})
    connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    before = revision()
    command.upgrade(config, "head")
    after = revision()
    if before == after:
        return []
    return [step.revision for step in ScriptDirectory.from_config(config).iterate_revisions(after, before)][::-1]
