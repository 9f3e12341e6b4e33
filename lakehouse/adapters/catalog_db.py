"""The catalogue's database: tables, migrations, and the transactions that ingestion and extraction make.

Every change is idempotent: it is keyed by what came in (`object_key`, `etag`) or by the content itself, and repeating
it finds the rows of the first time. Times are UTC and come from the data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from lakehouse.adapters import migrations
from lakehouse.config.settings import Settings
from lakehouse.domain.audio.reasons import DUPLICATE_AUDIO
from lakehouse.domain.audio.tagged import Judged
from lakehouse.domain.audio.validation import AudioFacts
from lakehouse.domain.catalog.content import KINDS, ContentKind, Item
from lakehouse.domain.catalog.deliveries.corrections import Corrections, check_accepted, gathered
from lakehouse.domain.catalog.deliveries.decide import Decision, Known, decide
from lakehouse.domain.catalog.deliveries.messages import Message, Release, Window, check_in_force
from lakehouse.domain.catalog.identifiers import name_key, recording_key
from lakehouse.domain.catalog.ids import id_moment, time_ordered_id
from lakehouse.domain.catalog.quality import duplicates
from lakehouse.domain.catalog.quality.records import sound_findings
from lakehouse.domain.catalog.quality.rules import Rule
from lakehouse.errors import FatalError, RejectedInputError, RetryableError

SCHEMA = "catalog"
MIGRATIONS = Path(__file__).with_name("catalog_migrations")

#: SQLSTATEs of a table, schema or column that does not exist.
NOT_MIGRATED = frozenset({"42P01", "3F000", "42703"})

metadata = sa.MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pk",
        "uq": "%(table_name)s_%(column_0_N_name)s_uq",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "ck": "%(table_name)s_%(constraint_name)s_ck",
        "ix": "%(table_name)s_%(column_0_name)s_ix",
    },
)
_INSTANT = sa.DateTime(timezone=True)


def _id(name: str, *, target: str | None = None, **options: Any) -> sa.Column[int]:
    reference = [sa.ForeignKey(f"{SCHEMA}.{target}")] if target else []
    return sa.Column(name, sa.BigInteger, *reference, autoincrement=False, **options)


content_kind = sa.Table(
    "content_kind",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("attributes_schema", JSONB, nullable=False),
    sa.Column("needs_audio", sa.Boolean, nullable=False),
)
artist = sa.Table(
    "artist",
    metadata,
    _id("artist_id", primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", _INSTANT, nullable=False),
)
release = sa.Table(
    "release",
    metadata,
    _id("release_id", primary_key=True),
    _id("artist_id", target="artist.artist_id", nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("title_key", sa.Text, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.UniqueConstraint("artist_id", "title_key"),
)
audio_object = sa.Table(
    "audio_object",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("duration_ms", sa.BigInteger, nullable=False),
    sa.Column("sample_rate_hz", sa.BigInteger, nullable=False),
    sa.Column("channels", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("audio_format", sa.Text, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
    sa.CheckConstraint("duration_ms > 0 and sample_rate_hz > 0 and channels > 0 and size_bytes > 0", name="positive"),
)
content = sa.Table(
    "content",
    metadata,
    _id("content_id", primary_key=True),
    sa.Column("kind", sa.Text, sa.ForeignKey(content_kind.c.kind), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    _id("artist_id", target="artist.artist_id", nullable=False, index=True),
    _id("release_id", target="release.release_id", index=True),
    sa.Column("isrc", sa.Text, index=True),
    sa.Column("sha256", sa.Text, sa.ForeignKey(audio_object.c.sha256), unique=True),
    sa.Column("attributes", JSONB, nullable=False),
    # Columns of the contract that are attributes of the kinds which have them.
    sa.Column("genre", sa.Text, sa.Computed("attributes ->> 'genre'", persisted=True)),
    sa.Column("licence", sa.Text, sa.Computed("attributes ->> 'licence'", persisted=True)),
    sa.Column("created_at", _INSTANT, nullable=False),
    # Since when it may not be shown; the row stays for what was played before.
    sa.Column("hidden_at", _INSTANT),
    # What a feed calls it for good: names of episodes change, and two may have the same.
    sa.Column("external_id", sa.Text, unique=True),
    # The podcast of an episode.
    _id("parent_id", target="content.content_id", index=True),
    sa.CheckConstraint("content_id > 0", name="content_id"),
    sa.CheckConstraint("isrc ~ '^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}$'", name="isrc"),
    sa.CheckConstraint("jsonb_typeof(attributes) = 'object'", name="attributes"),
    sa.Index("content_title_ix", sa.text('lower(title) COLLATE "C"'), "content_id"),
)
#: The outbox of `content`: a trigger adds a row in the transaction of each change (migration 0006), and
#: `catalog_relay` sends it. Nothing refers to `content`, whose deletions are changes too.
content_change = sa.Table(
    "content_change",
    metadata,
    # Taken while the changed row is locked: changes of one item are numbered in the order in which they are committed.
    sa.Column("change_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _id("content_id", nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("attributes", JSONB, nullable=False),
    sa.Column("changed_at", _INSTANT, nullable=False),
    sa.Column("is_sent", sa.Boolean, nullable=False),
    # Why it can never be sent: it holds up no other then.
    sa.Column("refusal", sa.Text),
    sa.CheckConstraint("change in ('insert', 'update', 'delete')", name="change"),
    sa.Index("content_change_unsent_ix", "change_id", postgresql_where=sa.text("not is_sent and refusal is null")),
    # The last change of an item, for the trigger.
    sa.Index("content_change_content_id_ix", "content_id", "changed_at"),
)
ingest_ledger = sa.Table(
    "ingest_ledger",
    metadata,
    sa.Column("object_key", sa.Text, primary_key=True),
    sa.Column("etag", sa.Text, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    # What the file became or, for a duplicate, what it equals.
    _id("content_id", target="content.content_id"),
    sa.Column("received_at", _INSTANT, nullable=False),
    sa.CheckConstraint("outcome in ('accepted', 'duplicate', 'rejected')", name="outcome"),
    sa.CheckConstraint("(outcome = 'rejected') = (content_id is null)", name="content_id"),
    sa.CheckConstraint("(outcome = 'accepted') = (reason is null)", name="reason"),
)
quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("object_key", sa.Text, primary_key=True),
    sa.Column("etag", sa.Text, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("value", JSONB),
    # s3:// address of the copy that is kept.
    sa.Column("kept_as", sa.Text, nullable=False),
    sa.Column("received_at", _INSTANT, nullable=False),
    sa.ForeignKeyConstraint(
        ["object_key", "etag"], ["catalog.ingest_ledger.object_key", "catalog.ingest_ledger.etag"], name="ledger_fk"
    ),
)
extraction_failure = sa.Table(
    "extraction_failure",
    metadata,
    sa.Column("sha256", sa.Text, sa.ForeignKey(audio_object.c.sha256), primary_key=True),
    sa.Column("extractor", sa.Text, primary_key=True),
    sa.Column("extractor_version", sa.Text, primary_key=True),
    sa.Column("message", sa.Text, nullable=False),
)
delivered_release = sa.Table(
    "delivered_release",
    metadata,
    sa.Column("release_key", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("sender", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("message_at", _INSTANT, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    _id("release_id", target="release.release_id", nullable=False),
    sa.CheckConstraint("state in ('visible', 'taken_down')", name="state"),
)
release_version = sa.Table(
    "release_version",
    metadata,
    sa.Column("release_key", sa.Text, sa.ForeignKey(delivered_release.c.release_key), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("sender", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("message_at", _INSTANT, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    # The release as it was delivered; none in a purge.
    sa.Column("document", JSONB),
)
release_track = sa.Table(
    "release_track",
    metadata,
    sa.Column("release_key", sa.Text, sa.ForeignKey(delivered_release.c.release_key), primary_key=True),
    sa.Column("place", sa.BigInteger, primary_key=True),
    _id("content_id", target="content.content_id", nullable=False, index=True),
    # Whether deals name it alone: then its rows of `availability` count, which may be none, and not the release's.
    sa.Column("own_deals", sa.Boolean, nullable=False),
)
availability = sa.Table(
    "availability",
    metadata,
    sa.Column("release_key", sa.Text, sa.ForeignKey(delivered_release.c.release_key), primary_key=True),
    sa.Column("place", sa.BigInteger, primary_key=True),
    # Place of the one track that it is about; none for the release.
    sa.Column("track", sa.BigInteger),
    sa.Column("territory", sa.Text, nullable=False),
    sa.Column("excluded", JSONB, nullable=False),
    sa.Column("commercial_model", sa.Text, nullable=False),
    sa.Column("use_type", sa.Text, nullable=False),
    sa.Column("starts_at", _INSTANT, nullable=False),
    sa.Column("ends_at", _INSTANT),
    sa.CheckConstraint("ends_at > starts_at", name="window"),
)
asset = sa.Table(
    "asset",
    metadata,
    # Key of the release whose newest version brought it; the next version replaces all of the source's rows.
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    _id("release_id", target="release.release_id", index=True),
    _id("content_id", target="content.content_id", index=True),
    # Its path in the delivery, by which an update that does not bring it again names it.
    sa.Column("path", sa.Text),
    sa.Column("sha256", sa.Text),
    sa.Column("media_type", sa.Text),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("attributes", JSONB, nullable=False),
    sa.CheckConstraint("kind in ('artwork', 'lyrics', 'merch')", name="kind"),
    sa.CheckConstraint("(kind = 'merch') = (sha256 is null)", name="sha256"),
    sa.CheckConstraint("(content_id is null) <> (release_id is null)", name="owner"),
)
delivery = sa.Table(
    "delivery",
    metadata,
    # The folder, or s3://landing, that `source` is below.
    sa.Column("root", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    # Hash of its bytes, "" when they could not be read: the same bytes may come under several names.
    sa.Column("digest", sa.Text, nullable=False, index=True),
    sa.Column("sender", sa.Text),
    sa.Column("message_id", sa.Text),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("value", JSONB),
    # Hash of the names and sizes of the files around it: as long as it stays, looking again would find the same.
    sa.Column("beside", sa.Text),
    # The message itself as long as it is refused.
    sa.Column("document", sa.LargeBinary),
    sa.CheckConstraint("outcome in ('published', 'taken_down', 'unchanged', 'rejected')", name="outcome"),
    sa.CheckConstraint("(outcome = 'rejected') = (reason is not null)", name="reason"),
)
quarantine_action = sa.Table(
    "quarantine_action",
    metadata,
    sa.Column("object_key", sa.Text, primary_key=True),
    sa.Column("etag", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("value", JSONB),
    sa.Column("at", _INSTANT, nullable=False),
    sa.CheckConstraint("action in ('fix', 'release')", name="action"),
)
#: Raw chromaprints, whose unsigned numbers are kept as PostgreSQL's signed ones; the index finds shared numbers.
audio_fingerprint = sa.Table(
    "audio_fingerprint",
    metadata,
    sa.Column("sha256", sa.Text, sa.ForeignKey(audio_object.c.sha256), primary_key=True),
    sa.Column("numbers", ARRAY(sa.Integer), nullable=False),
    sa.Index("audio_fingerprint_numbers_ix", "numbers", postgresql_using="gin"),
)
#: What people should look at; nothing is merged or hidden for it.
audio_finding = sa.Table(
    "audio_finding",
    metadata,
    sa.Column("sha256", sa.Text, sa.ForeignKey(audio_object.c.sha256), primary_key=True),
    sa.Column("code", sa.Text, primary_key=True),
    # The audio that this one resembles; "" where the finding is about this one alone.
    sa.Column("other", sa.Text, primary_key=True),
    sa.Column("value", JSONB),
    sa.Column("at", _INSTANT, nullable=False),
)
playback_package = sa.Table(
    "playback_package",
    metadata,
    sa.Column("sha256", sa.Text, sa.ForeignKey(audio_object.c.sha256), primary_key=True),
    sa.Column("recipe", sa.Text, primary_key=True),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("loudness_lufs", sa.Float),
    # Key of an encrypted one, itself encrypted: the table alone opens no package (see `packaging.wrapped`).
    sa.Column("wrapped_key", sa.LargeBinary),
)


@dataclass(frozen=True)
class Landed:
    """One object of the landing bucket. `received_at` is when it was put there, UTC."""

    object_key: str
    etag: str
    size_bytes: int
    received_at: datetime


@dataclass(frozen=True)
class DeliveredTrack:
    """A track of a release delivery: the item, and the facts about its audio. `facts.object_key` is its path in the
    delivery, "" for audio that an earlier message brought.
    """

    item: Item
    facts: AudioFacts


@dataclass(frozen=True)
class DeliveredAsset:
    """What belongs to a release (`track` None) or to its track at that place, from 1. A file of kind `artwork` or
    `lyrics` is in the store under `sha256`; a `merch` link has none.
    """

    kind: str
    attributes: dict[str, Any]
    track: int | None = None
    path: str | None = None
    sha256: str | None = None
    media_type: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class DeliveredEpisode:
    """An episode of a feed, by its guid there. `facts` describe its audio where the delivery brought it."""

    guid: str
    item: Item
    facts: AudioFacts | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one landed object: `accepted`, `duplicate` or `rejected`, and why.

    `sha256` is empty when the object could not be read.
    """

    object_key: str
    outcome: str
    sha256: str
    reason: str | None = None
    message: str | None = None
    content_id: int | None = None


