"""Alembic's entry: runs the migrations on the connection that `migrations.upgrade` (or a test) hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table_schema="scrobble")
with context.begin_transaction():
    context.run_migrations()
