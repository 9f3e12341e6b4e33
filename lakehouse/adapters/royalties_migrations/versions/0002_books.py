"""Books of contracts by their SHA-256: a settlement names the one it was made with, many share one."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, as guarded as the rest."""
    op.execute("""
        create table ledger.book (
            sha256 text primary key,
            document bytea not null,
            check (sha256 = encode(sha256(document), 'hex'))
        )""")
    op.execute("grant select, insert on ledger.book to royalties_clerk")
    op.execute(
        "create trigger append_only before update or delete or truncate on ledger.book "
        "for each statement execute function ledger.refuse()"
    )