def migrate(settings: Settings) -> list[str]:
    """Bring the schema to the newest revision; returns the revisions that were applied, none when it was there.

    Raises:
        RetryableError: PostgreSQL does not answer.
    """
    with CatalogDb(settings) as db, db.begin() as connection:
        applied = migrations.upgrade(connection, MIGRATIONS, SCHEMA)
        for kind in KINDS:
            _put_kind(connection, kind)
    return applied


class CatalogDb:
    """The catalogue as its owner sees it. Use as a context manager; connects when first used."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.postgres.address
        self._engine = sa.create_engine(
            settings.postgres.url("catalog"),
            pool_size=2,
            hide_parameters=True,  # an error's text would carry keys of playback packages into logs
            connect_args={"connect_timeout": 5, "application_name": "wavehouse", "options": "-c timezone=UTC"},
        )
        self._held: sa.Connection | None = None

    def __enter__(self) -> CatalogDb:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: committed at the end, rolled back by an error.

        Raises:
            RetryableError: PostgreSQL does not answer, or two transactions got into each other's way.
            FatalError: the catalogue has no tables yet.
        """
        if self._held is not None:
            yield self._held
            return
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise RetryableError(
                f"The catalogue at {self._address} does not answer.",
                hint="`wavehouse status` shows whether PostgreSQL runs; `wavehouse up --only lake` starts it.",
            ) from error
        except sa.exc.ProgrammingError as error:
            if getattr(error.orig, "sqlstate", "") in NOT_MIGRATED:
                raise FatalError(
                    "The catalogue has no tables yet, or older ones.", hint="Run `wavehouse catalog migrate`."
                ) from error
            raise

    @contextmanager
    def together(self) -> Iterator[None]:
        """One transaction for all that is done with this object inside; errors as of `begin`."""
        with self.begin() as connection:
            self._held = connection
            try:
                yield
            finally:
                self._held = None

    def put_kind(self, kind: ContentKind) -> None:
        """Add a content kind, or replace its description and schema."""
        with self.begin() as connection:
            _put_kind(connection, kind)

    def kind(self, name: str) -> ContentKind:
        """The content kind `name`.

        Raises:
            FatalError: there is no such kind.
        """
        with self.begin() as connection:
            return _kind(connection, name)

    def put_item(self, item: Item, *, at: datetime, audio: AudioFacts | None = None) -> int:
        """Add one item of any kind; returns its content_id. The same item at the same moment is added once.

        `at` is when the item came in. `audio` describes the object of a kind that needs one.

        Raises:
            RejectedInputError: its attributes don't fit its kind (see `ContentKind.check`), or it lacks the audio that
                the kind asks for (`missing_audio`).
        """
        with self.begin() as connection:
            return _put_item(connection, item, at=at, audio=audio)

    def unprocessed(self, landed: Iterable[Landed]) -> list[Landed]:
        """Those of `landed` that the ledger does not know, in the same order."""
        key, etag = ingest_ledger.c.object_key, ingest_ledger.c.etag
        found: list[Landed] = []
        with self.begin() as connection:
            for some in _chunks(landed):
                query = sa.select(key, etag).where(key.in_([one.object_key for one in some]))
                known = {tuple(row) for row in connection.execute(query)}
                found += [one for one in some if (one.object_key, one.etag) not in known]
        return found

    def outcome(self, landed: Landed) -> Outcome | None:
        """What became of `landed` at an earlier time; None when it has not been processed."""
        query = sa.select(ingest_ledger).where(
            ingest_ledger.c.object_key == landed.object_key, ingest_ledger.c.etag == landed.etag
        )
        with self.begin() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return Outcome(row.object_key, row.outcome, row.sha256, row.reason, content_id=row.content_id)

    def accept(self, landed: Landed, judged: Judged, facts: AudioFacts) -> Outcome:
        """Enter a valid file: as new content or, when its audio is known already, as a duplicate that points to it.

        The audio object must be in its bucket before: a row never names an object that is not there.
        """
        with self.begin() as connection:
            _lock(connection, facts.sha256)
            existing = connection.scalar(sa.select(content.c.content_id).where(content.c.sha256 == facts.sha256))
            if existing is None:
                content_id = _put_judged(connection, judged, facts, landed.received_at)
                outcome = Outcome(landed.object_key, "accepted", facts.sha256, content_id=content_id)
            else:
                _note_isrc(connection, facts.sha256, judged.item.isrc, landed.received_at)
                outcome = Outcome(landed.object_key, "duplicate", facts.sha256, DUPLICATE_AUDIO, content_id=existing)
            return _record(connection, landed, outcome)

    def reject(self, landed: Landed, sha256: str, error: RejectedInputError, kept_as: str) -> Outcome:
        """Enter a refused file: its reason in the ledger, the details in quarantine."""
        outcome = Outcome(landed.object_key, "rejected", sha256, error.reason, error.message)
        values = {
            "object_key": landed.object_key,
            "etag": landed.etag,
            "sha256": sha256,
            "size_bytes": landed.size_bytes,
            "reason": error.reason,
            "message": _storable(error.message),
            "value": _storable(error.value),
            "kept_as": kept_as,
            "received_at": landed.received_at,
        }
        with self.begin() as connection:
            recorded = _record(connection, landed, outcome)
            connection.execute(insert(quarantine).values(values).on_conflict_do_nothing())
        return recorded

    def decide(self, message: Message, digest: str) -> Decision:
        """What `apply` would do by what is known now.

        Raises:
            RejectedInputError: see `decide.decide`.
        """
        with self.begin() as connection:
            return _decide(connection, message, digest)[0]

    def apply(
        self,
        message: Message,
        digest: str,
        tracks: Sequence[DeliveredTrack],
        assets: Sequence[DeliveredAsset] = (),
    ) -> Decision:
        """Do what a message says, whole or not at all. `digest` is the hash of its bytes; `tracks` are the release's,
        in order. Objects must be in the store before. The same message again changes nothing.

        Raises:
            RejectedInputError: see `decide.decide`.
        """
        with self.begin() as connection:
            _lock(connection, f"release {message.release_key}")
            decision, known = _decide(connection, message, digest)
            if decision == "unchanged":
                return decision
            for sha256 in sorted({track.facts.sha256 for track in tracks}):
                _lock(connection, sha256)
            key = message.release_key
            held = list(
                connection.scalars(sa.select(release_track.c.content_id).where(release_track.c.release_key == key))
            )
            at = id_moment(message.created_at)
            content_ids = [_put_delivered(connection, message, track, at) for track in tracks]
            if decision == "publish":
                assert message.release is not None  # noqa: S101 - only a release is published
                release_id = _release_of(connection, message.release, at, known.release_id if known else None)
                _place_tracks(connection, tracks, content_ids, release_id)
            else:
                release_id = known.release_id if known else 0
            values = {
                "version": known.version + 1 if known else 1,
                "sender": message.sender,
                "message_id": message.message_id,
                "message_at": message.created_at,
                "digest": digest,
                "state": "visible" if decision == "publish" else "taken_down",
                "release_id": release_id,
            }
            connection.execute(
                insert(delivered_release)
                .values(release_key=key, **values)
                .on_conflict_do_update(index_elements=["release_key"], set_=values)
            )
            version = {name: values[name] for name in ("version", "sender", "message_id", "message_at", "digest")}
            document = json.loads(json.dumps(asdict(message.release), default=str)) if message.release else None
            connection.execute(
                insert(release_version).values(release_key=key, action=decision, document=document, **version)
            )
            if decision == "publish":
                assert message.release is not None  # noqa: S101
                connection.execute(sa.delete(release_track).where(release_track.c.release_key == key))
                placed = enumerate(zip(content_ids, message.release.tracks, strict=True), 1)
                connection.execute(
                    insert(release_track),
                    [
                        {"release_key": key, "place": n, "content_id": c, "own_deals": t.windows is not None}
                        for n, (c, t) in placed
                    ],
                )
                _replace_assets(connection, key, assets, release_id, content_ids)
            connection.execute(sa.delete(availability).where(availability.c.release_key == key))
            if decision == "publish" and message.release:
                connection.execute(insert(availability), _availability_rows(message.release))
            _show_and_hide(connection, {*held, *content_ids}, message.created_at)
            _note(connection, [track.facts for track in tracks], at)
            for track in tracks:
                _note_isrc(connection, track.facts.sha256, track.item.isrc, at)
        return decision

    def track_audio(self, release_key: str) -> dict[str, AudioFacts]:
        """Audio of a delivered release's tracks by ISRC: an update need not bring it again."""
        query = (
            sa.select(content.c.isrc, audio_object)
            .join(release_track, release_track.c.content_id == content.c.content_id)
            .join(audio_object, audio_object.c.sha256 == content.c.sha256)
            .where(release_track.c.release_key == release_key, content.c.isrc.is_not(None))
        )
        with self.begin() as connection:
            rows = list(connection.execute(query))
        return {
            row.isrc: AudioFacts(
                object_key="",
                size_bytes=row.size_bytes,
                sha256=row.sha256,
                audio_format=row.audio_format,
                sample_rate_hz=row.sample_rate_hz,
                channels=row.channels,
                decoded_frames=row.duration_ms * row.sample_rate_hz // 1000,
            )
            for row in rows
        }

    def delivered_assets(self, release_key: str) -> dict[tuple[str, str | None], DeliveredAsset]:
        """What a release has besides its audio, by kind and path in the delivery: an update need not bring it again.
        Links have no path; they come by kind and `url`.
        """
        query = sa.select(asset).where(asset.c.source == release_key).order_by(asset.c.place)
        with self.begin() as connection:
            rows = list(connection.execute(query))
        return {
            (row.kind, row.path or row.attributes.get("url")): DeliveredAsset(
                row.kind, row.attributes, None, row.path, row.sha256, row.media_type, row.size_bytes
            )
            for row in rows
        }

    def attach(self, source: str, assets: Sequence[DeliveredAsset], content_ids: Sequence[int]) -> bool:
        """Have exactly `assets` as what the file `source` brought: lyrics to the one track of `content_ids`, all else
        to the releases of these tracks. Returns whether anything changed.

        Raises:
            RejectedInputError: `no_album`; it belongs to a release, and the tracks have none.
        """
        with self.begin() as connection:
            _lock(connection, source)
            releases = sa.select(content.c.release_id).where(
                content.c.content_id.in_(content_ids), content.c.release_id.is_not(None)
            )
            owners: list[dict[str, int | None]] = [
                {"release_id": release_id, "content_id": None}
                for release_id in connection.scalars(releases.distinct().order_by(content.c.release_id))
            ]
            if not owners and any(not one.track for one in assets):
                raise RejectedInputError(
                    "The tracks beside it have no album that it could belong to.",
                    reason="no_album",
                    value=source,
                    hint="Deliver the tracks with the tag `album`.",
                )
            words: list[dict[str, int | None]] = [{"release_id": None, "content_id": content_ids[0]}]
            rows = [_asset_row(source, one) | owner for one in assets for owner in (words if one.track else owners)]
            rows = [row | {"place": place} for place, row in enumerate(rows, 1)]
            of_source = sa.select(asset).where(asset.c.source == source).order_by(asset.c.place)
            if [dict(row._mapping) for row in connection.execute(of_source)] == rows:
                return False
            connection.execute(sa.delete(asset).where(asset.c.source == source))
            if rows:
                connection.execute(insert(asset), rows)
        return True

    def attached(self, sources: Iterable[str]) -> set[str]:
        """Those of `sources` that brought something with `attach`."""
        found: set[str] = set()
        with self.begin() as connection:
            for some in _chunks(sources):
                found.update(connection.scalars(sa.select(asset.c.source).where(asset.c.source.in_(some))))
        return found

    def check_podcast(self, guid: str, built_at: datetime) -> None:
        """Check that no newer feed is in force than that of `built_at`.

        Raises:
            RejectedInputError: `out_of_order`.
        """
        with self.begin() as connection:
            _refuse_older(connection, guid, built_at.isoformat())

    def put_podcast(
        self, guid: str, podcast: Item, episodes: Sequence[DeliveredEpisode], *, at: datetime, ledger: str
    ) -> Decision:
        """Enter a podcast and the episodes of its feed, whole or not at all; those that the feed no longer lists stay.

        `at`, the date of the feed, must be in `podcast.attributes` as `built_at`. `ledger` begins the object keys of
        audio that came with the feed, which must be in its bucket before. Audio that an episode has stays.

        Raises:
            RejectedInputError: `out_of_order`; a newer feed is in force.
        """
        with self.begin() as connection:
            _lock(connection, f"podcast {guid}")
            for sha256 in sorted({one.facts.sha256 for one in episodes if one.facts}):
                _lock(connection, sha256)
            parent = f"podcast:{guid}"
            _refuse_older(connection, guid, podcast.attributes["built_at"])
            heard = {one.facts.sha256: one.facts for one in episodes if one.facts}
            before = _known_audio(connection, heard)
            podcast_id, changed = _put_external(connection, parent, podcast, at, None)
            for one in episodes:
                landed = None
                if one.facts:
                    key = f"{ledger}/{one.facts.object_key}"
                    landed = Landed(key, one.facts.sha256, one.facts.size_bytes, at)
                name = f"{parent}/{one.guid}"
                changed |= _put_external(connection, name, one.item, at, podcast_id, one.facts, landed)[1]
            # Audio of an episode that has some already is not taken.
            _note(connection, [heard[sha256] for sha256 in _known_audio(connection, heard) - before], at)
        return "publish" if changed else "unchanged"

    def record_delivery(self, digest: str, source: str, values: dict[str, Any]) -> None:
        """Remember what became of the message or file `source` below `values["root"]`, in place of what was known.

        `unchanged` leaves what the same bytes did before; where they were refused, they are no longer.
        """
        names = ("sender", "message_id", "reason", "message", "value", "beside", "document")
        row = {name: _storable(value) for name, value in (dict.fromkeys(names) | values).items()}
        row |= {"digest": digest, "source": source}
        new = row
        if row["outcome"] == "unchanged":
            done = sa.and_(delivery.c.digest == digest, delivery.c.outcome != "rejected")
            kept = {name: sa.case((done, delivery.c[name]), else_=value) for name, value in row.items()}
            new = kept | {"beside": row["beside"]}
        statement = insert(delivery).values(row)
        with self.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["root", "source"], set_=new))

    def looked_at(self, root: str) -> dict[str, str]:
        """What stood beside each message below `root` when it was looked at last, by source."""
        query = sa.select(delivery.c.source, delivery.c.beside).where(
            delivery.c.root == root, delivery.c.beside.is_not(None)
        )
        with self.begin() as connection:
            return {row.source: row.beside for row in connection.execute(query)}

    def deliveries(self) -> list[dict[str, Any]]:
        """What became of every message, by source; without the messages themselves."""
        columns = [column for column in delivery.c if column.name not in ("document", "beside")]
        with self.begin() as connection:
            rows = connection.execute(sa.select(*columns).order_by(delivery.c.source, delivery.c.root))
            return [dict(row._mapping) for row in rows]

    def refused_message(self, digest: str) -> dict[str, Any] | None:
        """The refused message whose digest begins with these 12 or more characters; None when there is none. Of the
        same bytes under several names, it is the first by root and source.
        """
        if not re.fullmatch(r"[0-9a-f]{12,64}", digest):
            return None
        query = sa.select(delivery).where(delivery.c.digest.startswith(digest), delivery.c.outcome == "rejected")
        with self.begin() as connection:
            row = connection.execute(query.order_by(delivery.c.root, delivery.c.source).limit(1)).one_or_none()
        return dict(row._mapping) if row else None

    def message_actions(self, digest: str) -> list[dict[str, Any]]:
        """What people did about the message with this digest, in order."""
        query = sa.select(quarantine_action).filter_by(object_key=_message_key(digest)).order_by("number")
        with self.begin() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def act_on_message(self, digest: str, action: str, *, actor: str, note: str, value: Any, at: datetime) -> None:
        """Enter what `actor` did about a message at `at`: `fix` it, or `release` it."""
        with self.begin() as connection:
            _act(connection, {"object_key": _message_key(digest), "etag": digest}, action, actor, note, value, at)

    def history(self, release_key: str) -> list[dict[str, Any]]:
        """All versions of a delivered release, the oldest first: who, when, what."""
        query = sa.select(release_version).where(release_version.c.release_key == release_key)
        with self.begin() as connection:
            return [dict(row._mapping) for row in connection.execute(query.order_by(release_version.c.version))]

    def quarantined(self, object_key: str) -> dict[str, Any]:
        """The newest refused file of this key, with `actions` and the `corrections` that they lay over it: tags, and
        rules to pass over.

        Raises:
            RejectedInputError: `not_in_quarantine`.
        """
        query = sa.select(quarantine).where(quarantine.c.object_key == object_key)
        with self.begin() as connection:
            row = connection.execute(query.order_by(quarantine.c.received_at.desc()).limit(1)).one_or_none()
            if row is None:
                raise RejectedInputError(
                    f"'{object_key}' is not in quarantine.",
                    reason="not_in_quarantine",
                    value=object_key,
                    hint="See what is there with `wavehouse ingest quarantine`.",
                )
            found = dict(row._mapping)
            actions = connection.execute(
                sa.select(quarantine_action)
                .where(quarantine_action.c.object_key == object_key, quarantine_action.c.etag == row.etag)
                .order_by(quarantine_action.c.number)
            )
            found["actions"] = [dict(action._mapping) for action in actions]
        found["corrections"] = gathered([action["value"] for action in found["actions"] if action["action"] == "fix"])
        return found

    def actions(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest `limit` acts of people on refused files and messages: who, when, why, and what they laid over or
        what the row said before.
        """
        newest = sa.select(quarantine_action).order_by(
            quarantine_action.c.at.desc(), quarantine_action.c.object_key, quarantine_action.c.number.desc()
        )
        with self.begin() as connection:
            return [dict(row._mapping) for row in connection.execute(newest.limit(limit))]

    def fix(self, object_key: str, laid: Corrections, *, actor: str, note: str, at: datetime) -> None:
        """Lay tags over those of a refused file, and pass over rules; `actor` says so, at `at`. See `quarantined` and
        `corrections.check_accepted` for errors.
        """
        check_accepted(laid)
        found = self.quarantined(object_key)
        with self.begin() as connection:
            _act(connection, found, "fix", actor, note, laid.as_json(), at)

    def release_from_quarantine(
        self, object_key: str, judged: Judged, facts: AudioFacts, *, actor: str, note: str, at: datetime
    ) -> Outcome:
        """Take a refused file that passes now: its ledger row tells the new outcome, its quarantine row moves into the
        audit entry. See `quarantined` for errors.
        """
        found = self.quarantined(object_key)
        key = {"object_key": object_key, "etag": found["etag"]}
        with self.begin() as connection:
            _lock(connection, facts.sha256)
            existing = connection.scalar(sa.select(content.c.content_id).where(content.c.sha256 == facts.sha256))
            reason = DUPLICATE_AUDIO if existing is not None else None
            if existing is None:
                content_id = _put_judged(connection, judged, facts, found["received_at"])
            else:
                content_id = existing
                _note_isrc(connection, facts.sha256, judged.item.isrc, found["received_at"])
            outcome = Outcome(object_key, "duplicate" if reason else "accepted", facts.sha256, reason, None, content_id)
            was = {name: found[name] for name in ("reason", "message", "value", "kept_as")}
            _act(connection, found, "release", actor, note, was, at)
            connection.execute(sa.delete(quarantine).filter_by(**key))
            connection.execute(
                sa.update(ingest_ledger)
                .filter_by(**key)
                .values(outcome=outcome.outcome, reason=reason, content_id=content_id)
            )
        return outcome

    def counts(self) -> dict[str, Any]:
        """Ledger rows by outcome and, for refused files, by reason; rows of the tables that must agree with them."""
        by = sa.select(ingest_ledger.c.outcome, ingest_ledger.c.reason, sa.func.count()).group_by(
            ingest_ledger.c.outcome, ingest_ledger.c.reason
        )
        totals: dict[str, int] = {"accepted": 0, "duplicate": 0, "rejected": 0}
        reasons: dict[str, int] = {}
        with self.begin() as connection:
            for outcome, reason, number in connection.execute(by):
                totals[outcome] += number
                if outcome == "rejected":
                    reasons[reason] = number
            tables = {
                table.name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
                for table in (audio_object, quarantine)
            }
            with_audio = sa.select(sa.func.count()).where(content.c.sha256.is_not(None))
            tables["content_with_audio"] = connection.scalar(with_audio) or 0
            total = connection.scalar(sa.select(sa.func.count()).select_from(ingest_ledger))
        return {"in": total, **totals, "rejected_by_reason": dict(sorted(reasons.items())), "tables": tables}

    def object_hashes(self) -> tuple[set[str], set[str]]:
        """SHA-256 of all audio objects, and of all files in quarantine."""
        with self.begin() as connection:
            return (
                set(connection.scalars(sa.select(audio_object.c.sha256))),
                set(connection.scalars(sa.select(quarantine.c.sha256))),
            )

    def rejections(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """The first `limit` refused files by key, with their reason and message."""
        columns = (quarantine.c.object_key, quarantine.c.reason, quarantine.c.message, quarantine.c.kept_as)
        with self.begin() as connection:
            ordered = sa.select(*columns).order_by(quarantine.c.object_key, quarantine.c.etag).limit(limit)
            rows = connection.execute(ordered)
            return [dict(row._mapping) for row in rows]

    def findings(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """What was noticed about accepted audio, the newest first: code, names of both recordings, value.

        A recording without another one has None in `other_*`.
        """
        other, other_artist = content.alias("other_content"), artist.alias("other_artist")
        query = (
            sa.select(
                audio_finding.c.code,
                content.c.content_id,
                content.c.title,
                artist.c.name.label("artist_name"),
                other.c.content_id.label("other_content_id"),
                other.c.title.label("other_title"),
                other_artist.c.name.label("other_artist_name"),
                audio_finding.c.value,
                audio_finding.c.at,
            )
            .join(content, content.c.sha256 == audio_finding.c.sha256)
            .join(artist, artist.c.artist_id == content.c.artist_id)
            .outerjoin(other, other.c.sha256 == audio_finding.c.other)
            .outerjoin(other_artist, other_artist.c.artist_id == other.c.artist_id)
            .order_by(audio_finding.c.at.desc(), content.c.content_id, audio_finding.c.code, audio_finding.c.other)
            .limit(limit)
        )
        with self.begin() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    @contextmanager
    def exclusively(self, what: str) -> Iterator[None]:
        """Wait until nobody else does `what`, on any machine, and keep others waiting until the block ends."""
        with self.begin() as connection:
            _lock(connection, what)
            yield

    @contextmanager
    def claimed(self, landed: Landed) -> Iterator[bool]:
        """Whether `landed` is the caller's until the block ends; not while another process has it, on any machine."""
        what = {"what": f"ingest {landed.object_key} {landed.etag}"}
        with self.begin() as connection:
            yield bool(connection.scalar(sa.text("select pg_try_advisory_xact_lock(hashtextextended(:what, 0))"), what))

    def audio_of(self, content_id: int, at: datetime) -> tuple[str, str]:
        """SHA-256 and format of a track's audio, for those who play it at `at`.

        Raises:
            RejectedInputError: `no_such_track`, `track_hidden` when it was taken down, or `not_available` when no deal
                of a release that brought it is in force. What came as a single file has no deals.
        """
        query = (
            sa.select(audio_object.c.sha256, audio_object.c.audio_format, content.c.hidden_at)
            .join(content, content.c.sha256 == audio_object.c.sha256)
            .where(content.c.content_id == content_id)
        )
        with self.begin() as connection:
            row = connection.execute(query).one_or_none()
            windows = _windows_of(connection, content_id)
        if row is None:
            raise RejectedInputError(
                f"There is no track {content_id} with audio.",
                reason="no_such_track",
                value=content_id,
                hint="`wavehouse sql` on silver.tracks lists them.",
            )
        if row.hidden_at is not None:
            raise RejectedInputError(
                f"Track {content_id} was taken down on {row.hidden_at:%Y-%m-%d}.",
                reason="track_hidden",
                value=content_id,
                hint="It can be packaged once a delivery makes it visible again.",
            )
        if windows is not None:
            check_in_force(windows, at)
        return row.sha256, row.audio_format

    def package_of(self, sha256: str, recipe: str) -> tuple[float | None, bytes | None] | None:
        """Loudness [LUFS] and wrapped key of a playback package; None when there is no such package yet."""
        query = sa.select(playback_package.c.loudness_lufs, playback_package.c.wrapped_key)
        with self.begin() as connection:
            row = connection.execute(query.filter_by(sha256=sha256, recipe=recipe)).one_or_none()
        return None if row is None else (row.loudness_lufs, row.wrapped_key)

    def record_package(
        self, sha256: str, recipe: str, address: str, loudness_lufs: float | None, wrapped_key: bytes | None
    ) -> None:
        """Say that a playback package is complete; the newest to say so has the key of what is there."""
        values = {"address": address, "loudness_lufs": loudness_lufs, "wrapped_key": wrapped_key}
        statement = insert(playback_package).values(sha256=sha256, recipe=recipe, **values)
        with self.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["sha256", "recipe"], set_=values))

    def hidden_packages(self, sha256: str | None = None) -> list[tuple[str, str]]:
        """SHA-256 and address of the playback packages of tracks that were taken down, or of one track, by both."""
        query = (
            sa.select(playback_package.c.sha256, playback_package.c.address)
            .join(content, content.c.sha256 == playback_package.c.sha256)
            .where(content.c.hidden_at.is_not(None))
        )
        if sha256 is not None:
            query = query.where(playback_package.c.sha256 == sha256)
        with self.begin() as connection:
            return sorted((row.sha256, row.address) for row in connection.execute(query))

    def forget_package(self, sha256: str, address: str) -> None:
        """Say that a playback package is not there any more."""
        with self.begin() as connection:
            connection.execute(sa.delete(playback_package).filter_by(sha256=sha256, address=address))

    def content_with_audio(self) -> list[dict[str, Any]]:
        """Items that have audio, with the names they refer to: the rows of contract bronze.catalog_content."""
        query = (
            sa.select(
                content.c.content_id,
                content.c.kind,
                content.c.title,
                content.c.artist_id,
                artist.c.name.label("artist_name"),
                content.c.release_id,
                release.c.title.label("release_title"),
                content.c.isrc,
                content.c.genre,
                content.c.licence,
                audio_object.c.duration_ms,
                audio_object.c.sample_rate_hz,
                audio_object.c.channels,
                audio_object.c.audio_format,
                audio_object.c.size_bytes,
                content.c.sha256,
                content.c.attributes,
                content.c.created_at,
                content.c.attributes["recording_mbid"].astext.label("recording_mbid"),
            )
            .join(artist, artist.c.artist_id == content.c.artist_id)
            .join(audio_object, audio_object.c.sha256 == content.c.sha256)
            .outerjoin(release, release.c.release_id == content.c.release_id)
            .order_by(content.c.content_id)
        )
        with self.begin() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
        for row in rows:
            row["attributes"] = json.dumps(row["attributes"], sort_keys=True, ensure_ascii=False)
            row["recording_key"] = recording_key(row["artist_name"], row["title"])
        return rows

    def record_extraction(self, extractor: str, version: str, done: Sequence[str], failed: dict[str, str]) -> None:
        """Remember which audio objects (by sha256) an extractor failed on, and forget those that it has done since."""
        key = {"extractor": extractor, "extractor_version": version}
        with self.begin() as connection:
            if done:
                connection.execute(
                    sa.delete(extraction_failure).where(
                        extraction_failure.c.sha256.in_(done),
                        extraction_failure.c.extractor == extractor,
                        extraction_failure.c.extractor_version == version,
                    )
                )
            for sha256, message in failed.items():
                statement = insert(extraction_failure).values(sha256=sha256, message=message, **key)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["sha256", "extractor", "extractor_version"], set_={"message": message}
                    )
                )

    def extraction_failures(self) -> list[dict[str, Any]]:
        """What no feature could be extracted from, with the extractor's message."""
        with self.begin() as connection:
            rows = connection.execute(sa.select(extraction_failure).order_by(extraction_failure.c.sha256))
            return [dict(row._mapping) for row in rows]


