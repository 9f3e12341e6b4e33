"""Reads of the catalogue for services: keyset pages, single rows; every session is read-only and time-limited."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, bindparam, create_engine, text
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import DBAPIError, OperationalError

from lakehouse.adapters.catalog_db import NOT_MIGRATED
from lakehouse.adapters.clickhouse import TrackCounts
from lakehouse.config.settings import Settings
from lakehouse.domain.catalog.deliveries.messages import Window
from lakehouse.errors import RetryableError

#: No read of a page may hold a connection for longer.
STATEMENT_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 3
#: Tracks looked up at a time.
LOOKED_UP = 1_000

_TRACKS = """
select c.content_id, c.kind, c.title, c.artist_id, a.name as artist_name, c.release_id, r.title as release_title,
       c.isrc, c.genre, c.licence, c.created_at, c.attributes, lower(c.title) collate "C" as sort_title,
       o.duration_ms, o.sample_rate_hz, o.channels, o.audio_format, o.size_bytes, o.sha256
from (select * from content where hidden_at is null) c
join artist a using (artist_id)
join audio_object o on o.sha256 = c.sha256
left join release r on r.release_id = c.release_id
"""

_PODCASTS = """
select c.content_id, c.title, c.artist_id, a.name as artist_name, c.attributes, c.parent_id, c.sha256,
       lower(c.title) collate "C" as sort_title
from (select * from content where hidden_at is null) c
join artist a using (artist_id)
"""

_ASSETS = "select kind, path, sha256, media_type, size_bytes, attributes from asset"


@dataclass(frozen=True)
class TrackRow:
    """A catalogue item with audio, with the names that it refers to. Columns as in contract bronze.catalog_content."""

    content_id: int
    kind: str
    title: str
    artist_id: int
    artist_name: str
    release_id: int | None
    release_title: str | None
    isrc: str | None
    genre: str | None
    licence: str | None
    created_at: datetime
    duration_ms: int
    sample_rate_hz: int
    channels: int
    audio_format: str
    size_bytes: int
    sha256: str
    #: Title as pages are sorted by: lower case, code point order.
    sort_title: str
    #: As the schema of the kind describes them.
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AssetRow:
    """Artwork, lyrics or a link; `sha256` names the object of the first two in the audio bucket."""

    kind: str
    path: str | None
    sha256: str | None
    media_type: str | None
    size_bytes: int | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class ReleaseRow:
    """A delivered release that is visible, with its tracks in order, what else belongs to it, and its permissions.

    `own_windows`, by content_id, are those of tracks with deals of their own.
    """

    release_key: str
    version: int
    title: str
    artist_id: int
    artist_name: str
    tracks: Sequence[TrackRow]
    assets: Sequence[AssetRow]
    windows: Sequence[Window]
    own_windows: Mapping[int, Sequence[Window]] = field(default_factory=dict)

    def windows_of(self, content_id: int) -> Sequence[Window]:
        """Permissions of one of its tracks: by its own deals if it has any, else by the release's."""
        return self.own_windows.get(content_id, self.windows)


@dataclass(frozen=True)
class PodcastRow:
    """A podcast, or an episode of `parent_id`; `sha256` names the audio object of an episode that has one here."""

    content_id: int
    title: str
    artist_id: int
    artist_name: str
    attributes: Mapping[str, Any]
    parent_id: int | None
    sha256: str | None
    sort_title: str

    @property
    def published_at(self) -> str:
        """As pages of episodes are sorted by, the newest first; "" without a date."""
        return str(self.attributes.get("published_at", ""))


@dataclass(frozen=True)
class ArtistRow:
    """An artist and how many catalogue items carry the name."""

    artist_id: int
    name: str
    tracks: int


@dataclass(frozen=True)
class ArtistCounts:
    """Totals of an artist's tracks in a range of time."""

    artist_id: int
    artist_name: str
    plays: int
    streams: int


