"""Tokens of players that send listens: their hashes, never themselves."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; the service may look a token up, and nothing else."""
    op.execute(
        """create table scrobble.token (
            token_id bigint generated always as identity primary key,
            token_hash text not null unique check (token_hash ~ '^[0-9a-f]{64}$'),
            user_id bigint not null check (user_id > 0),
            label text not null,
            created_at timestamptz not null default transaction_timestamp(),
            revoked_at timestamptz
        )"""
    )
    op.execute("create index on scrobble.token (user_id)")
    op.execute("grant usage on schema scrobble to scrobble_service")
    op.execute("grant select (token_hash, user_id, revoked_at) on scrobble.token to scrobble_service")


def downgrade() -> None:
    """Drop the table."""
    op.execute("drop table scrobble.token")