#: Keys that one query asks about.
_CHUNK = 1000
T = TypeVar("T")


def _chunks(things: Iterable[T]) -> Iterator[list[T]]:
    """`things` in lists of at most `_CHUNK`."""
    left = iter(things)
    while some := list(islice(left, _CHUNK)):
        yield some


def _lock(connection: sa.Connection, sha256: str) -> None:
    """Make transactions about the same audio wait for one another, so that exactly one of them finds it new."""
    connection.execute(sa.text("select pg_advisory_xact_lock(hashtextextended(:sha256, 0))"), {"sha256": sha256})


#: Fingerprints compared with a new one at most, those with most shared numbers first.
_MOST_CANDIDATES = 50


def _note(connection: sa.Connection, all_facts: Sequence[AudioFacts], at: datetime) -> None:
    """Keep the fingerprints of new audio, and what it resembles: findings for people.

    It waits until other transactions that do the same have ended: of two encodings that come in at once, the second to
    commit must find the first. So it comes after all else that takes time.
    """
    if not all_facts:
        return
    connection.execute(sa.text("select pg_advisory_xact_lock(hashtext('fingerprints'))"))
    for facts in sorted(all_facts, key=lambda one: one.sha256):
        for finding in sound_findings(facts.silent_ratio, facts.clipped_ratio):
            _find(connection, facts.sha256, finding.rule.code, "", finding.value, at)
        row = {"sha256": facts.sha256, "numbers": np.array(facts.fingerprint, np.uint32).view(np.int32).tolist()}
        if facts.fingerprint:  # audio that was not sent again has its row
            connection.execute(insert(audio_fingerprint).values(row).on_conflict_do_nothing())
        [new] = _recordings(connection.execute(_heard().where(content.c.sha256 == facts.sha256)))
        for known in _comparable(connection, new):
            for rule in duplicates.between(new, known):
                _find(connection, facts.sha256, rule.code, known.sha256, None, at)


