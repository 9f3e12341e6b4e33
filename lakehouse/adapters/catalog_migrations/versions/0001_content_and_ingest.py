"""The polymorphic content model, and what ingestion and extraction remember."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "artist",
        sa.Column("artist_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("artist_id", name=op.f("artist_pk")),
        sa.UniqueConstraint("name_key", name=op.f("artist_name_key_uq")),
        schema="catalog",
    )
    op.create_table(
        "audio_object",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("sample_rate_hz", sa.BigInteger(), nullable=False),
        sa.Column("channels", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("audio_format", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("audio_object_sha256_ck")),
        sa.CheckConstraint(
            "duration_ms > 0 and sample_rate_hz > 0 and channels > 0 and size_bytes > 0",
            name=op.f("audio_object_positive_ck"),
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("audio_object_pk")),
        schema="catalog",
    )
    op.create_table(
        "content_kind",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("attributes_schema", postgresql.JSONB(), nullable=False),
        sa.Column("needs_audio", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("content_kind_pk")),
        schema="catalog",
    )
    op.create_table(
        "extraction_failure",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("extractor", sa.Text(), nullable=False),
        sa.Column("extractor_version", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["catalog.audio_object.sha256"], name=op.f("extraction_failure_sha256_fk")),
        sa.PrimaryKeyConstraint("sha256", "extractor", "extractor_version", name=op.f("extraction_failure_pk")),
        schema="catalog",
    )
    op.create_table(
        "release",
        sa.Column("release_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("artist_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("title_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["artist_id"], ["catalog.artist.artist_id"], name=op.f("release_artist_id_fk")),
        sa.PrimaryKeyConstraint("release_id", name=op.f("release_pk")),
        sa.UniqueConstraint("artist_id", "title_key", name=op.f("release_artist_id_title_key_uq")),
        schema="catalog",
    )
    op.create_table(
        "content",
        sa.Column("content_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("artist_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("release_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("isrc", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(), nullable=False),
        sa.Column("genre", sa.Text(), sa.Computed("attributes ->> 'genre'", persisted=True), nullable=True),
        sa.Column("licence", sa.Text(), sa.Computed("attributes ->> 'licence'", persisted=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("isrc ~ '^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}$'", name=op.f("content_isrc_ck")),
        sa.CheckConstraint("jsonb_typeof(attributes) = 'object'", name=op.f("content_attributes_ck")),
        sa.CheckConstraint("content_id > 0", name=op.f("content_content_id_ck")),
        sa.ForeignKeyConstraint(["artist_id"], ["catalog.artist.artist_id"], name=op.f("content_artist_id_fk")),
        sa.ForeignKeyConstraint(["kind"], ["catalog.content_kind.kind"], name=op.f("content_kind_fk")),
        sa.ForeignKeyConstraint(["release_id"], ["catalog.release.release_id"], name=op.f("content_release_id_fk")),
        sa.ForeignKeyConstraint(["sha256"], ["catalog.audio_object.sha256"], name=op.f("content_sha256_fk")),
        sa.PrimaryKeyConstraint("content_id", name=op.f("content_pk")),
        sa.UniqueConstraint("sha256", name=op.f("content_sha256_uq")),
        schema="catalog",
    )
    op.create_index(op.f("content_artist_id_ix"), "content", ["artist_id"], unique=False, schema="catalog")
    op.create_index(op.f("content_release_id_ix"), "content", ["release_id"], unique=False, schema="catalog")
    op.create_index(
        "content_title_ix",
        "content",
        [sa.literal_column('lower(title) COLLATE "C"'), "content_id"],
        unique=False,
        schema="catalog",
    )
    op.create_table(
        "ingest_ledger",
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("content_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(outcome = 'accepted') = (reason is null)", name=op.f("ingest_ledger_reason_ck")),
        sa.CheckConstraint("(outcome = 'rejected') = (content_id is null)", name=op.f("ingest_ledger_content_id_ck")),
        sa.CheckConstraint("outcome in ('accepted', 'duplicate', 'rejected')", name=op.f("ingest_ledger_outcome_ck")),
        sa.ForeignKeyConstraint(
            ["content_id"], ["catalog.content.content_id"], name=op.f("ingest_ledger_content_id_fk")
        ),
        sa.PrimaryKeyConstraint("object_key", "etag", name=op.f("ingest_ledger_pk")),
        schema="catalog",
    )
    op.create_table(
        "quarantine",
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(), nullable=True),
        sa.Column("kept_as", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["object_key", "etag"], ["catalog.ingest_ledger.object_key", "catalog.ingest_ledger.etag"], name="ledger_fk"
        ),
        sa.PrimaryKeyConstraint("object_key", "etag", name=op.f("quarantine_pk")),
        schema="catalog",
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("quarantine", schema="catalog")
    op.drop_table("ingest_ledger", schema="catalog")
    op.drop_table("content", schema="catalog")
    op.drop_table("release", schema="catalog")
    op.drop_table("extraction_failure", schema="catalog")
    op.drop_table("content_kind", schema="catalog")
    op.drop_table("audio_object", schema="catalog")
    op.drop_table("artist", schema="catalog")