def by_artist(tracks: Sequence[TrackCounts], many: Callable[[Sequence[int]], Sequence[TrackRow]]) -> list[ArtistCounts]:
    """Artists by the streams of their tracks; of equals the lowest id first. `many` looks tracks up in the catalogue;
    those that it doesn't know have no artist.
    """
    totals: dict[int, ArtistCounts] = {}
    for first in range(0, len(tracks), LOOKED_UP):
        page = tracks[first : first + LOOKED_UP]
        known = {row.content_id: row for row in many([counts.track_id for counts in page])}
        for counts in page:
            if row := known.get(counts.track_id):
                total = totals.get(row.artist_id, ArtistCounts(row.artist_id, row.artist_name, 0, 0))
                totals[row.artist_id] = replace(
                    total, plays=total.plays + counts.plays, streams=total.streams + counts.streams
                )
    return sorted(totals.values(), key=lambda artist: (-artist.streams, artist.artist_id))


class CatalogReader:
    """Read access to the catalogue database. Opens connections when they are needed; safe for many threads.

    Every method raises `RetryableError` when PostgreSQL is away or the catalogue has no tables yet.
    """

    def __init__(self, settings: Settings) -> None:
        self._address = settings.postgres.address
        self._engine = create_engine(
            settings.postgres.url("catalog"),
            pool_size=4,
            max_overflow=4,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "catalog-api",
                "options": f"-c default_transaction_read_only=on -c statement_timeout={STATEMENT_TIMEOUT_MS} "
                "-c search_path=catalog -c timezone=UTC",
            },
        )

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def ping(self) -> None:
        """Returns when the catalogue answers."""
        self._rows(text("select 1 from content limit 1"))

    def tracks(
        self, *, prefix: str | None, artist_id: int | None, after: tuple[str, int] | None, limit: int
    ) -> list[TrackRow]:
        """At most `limit` items whose title or artist begins with `prefix` (any case), by title, then id.

        `after` is (sort_title, content_id) of the last item of the page before.
        """
        where, values = ["true"], {"limit": limit}
        values_any: dict[str, Any] = dict(values)
        if prefix:
            where.append("(starts_with(lower(c.title), lower(:prefix)) or starts_with(lower(a.name), lower(:prefix)))")
            values_any["prefix"] = prefix
        if artist_id is not None:
            where.append("c.artist_id = :artist_id")
            values_any["artist_id"] = artist_id
        if after is not None:
            where.append('(lower(c.title) collate "C", c.content_id) > (:after_title, :after_id)')
            values_any |= {"after_title": after[0], "after_id": after[1]}
        # Only the fixed fragments above are joined into the statement; every value is a parameter.
        statement = f"{_TRACKS} where {' and '.join(where)} order by sort_title, c.content_id limit :limit"
        return [_track(row) for row in self._rows(text(statement), values_any)]

    def track(self, track_id: int) -> TrackRow | None:
        """The item `track_id`, or None."""
        found = self.many([track_id])
        return found[0] if found else None

    def many(self, track_ids: Sequence[int]) -> list[TrackRow]:
        """Those of `track_ids` that exist, in no particular order."""
        if not track_ids:
            return []
        statement = text(f"{_TRACKS} where c.content_id in :ids").bindparams(bindparam("ids", expanding=True))
        return [_track(row) for row in self._rows(statement, {"ids": list(track_ids)})]

    def artist(self, artist_id: int) -> ArtistRow | None:
        """The artist `artist_id`, or None."""
        statement = text(
            "select a.artist_id, a.name, count(c.content_id) as tracks from artist a "
            "left join content c on c.artist_id = a.artist_id and c.hidden_at is null "
            "where a.artist_id = :artist_id group by a.artist_id, a.name"
        )
        rows = self._rows(statement, {"artist_id": artist_id})
        return ArtistRow(**rows[0]._mapping) if rows else None

    def release(self, release_key: str) -> ReleaseRow | None:
        """The release with this key (GRid or 13 digits) if it is visible."""
        key = {"key": release_key}
        head = self._rows(
            text(
                "select d.release_key, d.version, r.title, r.artist_id, a.name as artist_name, d.release_id "
                "from delivered_release d join release r using (release_id) join artist a on a.artist_id = r.artist_id "
                "where d.release_key = :key and d.state = 'visible'"
            ),
            key,
        )
        if not head:
            return None
        tracks = self._rows(
            text(f"{_TRACKS} join release_track t using (content_id) where t.release_key = :key order by t.place"), key
        )
        assets = self._rows(text(f"{_ASSETS} where source = :key and release_id is not null order by place"), key)
        windows = self._rows(
            text(
                "select track, territory, excluded, commercial_model, use_type, starts_at, ends_at from availability "
                "where release_key = :key order by place"
            ),
            key,
        )
        places = self._rows(
            text("select place, content_id from release_track where release_key = :key and own_deals order by place"),
            key,
        )
        by_track: dict[int | None, list[Window]] = defaultdict(list)
        for window in windows:
            values = {**window._mapping, "excluded": tuple(window.excluded)}
            by_track[values.pop("track")].append(Window(**values))
        row = head[0]
        return ReleaseRow(
            release_key=row.release_key,
            version=row.version,
            title=row.title,
            artist_id=row.artist_id,
            artist_name=row.artist_name,
            tracks=[_track(track) for track in tracks],
            assets=[AssetRow(**asset._mapping) for asset in assets],
            windows=by_track[None],
            own_windows={place.content_id: by_track[place.place] for place in places},
        )

    def assets(self, track: TrackRow) -> list[AssetRow]:
        """What belongs to a track and its release, but for what releases brought that are taken down; what the newest
        message brought first, then what came with tagged files.
        """
        statement = text(
            f"{_ASSETS} left join delivered_release d on d.release_key = asset.source "
            "where (content_id = :track or asset.release_id = :release) and coalesce(d.state, 'visible') = 'visible' "
            "order by d.message_at desc nulls last, source, place"
        )
        rows = self._rows(statement, {"track": track.content_id, "release": track.release_id})
        return [AssetRow(**row._mapping) for row in rows]

    def podcasts(self, *, after: tuple[str, int] | None, limit: int) -> list[PodcastRow]:
        """At most `limit` podcasts by title, then id, after (sort_title, content_id)."""
        values: dict[str, Any] = {"limit": limit}
        where = "c.kind = 'podcast'"
        if after is not None:
            where += ' and (lower(c.title) collate "C", c.content_id) > (:after_title, :after_id)'
            values |= {"after_title": after[0], "after_id": after[1]}
        statement = f"{_PODCASTS} where {where} order by sort_title, c.content_id limit :limit"
        return [PodcastRow(**row._mapping) for row in self._rows(text(statement), values)]

    def podcast(self, podcast_id: int) -> PodcastRow | None:
        """The podcast `podcast_id`, or None."""
        statement = text(f"{_PODCASTS} where c.kind = 'podcast' and c.content_id = :id")
        rows = self._rows(statement, {"id": podcast_id})
        return PodcastRow(**rows[0]._mapping) if rows else None

    def episodes(self, podcast_id: int, *, after: tuple[str, int] | None, limit: int) -> list[PodcastRow]:
        """At most `limit` episodes of a podcast, the newest first, after (published_at, content_id)."""
        published = "coalesce(c.attributes ->> 'published_at', '') collate \"C\""
        values: dict[str, Any] = {"limit": limit, "id": podcast_id}
        where = "c.kind = 'episode' and c.parent_id = :id"
        if after is not None:
            where += f" and ({published}, c.content_id) < (:after_at, :after_id)"
            values |= {"after_at": after[0], "after_id": after[1]}
        statement = f"{_PODCASTS} where {where} order by {published} desc, c.content_id desc limit :limit"
        return [PodcastRow(**row._mapping) for row in self._rows(text(statement), values)]

    def _rows(self, statement: TextClause, values: dict[str, Any] | None = None) -> Sequence[Row[Any]]:
        try:
            with self._connection() as connection:
                return connection.execute(statement, values or {}).all()
        except OperationalError as error:
            raise RetryableError(
                f"The catalogue at {self._address} does not answer.",
                hint="`wavehouse status` shows whether PostgreSQL runs; `wavehouse logs postgres` says why not.",
            ) from error
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") in NOT_MIGRATED:
                raise RetryableError(
                    "The catalogue has no tables yet, or older ones.", hint="Run `wavehouse catalog migrate`."
                ) from error
            raise

    def _connection(self) -> AbstractContextManager[Connection]:
        return self._engine.connect()


def _track(row: Row[Any]) -> TrackRow:
    return TrackRow(**row._mapping)