def _heard() -> sa.Select[Any]:
    """What decides about the sameness of recordings; the audio of few is too short for a fingerprint."""
    return (
        sa.select(content.c.sha256, audio_fingerprint.c.numbers, content.c.isrc, audio_object.c.duration_ms)
        .join(audio_object, audio_object.c.sha256 == content.c.sha256)
        .outerjoin(audio_fingerprint, audio_fingerprint.c.sha256 == content.c.sha256)
    )


def _recordings(rows: Iterable[Any]) -> list[duplicates.Recording]:
    return [
        duplicates.Recording(
            row.sha256, row.sha256, np.array(row.numbers or [], np.int32).view(np.uint32), row.isrc, row.duration_ms
        )
        for row in rows
    ]


def _comparable(connection: sa.Connection, new: duplicates.Recording) -> list[duplicates.Recording]:
    """Known recordings that `new` may equal, and all that have its ISRC.

    The former are of about the same length and share whole numbers of the fingerprint.
    """
    others = _heard().where(content.c.sha256 != new.sha256)
    rows: list[Any] = []
    if len(new.fingerprint) >= duplicates.MIN_LENGTH:
        wanted = sa.literal(np.unique(new.fingerprint.view(np.int32)).tolist(), ARRAY(sa.Integer))
        shared = sa.func.cardinality(
            sa.func.array(
                sa.intersect(
                    sa.select(sa.func.unnest(audio_fingerprint.c.numbers)).correlate(audio_fingerprint),
                    sa.select(sa.func.unnest(wanted)),
                ).scalar_subquery()
            )
        )
        least, most = duplicates.comparable_lengths(len(new.fingerprint))
        similar = (
            others.where(
                audio_fingerprint.c.numbers.overlap(wanted),
                sa.func.cardinality(audio_fingerprint.c.numbers).between(least, most),
            )
            .order_by(shared.desc(), audio_fingerprint.c.sha256)
            .limit(_MOST_CANDIDATES)
        )
        rows += connection.execute(similar)
    if new.isrc:
        rows += connection.execute(others.where(content.c.isrc == new.isrc))
    return _recordings({row.sha256: row for row in rows}.values())


