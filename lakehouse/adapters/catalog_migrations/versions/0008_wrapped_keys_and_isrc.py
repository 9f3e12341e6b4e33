"""Keys of packages are kept encrypted; recordings are found by their ISRC."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forget encrypted packages, whose keys lay in clear, also in old backups. They are made again when asked for."""
    op.execute("delete from catalog.playback_package where aes_key is not null")
    op.alter_column("playback_package", "aes_key", new_column_name="wrapped_key", schema="catalog")
    op.create_index(op.f("content_isrc_ix"), "content", ["isrc"], unique=False, schema="catalog")


def downgrade() -> None:
    """Forget them again: an older version would give out wrapped keys."""
    op.drop_index(op.f("content_isrc_ix"), "content", schema="catalog")
    op.execute("delete from catalog.playback_package where wrapped_key is not null")
    op.alter_column("playback_package", "wrapped_key", new_column_name="aes_key", schema="catalog")
