"""The outbox of the catalogue: each change of an item of content is noted in its own transaction."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create table and triggers, and note what is there already, so that the changes tell the whole catalogue."""
    # Until the triggers are committed nobody else changes an item, or its change would be noted nowhere.
    op.execute("lock table catalog.content in share row exclusive mode")
    op.create_table(
        "content_change",
        sa.Column("change_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("content_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("attributes", postgresql.JSONB(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_sent", sa.Boolean(), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.CheckConstraint("change in ('insert', 'update', 'delete')", name=op.f("content_change_change_ck")),
        sa.PrimaryKeyConstraint("change_id", name=op.f("content_change_pk")),
        schema="catalog",
    )
    op.create_index(
        "content_change_unsent_ix",
        "content_change",
        ["change_id"],
        schema="catalog",
        postgresql_where=sa.text("not is_sent and refusal is null"),
    )
    op.create_index("content_change_content_id_ix", "content_change", ["content_id", "changed_at"], schema="catalog")
    # `created_at` is the supplier's date, and may lie ahead.
    op.execute(
        "insert into catalog.content_change (content_id, kind, change, attributes, changed_at, is_sent) "
        "select content_id, kind, 'insert', attributes, least(created_at, clock_timestamp()), false "
        "from catalog.content order by content_id"
    )
    # The clock and not the start of the transaction: who waited for another's change changes after it. A clock that was
    # set back stands still until it has caught up with the item's last change.
    op.execute(
        """
        create function catalog.note_content_change() returns trigger language plpgsql as $$
        declare
            item catalog.content := coalesce(new, old);
        begin
            insert into catalog.content_change (content_id, kind, change, attributes, changed_at, is_sent)
            select
                item.content_id, item.kind, lower(tg_op), item.attributes,
                greatest(clock_timestamp(), max(known.changed_at)), false
            from catalog.content_change as known
            where known.content_id = item.content_id;
            return null;
        end
        $$
        """
    )
    op.execute(
        "create trigger content_made_or_deleted after insert or delete on catalog.content "
        "for each row execute function catalog.note_content_change()"
    )
    op.execute(
        "create trigger content_updated after update on catalog.content "
        "for each row when (old.* is distinct from new.*) execute function catalog.note_content_change()"
    )


def downgrade() -> None:
    """Drop triggers and table; what was sent stays in the topic."""
    op.execute("drop trigger content_updated on catalog.content")
    op.execute("drop trigger content_made_or_deleted on catalog.content")
    op.execute("drop function catalog.note_content_change")
    op.drop_table("content_change", schema="catalog")