def _note_isrc(connection: sa.Connection, sha256: str, isrc: str | None, at: datetime) -> None:
    """Note that audio which the catalogue has under an ISRC came under another one, `isrc`; of further ones, all."""
    known = connection.scalar(sa.select(content.c.isrc).where(content.c.sha256 == sha256))
    if not known or not isrc or known == isrc:
        return
    key = {"sha256": sha256, "code": Rule.RECORDING_HAS_TWO_ISRCS.code, "other": ""}
    before = connection.scalar(sa.select(audio_finding.c.value).filter_by(**key)) or []
    isrcs = sorted({known, isrc, *before})
    connection.execute(
        insert(audio_finding)
        .values(**key, value=isrcs, at=at)
        .on_conflict_do_update(index_elements=["sha256", "code", "other"], set_={"value": isrcs})
    )


def _known_audio(connection: sa.Connection, hashes: Iterable[str]) -> set[str]:
    """Those of `hashes` that are of audio in the catalogue."""
    return set(connection.scalars(sa.select(audio_object.c.sha256).where(audio_object.c.sha256.in_(list(hashes)))))


def _put_judged(connection: sa.Connection, judged: Judged, facts: AudioFacts, at: datetime) -> int:
    """Enter a tagged file whose audio is new, with what there is to say of its tags and its sound."""
    content_id = _put_item(connection, judged.item, at=at, audio=facts)
    for code, said in judged.noted().items():
        _find(connection, facts.sha256, code, "", _storable(said), at)
    _note(connection, [facts], at)
    return content_id


