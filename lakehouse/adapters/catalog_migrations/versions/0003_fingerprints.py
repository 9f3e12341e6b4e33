"""Acoustic fingerprints, and what was noticed about audio that is in the catalogue all the same."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "audio_fingerprint",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("numbers", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["catalog.audio_object.sha256"], name=op.f("audio_fingerprint_sha256_fk")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("audio_fingerprint_pk")),
        schema="catalog",
    )
    op.create_index(
        "audio_fingerprint_numbers_ix",
        "audio_fingerprint",
        ["numbers"],
        schema="catalog",
        postgresql_using="gin",
    )
    op.create_table(
        "audio_finding",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("other", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["catalog.audio_object.sha256"], name=op.f("audio_finding_sha256_fk")),
        sa.PrimaryKeyConstraint("sha256", "code", "other", name=op.f("audio_finding_pk")),
        schema="catalog",
    )


def downgrade() -> None:
    """Drop them again."""
    op.drop_table("audio_finding", schema="catalog")
    op.drop_table("audio_fingerprint", schema="catalog")
