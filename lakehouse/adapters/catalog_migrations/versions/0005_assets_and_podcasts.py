"""What belongs to releases and tracks besides audio, items that a feed names, and refused messages with their bytes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the columns. Outcomes are kept by what was delivered, no longer by the bytes of it."""
    op.create_table(
        "asset",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("release_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("content_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint("kind in ('artwork', 'lyrics', 'merch')", name=op.f("asset_kind_ck")),
        sa.CheckConstraint("(kind = 'merch') = (sha256 is null)", name=op.f("asset_sha256_ck")),
        sa.CheckConstraint("(content_id is null) <> (release_id is null)", name=op.f("asset_owner_ck")),
        sa.ForeignKeyConstraint(["content_id"], ["catalog.content.content_id"], name=op.f("asset_content_id_fk")),
        sa.ForeignKeyConstraint(["release_id"], ["catalog.release.release_id"], name=op.f("asset_release_id_fk")),
        sa.PrimaryKeyConstraint("source", "place", name=op.f("asset_pk")),
        schema="catalog",
    )
    op.create_index(op.f("asset_content_id_ix"), "asset", ["content_id"], unique=False, schema="catalog")
    op.create_index(op.f("asset_release_id_ix"), "asset", ["release_id"], unique=False, schema="catalog")
    op.add_column("content", sa.Column("external_id", sa.Text(), nullable=True), schema="catalog")
    op.create_unique_constraint(op.f("content_external_id_uq"), "content", ["external_id"], schema="catalog")
    op.add_column(
        "content", sa.Column("parent_id", sa.BigInteger(), autoincrement=False, nullable=True), schema="catalog"
    )
    op.create_foreign_key(
        op.f("content_parent_id_fk"),
        "content",
        "content",
        ["parent_id"],
        ["content_id"],
        source_schema="catalog",
        referent_schema="catalog",
    )
    op.create_index(op.f("content_parent_id_ix"), "content", ["parent_id"], unique=False, schema="catalog")
    op.add_column("delivery", sa.Column("root", sa.Text(), nullable=False, server_default=""), schema="catalog")
    op.alter_column("delivery", "root", server_default=None, schema="catalog")
    # Nobody noted where older rows lay. Of several with one source, all but one are told apart by their digests.
    op.execute(
        "update catalog.delivery as one set root = digest where exists "
        "(select from catalog.delivery as other where other.source = one.source and other.digest < one.digest)"
    )
    op.drop_constraint(op.f("delivery_pk"), "delivery", schema="catalog")
    op.create_primary_key(op.f("delivery_pk"), "delivery", ["root", "source"], schema="catalog")
    op.create_index(op.f("delivery_digest_ix"), "delivery", ["digest"], unique=False, schema="catalog")
    op.add_column("delivery", sa.Column("beside", sa.Text(), nullable=True), schema="catalog")
    op.add_column("delivery", sa.Column("document", sa.LargeBinary(), nullable=True), schema="catalog")


def downgrade() -> None:
    """Drop the table and the columns; of the same bytes under several names, one row stays."""
    op.execute(
        "delete from catalog.delivery as one using catalog.delivery as other "
        "where other.digest = one.digest and (other.root, other.source) < (one.root, one.source)"
    )
    op.drop_index(op.f("delivery_digest_ix"), "delivery", schema="catalog")
    op.drop_constraint(op.f("delivery_pk"), "delivery", schema="catalog")
    op.create_primary_key(op.f("delivery_pk"), "delivery", ["digest"], schema="catalog")
    for column in ("document", "beside", "root"):
        op.drop_column("delivery", column, schema="catalog")
    op.drop_index(op.f("content_parent_id_ix"), "content", schema="catalog")
    op.drop_constraint(op.f("content_parent_id_fk"), "content", schema="catalog")
    op.drop_constraint(op.f("content_external_id_uq"), "content", schema="catalog")
    for column in ("parent_id", "external_id"):
        op.drop_column("content", column, schema="catalog")
    op.drop_table("asset", schema="catalog")
