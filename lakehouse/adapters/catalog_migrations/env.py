"""Alembic's entry: runs the migrations on the connection that `migrations.upgrade` (or a test) hands over."""

from alembic import context

from lakehouse.adapters.catalog_db import SCHEMA, metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    compare_type=True,
    include_name=lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
)
with context.begin_transaction():
    context.run_migrations()