def _find(connection: sa.Connection, sha256: str, code: str, other: str, value: Any, at: datetime) -> None:
    row = {"sha256": sha256, "code": code, "other": other, "value": value, "at": at}
    connection.execute(insert(audio_finding).values(row).on_conflict_do_nothing())


def _act(
    connection: sa.Connection, row: dict[str, Any], action: str, actor: str, note: str, value: Any, at: datetime
) -> None:
    key = {"object_key": row["object_key"], "etag": row["etag"]}
    _lock(connection, f"quarantine {key}")
    number = connection.scalar(sa.select(sa.func.count()).select_from(quarantine_action).filter_by(**key)) or 0
    values = {"number": number + 1, "action": action, "actor": actor, "note": note, "value": value, "at": at}
    connection.execute(insert(quarantine_action).values(**key, **values))


def _decide(connection: sa.Connection, message: Message, digest: str) -> tuple[Decision, Any]:
    """What to do about a message, and the row of the release in force, None for a new one."""
    query = sa.select(delivered_release).where(delivered_release.c.release_key == message.release_key)
    known = connection.execute(query).one_or_none()
    before = Known(known.version, known.sender, known.message_id, known.message_at, known.digest) if known else None
    return decide(message, digest, before), known


def _refuse_older(connection: sa.Connection, guid: str, built_at: str) -> None:
    before = connection.scalar(sa.select(content.c.attributes).where(content.c.external_id == f"podcast:{guid}"))
    if before and before["built_at"] > built_at:
        raise RejectedInputError(
            f"The feed of {built_at} is older than that of {before['built_at']}, which is in force.",
            reason="out_of_order",
            value=guid,
            hint="Send the newest feed.",
        )


