"""Playback packages that are there, with the keys of encrypted ones."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "playback_package",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("loudness_lufs", sa.Float(), nullable=True),
        sa.Column("aes_key", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["sha256"], ["catalog.audio_object.sha256"], name=op.f("playback_package_sha256_fk")),
        sa.PrimaryKeyConstraint("sha256", "recipe", name=op.f("playback_package_pk")),
        schema="catalog",
    )


def downgrade() -> None:
    """Drop it again."""
    op.drop_table("playback_package", schema="catalog")
