"""Delivered releases with their versions and availability, what became of each message, and audit of the quarantine."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and the moment since which content is hidden."""
    op.add_column("content", sa.Column("hidden_at", sa.DateTime(timezone=True), nullable=True), schema="catalog")
    op.create_table(
        "delivered_release",
        sa.Column("release_key", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("message_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("release_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint("state in ('visible', 'taken_down')", name=op.f("delivered_release_state_ck")),
        sa.ForeignKeyConstraint(
            ["release_id"], ["catalog.release.release_id"], name=op.f("delivered_release_release_id_fk")
        ),
        sa.PrimaryKeyConstraint("release_key", name=op.f("delivered_release_pk")),
        schema="catalog",
    )
    op.create_table(
        "release_version",
        sa.Column("release_key", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("message_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=True),
        sa.ForeignKeyConstraint(
            ["release_key"], ["catalog.delivered_release.release_key"], name=op.f("release_version_release_key_fk")
        ),
        sa.PrimaryKeyConstraint("release_key", "version", name=op.f("release_version_pk")),
        schema="catalog",
    )
    op.create_table(
        "release_track",
        sa.Column("release_key", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("content_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["content_id"], ["catalog.content.content_id"], name=op.f("release_track_content_id_fk")
        ),
        sa.ForeignKeyConstraint(
            ["release_key"], ["catalog.delivered_release.release_key"], name=op.f("release_track_release_key_fk")
        ),
        sa.PrimaryKeyConstraint("release_key", "place", name=op.f("release_track_pk")),
        schema="catalog",
    )
    op.create_index(
        op.f("release_track_content_id_ix"), "release_track", ["content_id"], unique=False, schema="catalog"
    )
    op.create_table(
        "availability",
        sa.Column("release_key", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("territory", sa.Text(), nullable=False),
        sa.Column("excluded", postgresql.JSONB(), nullable=False),
        sa.Column("commercial_model", sa.Text(), nullable=False),
        sa.Column("use_type", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("availability_window_ck")),
        sa.ForeignKeyConstraint(
            ["release_key"], ["catalog.delivered_release.release_key"], name=op.f("availability_release_key_fk")
        ),
        sa.PrimaryKeyConstraint("release_key", "place", name=op.f("availability_pk")),
        schema="catalog",
    )
    op.create_table(
        "delivery",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("value", postgresql.JSONB(), nullable=True),
        sa.CheckConstraint(
            "outcome in ('published', 'taken_down', 'unchanged', 'rejected')", name=op.f("delivery_outcome_ck")
        ),
        sa.CheckConstraint("(outcome = 'rejected') = (reason is not null)", name=op.f("delivery_reason_ck")),
        sa.PrimaryKeyConstraint("digest", name=op.f("delivery_pk")),
        schema="catalog",
    )
    op.create_table(
        "quarantine_action",
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("action in ('fix', 'release')", name=op.f("quarantine_action_action_ck")),
        sa.PrimaryKeyConstraint("object_key", "etag", "number", name=op.f("quarantine_action_pk")),
        schema="catalog",
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "quarantine_action",
        "delivery",
        "availability",
        "release_track",
        "release_version",
        "delivered_release",
    ):
        op.drop_table(table, schema="catalog")
    op.drop_column("content", "hidden_at", schema="catalog")