def _storable(value: Any) -> Any:
    """`value` with a replacement for each character that PostgreSQL has no place for: NUL, halves of surrogates."""
    match value:
        case str():
            return re.sub("[\0\ud800-\udfff]", "\ufffd", value)
        case dict():
            return {_storable(name): _storable(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_storable(inner) for inner in value]
    return value


def _message_key(digest: str) -> str:
    return f"message:{digest}"


def _windows_of(connection: sa.Connection, content_id: int) -> list[Window] | None:
    """Windows of a track by all visible releases that have it, of each its own ones if it has any there, else the
    release's; None when none has it.
    """
    placed = (
        sa.select(release_track.c.release_key, release_track.c.place, release_track.c.own_deals)
        .join(delivered_release, delivered_release.c.release_key == release_track.c.release_key)
        .where(release_track.c.content_id == content_id, delivered_release.c.state == "visible")
        .subquery()
    )
    columns = (availability.c[name] for name in ("territory", "excluded", "commercial_model", "use_type"))
    wanted = sa.case((placed.c.own_deals, placed.c.place), else_=None)
    query = (
        sa.select(placed.c.release_key, *columns, availability.c.starts_at, availability.c.ends_at)
        .outerjoin(
            availability,
            sa.and_(
                availability.c.release_key == placed.c.release_key,
                availability.c.track.is_not_distinct_from(wanted),
            ),
        )
        .order_by(placed.c.release_key, availability.c.place)
    )
    rows = [dict(row._mapping) for row in connection.execute(query)]
    if not rows:
        return None
    names = ("territory", "commercial_model", "use_type", "starts_at", "ends_at")
    return [
        Window(excluded=tuple(row["excluded"]), **{name: row[name] for name in names})
        for row in rows
        if row["starts_at"] is not None
    ]


def _availability_rows(delivered: Release) -> list[dict[str, Any]]:
    about: list[tuple[int | None, Window]] = [(None, window) for window in delivered.windows]
    about += [(n, window) for n, track in enumerate(delivered.tracks, 1) for window in track.windows or ()]
    return [
        {"release_key": delivered.key, "place": place, "track": track, **asdict(window)}
        for place, (track, window) in enumerate(about, 1)
    ]


def _replace_assets(
    connection: sa.Connection,
    source: str,
    assets: Sequence[DeliveredAsset],
    release_id: int,
    content_ids: Sequence[int],
) -> None:
    """Have exactly `assets` as what `source` brought."""
    connection.execute(sa.delete(asset).where(asset.c.source == source))
    rows = [
        _asset_row(source, one)
        | {
            "place": place,
            "release_id": release_id if one.track is None else None,
            "content_id": None if one.track is None else content_ids[one.track - 1],
        }
        for place, one in enumerate(assets, 1)
    ]
    if rows:
        connection.execute(insert(asset), rows)


def _asset_row(source: str, one: DeliveredAsset) -> dict[str, Any]:
    names = ("kind", "path", "sha256", "media_type", "size_bytes", "attributes")
    return {"source": source, **{name: getattr(one, name) for name in names}}


def _put_external(
    connection: sa.Connection,
    external_id: str,
    item: Item,
    at: datetime,
    parent_id: int | None,
    audio: AudioFacts | None = None,
    landed: Landed | None = None,
) -> tuple[int, bool]:
    """Id of the item that a feed calls `external_id`, made or brought up to date, and whether anything changed."""
    _kind(connection, item.kind).check(item.attributes)
    names = {"name_key": name_key(item.artist)}
    values: dict[str, Any] = {
        "kind": item.kind,
        "title": item.title,
        "artist_id": _entity(connection, artist, "artist", names, {"name": item.artist}, at),
        "attributes": item.attributes,
        "parent_id": parent_id,
    }
    known = connection.execute(sa.select(content).where(content.c.external_id == external_id)).one_or_none()
    content_id = _entity(connection, content, "content", {"external_id": external_id}, values, at)
    changed = known is None
    if known and (new := {name: value for name, value in values.items() if getattr(known, name) != value}):
        connection.execute(sa.update(content).where(content.c.content_id == content_id).values(**new))
        changed = True
    if audio is not None and landed is not None and (known is None or known.sha256 is None):
        owner = connection.scalar(sa.select(content.c.content_id).where(content.c.sha256 == audio.sha256))
        if owner is None:
            _put_audio_object(connection, audio, at)
            connection.execute(sa.update(content).where(content.c.content_id == content_id).values(sha256=audio.sha256))
        reason = None if owner is None else DUPLICATE_AUDIO
        outcome = "accepted" if owner is None else "duplicate"
        _record(
            connection, landed, Outcome(landed.object_key, outcome, audio.sha256, reason, None, owner or content_id)
        )
        changed |= owner is None
    return content_id, changed


def _put_delivered(connection: sa.Connection, message: Message, track: DeliveredTrack, at: datetime) -> int:
    """The content of one delivered track, made when its audio is new, and its row in the ledger."""
    existing = connection.scalar(sa.select(content.c.content_id).where(content.c.sha256 == track.facts.sha256))
    content_id = existing or _put_item(connection, track.item, at=at, audio=track.facts)
    reason = DUPLICATE_AUDIO if existing else None
    if track.facts.object_key:  # audio that came before and was not sent again has its row
        landed = Landed(
            f"delivery:{message.sender}/{message.message_id}/{track.facts.object_key}",
            track.facts.sha256,
            track.facts.size_bytes,
            at,
        )
        outcome = "duplicate" if existing else "accepted"
        _record(connection, landed, Outcome(landed.object_key, outcome, track.facts.sha256, reason, None, content_id))
    return int(content_id)


def _release_of(connection: sa.Connection, delivered: Release, at: datetime, known: int | None) -> int:
    """The release's row: the known one under its new names, unless another release has those already."""
    artist_id = _entity(
        connection, artist, "artist", {"name_key": name_key(delivered.artist)}, {"name": delivered.artist}, at
    )
    natural = {"artist_id": artist_id, "title_key": name_key(delivered.title)}
    taken = connection.scalar(sa.select(release.c.release_id).filter_by(**natural))
    if known is not None and taken in (None, known):
        connection.execute(
            sa.update(release).where(release.c.release_id == known).values(title=delivered.title, **natural)
        )
        return known
    return _entity(connection, release, "release", natural, {"title": delivered.title}, at)


def _place_tracks(
    connection: sa.Connection, tracks: Sequence[DeliveredTrack], content_ids: Sequence[int], release_id: int
) -> None:
    """Give the tracks of a release the names of its newest message; those that stand on another release keep theirs."""
    for track, content_id in zip(tracks, content_ids, strict=True):
        name = track.item.artist
        artist_at = sa.select(content.c.created_at).where(content.c.content_id == content_id)
        at = connection.scalar(artist_at)
        assert at is not None  # noqa: S101 - the row was made or found above
        artist_id = _entity(connection, artist, "artist", {"name_key": name_key(name)}, {"name": name}, at)
        connection.execute(
            sa.update(content)
            .where(
                content.c.content_id == content_id,
                sa.or_(content.c.release_id == release_id, content.c.release_id.is_(None)),
            )
            .values(
                title=track.item.title,
                artist_id=artist_id,
                release_id=release_id,
                isrc=track.item.isrc,
                attributes=track.item.attributes,
            )
        )


def _show_and_hide(connection: sa.Connection, content_ids: set[int], at: datetime) -> None:
    """Content is shown while any of its delivered releases is visible."""
    shown = (
        sa.select(release_track.c.content_id)
        .join(delivered_release, delivered_release.c.release_key == release_track.c.release_key)
        .where(delivered_release.c.state == "visible")
    )
    touched = content.c.content_id.in_(content_ids)
    connection.execute(
        sa.update(content)
        .where(touched, content.c.content_id.not_in(shown), content.c.hidden_at.is_(None))
        .values(hidden_at=at)
    )
    connection.execute(sa.update(content).where(touched, content.c.content_id.in_(shown)).values(hidden_at=None))
    # From this moment on no key opens a package of what is hidden; `packaging.remove_hidden` removes the rest.
    hidden = sa.select(content.c.sha256).where(touched, content.c.hidden_at.is_not(None))
    connection.execute(
        sa.update(playback_package).where(playback_package.c.sha256.in_(hidden)).values(wrapped_key=None)
    )


def _record(connection: sa.Connection, landed: Landed, outcome: Outcome) -> Outcome:
    values = {
        "object_key": landed.object_key,
        "etag": landed.etag,
        "size_bytes": landed.size_bytes,
        "sha256": outcome.sha256,
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "content_id": outcome.content_id,
        "received_at": landed.received_at,
    }
    connection.execute(insert(ingest_ledger).values(values).on_conflict_do_nothing())
    return outcome


def _kind(connection: sa.Connection, name: str) -> ContentKind:
    row = connection.execute(sa.select(content_kind).where(content_kind.c.kind == name)).one_or_none()
    if row is None:
        raise FatalError(f"There is no content kind '{name}'.", hint="Add a row to catalog.content_kind.")
    return ContentKind(**row._mapping)


def _put_kind(connection: sa.Connection, kind: ContentKind) -> None:
    values = {
        "description": kind.description,
        "attributes_schema": kind.attributes_schema,
        "needs_audio": kind.needs_audio,
    }
    statement = insert(content_kind).values(kind=kind.kind, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["kind"], set_=values))


