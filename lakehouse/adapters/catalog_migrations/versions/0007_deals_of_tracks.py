"""Deals of single tracks of a release."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns: until now all deals were about releases."""
    op.add_column("availability", sa.Column("track", sa.BigInteger(), nullable=True), schema="catalog")
    op.add_column(
        "release_track",
        sa.Column("own_deals", sa.Boolean(), nullable=False, server_default=sa.false()),
        schema="catalog",
    )
    op.alter_column("release_track", "own_deals", server_default=None, schema="catalog")


def downgrade() -> None:
    """Drop them again, and deals of tracks with them."""
    op.execute("delete from catalog.availability where track is not null")
    op.drop_column("release_track", "own_deals", schema="catalog")
    op.drop_column("availability", "track", schema="catalog")