def _put_item(connection: sa.Connection, item: Item, *, at: datetime, audio: AudioFacts | None) -> int:
    kind = _kind(connection, item.kind)
    kind.check(item.attributes)
    if kind.needs_audio and audio is None:
        raise RejectedInputError(f"A {item.kind} needs audio.", reason="missing_audio", value=item.title)
    release_artist = item.release_artist or item.artist
    # In one order everywhere: two transactions that make the same two artists then wait, but never for each other.
    artist_ids = {
        key: _entity(connection, artist, "artist", {"name_key": key}, {"name": name}, at)
        for key, name in sorted((name_key(name), name) for name in (release_artist, item.artist))
    }
    artist_id = artist_ids[name_key(item.artist)]
    release_id = None
    if item.release is not None:
        natural = {"artist_id": artist_ids[name_key(release_artist)], "title_key": name_key(item.release)}
        release_id = _entity(connection, release, "release", natural, {"title": item.release}, at)
    if audio is not None:
        _put_audio_object(connection, audio, at)
    values = {
        "kind": item.kind,
        "title": item.title,
        "artist_id": artist_id,
        "release_id": release_id,
        "sha256": item.sha256,
        "isrc": item.isrc,
        "attributes": item.attributes,
    }
    # What an item is: its audio; without audio, its names.
    identity = ("sha256",) if item.sha256 else ("kind", "title", "artist_id", "release_id", "sha256")
    return _entity(connection, content, "content", {name: values.pop(name) for name in identity}, values, at)


def _put_audio_object(connection: sa.Connection, audio: AudioFacts, at: datetime) -> None:
    description = {
        "sha256": audio.sha256,
        "duration_ms": audio.duration_ms,
        "sample_rate_hz": audio.sample_rate_hz,
        "channels": audio.channels,
        "size_bytes": audio.size_bytes,
        "audio_format": audio.audio_format,
        "created_at": at,
    }
    connection.execute(insert(audio_object).values(description).on_conflict_do_nothing())


def _entity(
    connection: sa.Connection,
    table: sa.Table,
    name: str,
    natural: dict[str, Any],
    values: dict[str, Any],
    at: datetime,
) -> int:
    """Id of the entity with these natural values; made when it is new.

    An id that another entity has already is passed over (see `time_ordered_id`), so that the loop ends after one or
    two rounds; a concurrent transaction that makes the same entity is waited for and its row is found.
    """
    id_column = table.c[f"{name}_id"]
    query = sa.select(id_column).where(*(table.c[column].is_not_distinct_from(v) for column, v in natural.items()))
    attempt = 0
    while (found := connection.scalar(query)) is None:
        entity_id = time_ordered_id(at, f"{name}:{json.dumps(natural, sort_keys=True)}", attempt=attempt)
        row = {id_column.name: entity_id, "created_at": at, **natural, **values}
        connection.execute(insert(table).values(row).on_conflict_do_nothing())
        attempt += 1
    return int(found)
