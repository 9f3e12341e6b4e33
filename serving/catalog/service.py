"""What the catalogue service answers: the catalogue, the online features and the live counts put together.

Knows no engine: it is given readers (`Catalog`, `FeatureStore`, `Live`) and no clock: a range that is left open ends at
the newest minute of the data, so the same data always give the same answer.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypedDict

from lakehouse.adapters.catalog_reader import ArtistRow, AssetRow, PodcastRow, ReleaseRow, TrackRow, by_artist
from lakehouse.adapters.clickhouse import (
    AdWindowCounts,
    CampaignCounts,
    CountryCounts,
    MinuteCounts,
    Sessions,
    TrackCounts,
    WindowCounts,
    WindowState,
)
from lakehouse.domain.catalog.deliveries.messages import permitting
from lakehouse.domain.catalog.identifiers import release_key
from lakehouse.domain.catalog.quality.codes import normalise_territory
from lakehouse.domain.listening import regions
from lakehouse.errors import RejectedInputError, RetryableError
from serving.catalog.models import (
    AdWindow,
    Artist,
    Artwork,
    Availability,
    Episode,
    EpisodePage,
    Features,
    Freshness,
    LiveAdWindows,
    LiveSessions,
    LiveWindows,
    LyricLine,
    Lyrics,
    MerchLink,
    Minute,
    Permission,
    Podcast,
    PodcastPage,
    Release,
    TopArtist,
    TopArtists,
    TopCampaign,
    TopCampaigns,
    TopCountries,
    TopCountry,
    TopTrack,
    TopTracks,
    Track,
    TrackAvailability,
    TrackDetail,
    TrackLive,
    TrackPage,
    Window,
)
from serving.kit.problems import NotFoundError

MINUTE = timedelta(minutes=1)
#: Tracks of an artist read at a time.
PAGE = 1000
#: Longest range of a per-minute answer (1,440 rows) and of a ranking.
MAX_MINUTES = timedelta(days=1)
MAX_RANKING = timedelta(days=100)
#: Range when the caller gives none.
DEFAULT_RANGE = timedelta(hours=24)

#: Moments that a range may lie between; ClickHouse's DateTime64 ends in 2299.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
#: Longest cursor: base64 of a title of 500 characters, of which JSON makes six bytes each at most, and of an id.
MAX_CURSOR = 4100

Range = tuple[datetime, datetime]


class Bounds(TypedDict):
    """The ends of a range, [start, end)."""

    start: datetime | None
    end: datetime | None


class Catalog(Protocol):
    """The catalogue; see `lakehouse.adapters.catalog_reader.CatalogReader`."""

    def tracks(
        self, *, prefix: str | None, artist_id: int | None, after: tuple[str, int] | None, limit: int
    ) -> list[TrackRow]:
        """At most `limit` items after (sort_title, content_id), in that order."""

    def track(self, track_id: int) -> TrackRow | None:
        """One item."""

    def many(self, track_ids: Sequence[int]) -> list[TrackRow]:
        """Those that exist."""

    def artist(self, artist_id: int) -> ArtistRow | None:
        """One artist."""

    def release(self, release_key: str) -> ReleaseRow | None:
        """One release, if it is visible."""

    def assets(self, track: TrackRow) -> list[AssetRow]:
        """What belongs to a track and its release, the newest first."""

    def podcasts(self, *, after: tuple[str, int] | None, limit: int) -> list[PodcastRow]:
        """At most `limit` podcasts after (sort_title, content_id), in that order."""

    def podcast(self, podcast_id: int) -> PodcastRow | None:
        """One podcast."""

    def episodes(self, podcast_id: int, *, after: tuple[str, int] | None, limit: int) -> list[PodcastRow]:
        """At most `limit` episodes before (published_at, content_id), the newest first."""


class FeatureStore(Protocol):
    """The online feature store; see `lakehouse.adapters.feature_store.FeatureStore`."""

    def get(self, track_id: int) -> Mapping[str, str] | None:
        """Features by name, as text."""


class Live(Protocol):
    """The live counts; see `lakehouse.adapters.clickhouse.LiveCounts`."""

    def minutes(self, track_id: int, start: datetime, end: datetime) -> list[MinuteCounts]:
        """Counts by the minute in [start, end), over all countries."""

    def top(self, start: datetime, end: datetime, *, country: str | None, limit: int | None) -> list[TrackCounts]:
        """Tracks by streams, then id; without a limit all."""

    def top_countries(self, start: datetime, end: datetime, *, limit: int) -> list[CountryCounts]:
        """Countries by streams, then name."""

    def top_campaigns(self, start: datetime, end: datetime, *, country: str | None, limit: int) -> list[CampaignCounts]:
        """Campaigns by impressions, then id."""

    def ad_windows(
        self,
        start: datetime,
        end: datetime,
        *,
        width: timedelta,
        step: timedelta | None,
        campaign_id: int | None,
        countries: Sequence[str] | None,
    ) -> list[AdWindowCounts]:
        """Windows within the range, in order."""

    def windows(
        self,
        start: datetime,
        end: datetime,
        *,
        width: timedelta,
        step: timedelta | None,
        track_ids: Sequence[int] | None,
        countries: Sequence[str] | None,
    ) -> list[WindowCounts]:
        """Windows within the range, in order."""

    def sessions(self, start: datetime, end: datetime, *, country: str | None) -> Sessions:
        """Sessions that begin in the range."""

    def newest(self) -> datetime | None:
        """The newest minute."""

    def state(self) -> WindowState:
        """How far the counts are."""


class CatalogService:
    """Answers of the service. Errors: `NotFoundError`, `RejectedInputError`, `RetryableError` (an engine is away)."""

    def __init__(self, *, catalog: Catalog, features: FeatureStore, live: Live) -> None:
        self._catalog = catalog
        self._features = features
        self._live = live

    def search(self, *, prefix: str | None, artist_id: int | None, cursor: str | None, limit: int) -> TrackPage:
        """A page of tracks by title; `prefix` matches the start of the title or of the artist's name in any case."""
        after = decode_cursor(cursor) if cursor else None
        # One row more than asked for tells whether there is a next page.
        rows = self._catalog.tracks(prefix=prefix, artist_id=artist_id, after=after, limit=limit + 1)
        page = rows[:limit]
        more = len(rows) > limit
        return TrackPage(
            items=[Track.model_validate(_track(row)) for row in page],
            next_cursor=encode_cursor(page[-1].sort_title, page[-1].content_id) if more else None,
        )

    def track(self, track_id: int) -> TrackDetail:
        """One track. Without the feature store it is answered too, and says what is missing."""
        row = self._known(track_id)
        features, unavailable = None, []
        try:
            found = self._features.get(track_id)
            features = Features.model_validate(found) if found else None
        except RetryableError:
            unavailable = ["features"]
        assets = self._catalog.assets(row)
        more = {
            "artwork": _artwork(assets),
            "merch": _merch(assets),
            "has_lyrics": any(asset.kind == "lyrics" for asset in assets),
            "features": features,
            "unavailable": unavailable,
        }
        return TrackDetail.model_validate(_track(row) | more)

    def artist(self, artist_id: int) -> Artist:
        """One artist."""
        row = self._catalog.artist(artist_id)
        if row is None:
            raise NotFoundError(f"There is no artist {artist_id}.", hint="/v1/tracks lists tracks with their artists.")
        return Artist(artist_id=str(row.artist_id), name=row.name, tracks=row.tracks)

    def lyrics(self, track_id: int) -> Lyrics:
        """Lyrics of a track."""
        found = [row for row in self._catalog.assets(self._known(track_id)) if row.kind == "lyrics"]
        if not found:
            raise NotFoundError(f"Track {track_id} has no lyrics.")
        words = found[0].attributes
        return Lyrics(
            track_id=str(track_id),
            synchronised=words["synchronised"],
            language=words["language"],
            sha256=found[0].sha256 or "",
            lines=[LyricLine(at_ms=at, text=line) for at, line in words["lines"]],
        )

    def release(self, key: str) -> Release:
        """A release with its tracks, pictures, links and permissions."""
        row = self._release(key)
        return Release(
            release_key=row.release_key,
            version=row.version,
            title=row.title,
            artist_id=str(row.artist_id),
            artist_name=row.artist_name,
            tracks=[Track.model_validate(_track(track)) for track in row.tracks],
            artwork=_artwork(row.assets),
            merch=_merch(row.assets),
            permissions=[Permission(**vars(window)) for window in row.windows],
            track_permissions={
                str(track_id): [Permission(**vars(window)) for window in windows]
                for track_id, windows in row.own_windows.items()
            },
        )

    def availability(
        self, key: str, *, territory: str, at: datetime, model: str | None, use: str | None
    ) -> Availability:
        """Whether a release may be played in `territory` at the moment `at`, under a model and for a use, or any."""
        moment, where = _utc(at), _territory(territory)
        row = self._release(key)
        found = permitting(row.windows, where, moment, model=model, use=use)
        tracks = [
            TrackAvailability(
                track_id=str(track.content_id),
                available=bool(permitting(row.windows_of(track.content_id), where, moment, model=model, use=use)),
            )
            for track in row.tracks
        ]
        return Availability(
            release_key=row.release_key,
            territory=where,
            at=moment,
            available=bool(found),
            permissions=[Permission(**vars(window)) for window in found],
            tracks=tracks,
        )

    def podcasts(self, *, cursor: str | None, limit: int) -> PodcastPage:
        """A page of podcasts by title."""
        rows = self._catalog.podcasts(after=decode_cursor(cursor) if cursor else None, limit=limit + 1)
        page = rows[:limit]
        more = len(rows) > limit
        return PodcastPage(
            items=[_podcast(row) for row in page],
            next_cursor=encode_cursor(page[-1].sort_title, page[-1].content_id) if more else None,
        )

    def podcast(self, podcast_id: int) -> Podcast:
        """One podcast."""
        row = self._catalog.podcast(podcast_id)
        if row is None:
            raise NotFoundError(f"There is no podcast {podcast_id}.", hint="/v1/podcasts lists the podcasts.")
        return _podcast(row)

    def episodes(self, podcast_id: int, *, cursor: str | None, limit: int) -> EpisodePage:
        """A page of episodes of a podcast, the newest first."""
        self.podcast(podcast_id)
        rows = self._catalog.episodes(podcast_id, after=decode_cursor(cursor) if cursor else None, limit=limit + 1)
        page = rows[:limit]
        more = len(rows) > limit
        return EpisodePage(
            items=[
                Episode(
                    episode_id=str(row.content_id),
                    title=row.title,
                    artist_name=row.artist_name,
                    playable=row.sha256 is not None,
                    attributes=dict(row.attributes),
                )
                for row in page
            ],
            next_cursor=encode_cursor(page[-1].published_at, page[-1].content_id) if more else None,
        )

    def _release(self, text: str) -> ReleaseRow:
        try:
            row = self._catalog.release(release_key(text))
        except ValueError:  # no key of any release
            row = None
        if row is None:
            raise NotFoundError(f"There is no release {text}.", hint="A release is named by its GRid, UPC or EAN.")
        return row

    def live(self, track_id: int, start: datetime | None, end: datetime | None) -> TrackLive:
        """Counts of a track by the minute in [start, end)."""
        self._known(track_id)
        span = self._range(start, end, longest=MAX_MINUTES)
        rows = self._live.minutes(track_id, *span) if span else []
        return TrackLive(
            track_id=str(track_id),
            **_bounds(span),
            plays=sum(row.plays for row in rows),
            streams=sum(row.streams for row in rows),
            minutes=[
                Minute(
                    window_start=row.window_start,
                    plays=row.plays,
                    streams=row.streams,
                    bot_plays=row.bot_plays,
                    ms_played=row.ms_played,
                )
                for row in rows
            ],
        )

    def windows(
        self,
        start: datetime | None,
        end: datetime | None,
        *,
        width: timedelta,
        sliding: bool,
        track_id: int | None,
        artist_id: int | None,
        country: str | None,
        region: str | None,
    ) -> LiveWindows:
        """Windows in [start, end): of a track, an artist's tracks, both (a track by another artist has none), or of
        everything. Sliding ones begin every minute.
        """
        step = MINUTE if sliding else width
        span = self._range(start, end, longest=MAX_MINUTES)
        places = regions.chosen(country, region)
        tracks = None if artist_id is None else self._tracks_of(artist_id)
        if track_id is not None:
            self._known(track_id)
            tracks = [track_id] if tracks is None or track_id in tracks else []
        rows = self._live.windows(*span, width=width, step=step, track_ids=tracks, countries=places) if span else []
        return LiveWindows(
            **_bounds(span),
            width_minutes=width // MINUTE,
            step_minutes=step // MINUTE,
            windows=[Window(**vars(row)) for row in rows],
        )

    def sessions(self, start: datetime | None, end: datetime | None, *, country: str | None) -> LiveSessions:
        """Sessions that begin in [start, end)."""
        span = self._range(start, end, longest=MAX_RANKING)
        found = self._live.sessions(*span, country=country) if span else Sessions(0, 0, 0, 0)
        return LiveSessions(**_bounds(span), **vars(found))

    def _tracks_of(self, artist_id: int) -> list[int]:
        """All tracks of an artist."""
        self.artist(artist_id)
        tracks: list[int] = []
        after: tuple[str, int] | None = None
        while page := self._catalog.tracks(prefix=None, artist_id=artist_id, after=after, limit=PAGE):
            tracks += [row.content_id for row in page]
            after = (page[-1].sort_title, page[-1].content_id)
        return tracks

    def top(self, start: datetime | None, end: datetime | None, *, country: str | None, limit: int) -> TopTracks:
        """Tracks by streams in [start, end). Without the catalogue they have no names, and the answer says so."""
        span = self._range(start, end, longest=MAX_RANKING)
        rows = self._live.top(*span, country=country, limit=limit) if span else []
        named: dict[int, TrackRow] = {}
        unavailable = []
        try:
            named = {row.content_id: row for row in self._catalog.many([row.track_id for row in rows])}
        except RetryableError:
            unavailable = ["title", "artist_name"]
        return TopTracks(
            **_bounds(span),
            country=country,
            items=[
                TopTrack(
                    position=position,
                    track_id=str(row.track_id),
                    title=named[row.track_id].title if row.track_id in named else None,
                    artist_name=named[row.track_id].artist_name if row.track_id in named else None,
                    streams=row.streams,
                    plays=row.plays,
                )
                for position, row in enumerate(rows, start=1)
            ],
            unavailable=unavailable,
        )

    def top_artists(
        self, start: datetime | None, end: datetime | None, *, country: str | None, limit: int
    ) -> TopArtists:
        """Artists by the streams of their tracks in [start, end)."""
        span = self._range(start, end, longest=MAX_RANKING)
        rows = self._live.top(*span, country=country, limit=None) if span else []
        ranked = by_artist(rows, self._catalog.many)[:limit]
        return TopArtists(
            **_bounds(span),
            country=country,
            items=[
                TopArtist(position=position, **vars(row) | {"artist_id": str(row.artist_id)})
                for position, row in enumerate(ranked, start=1)
            ],
        )

    def top_countries(self, start: datetime | None, end: datetime | None, *, limit: int) -> TopCountries:
        """Countries by streams in [start, end)."""
        span = self._range(start, end, longest=MAX_RANKING)
        rows = self._live.top_countries(*span, limit=limit) if span else []
        return TopCountries(
            **_bounds(span),
            items=[TopCountry(position=position, **vars(row)) for position, row in enumerate(rows, start=1)],
        )

    def top_campaigns(
        self, start: datetime | None, end: datetime | None, *, country: str | None, limit: int
    ) -> TopCampaigns:
        """Campaigns by impressions in [start, end)."""
        span = self._range(start, end, longest=MAX_RANKING)
        rows = self._live.top_campaigns(*span, country=country, limit=limit) if span else []
        return TopCampaigns(
            **_bounds(span),
            country=country,
            items=[
                TopCampaign(position=position, **vars(row) | {"campaign_id": str(row.campaign_id)})
                for position, row in enumerate(rows, start=1)
            ],
        )

    def ad_windows(
        self,
        start: datetime | None,
        end: datetime | None,
        *,
        width: timedelta,
        sliding: bool,
        campaign_id: int | None,
        country: str | None,
        region: str | None,
    ) -> LiveAdWindows:
        """Windows of impressions in [start, end): of a campaign or of all. Sliding ones begin every minute."""
        step = MINUTE if sliding else width
        span = self._range(start, end, longest=MAX_MINUTES)
        places = regions.chosen(country, region)
        rows = (
            self._live.ad_windows(*span, width=width, step=step, campaign_id=campaign_id, countries=places)
            if span
            else []
        )
        return LiveAdWindows(
            **_bounds(span),
            width_minutes=width // MINUTE,
            step_minutes=step // MINUTE,
            windows=[AdWindow(**vars(row)) for row in rows],
        )

    def freshness(self) -> Freshness:
        """How far the live counts are."""
        state = self._live.state()
        return Freshness(
            newest_window_start=state.newest_window_start,
            windows=state.windows,
            kafka_offsets={str(partition): offset for partition, offset in sorted(state.offsets.items())},
        )

    def _known(self, track_id: int) -> TrackRow:
        row = self._catalog.track(track_id)
        if row is None:
            raise NotFoundError(f"There is no track {track_id}.", hint="/v1/tracks lists the tracks.")
        return row

    def _range(self, start: datetime | None, end: datetime | None, *, longest: timedelta) -> Range | None:
        """[start, end) with what was left open filled in from the data; None when there are no data to fill it from."""
        start, end = start and _utc(start), end and _utc(end)
        if start is None and end is None:
            newest = self._live.newest()
            if newest is None:
                return None
            end = newest + MINUTE
        if end is None:
            assert start is not None  # noqa: S101 - one of the two is given or filled in above
            end = start + DEFAULT_RANGE
        start = end - DEFAULT_RANGE if start is None else start
        if not start < end:
            raise RejectedInputError(
                "`from` must be before `to`.", reason="invalid_range", hint="`from` is inclusive, `to` is exclusive."
            )
        if end - start > longest:
            raise RejectedInputError(
                f"The range is longer than {longest.days * 24} hours.", reason="range_too_long", hint="Ask in parts."
            )
        return start, end


def _bounds(span: Range | None) -> Bounds:
    """The ends of the range, as every answer about one names them."""
    start, end = span or (None, None)
    return {"start": start, "end": end}


def _territory(text: str) -> str:
    try:
        return normalise_territory(text)
    except ValueError as error:
        raise RejectedInputError(f"{error}.", reason="unknown_territory", hint="For example FR, GB or US.") from error


def _utc(moment: datetime) -> datetime:
    """`moment` in UTC; refuses what the store cannot hold, before any arithmetic on it."""
    if not EARLIEST <= moment < LATEST:
        raise RejectedInputError(
            f"{moment.isoformat()} is outside of {EARLIEST.year} to {LATEST.year}.", reason="invalid_range"
        )
    return moment.astimezone(UTC)


def encode_cursor(sort_title: str, content_id: int) -> str:
    """An opaque position after the row (sort_title, content_id)."""
    text = json.dumps([sort_title, content_id], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[str, int]:
    """The position that `encode_cursor` made.

    Raises:
        RejectedInputError: it was not made by it.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        match json.loads(base64.b64decode(padded, altchars=b"-_", validate=True)):
            case [str(sort_title), int(content_id)] if 0 <= content_id < 2**63 and "\0" not in sort_title:
                sort_title.encode()  # refuses half a surrogate pair, which JSON can carry and PostgreSQL cannot
                return sort_title, content_id
    except (UnicodeError, binascii.Error, ValueError, RecursionError):
        pass
    raise RejectedInputError(
        "The cursor is not one of ours.", reason="invalid_cursor", hint="Take `next_cursor` of the page before."
    )


def _artwork(assets: Sequence[AssetRow]) -> list[Artwork]:
    return [Artwork.model_validate({**vars(a), **a.attributes}) for a in assets if a.kind == "artwork"]


def _merch(assets: Sequence[AssetRow]) -> list[MerchLink]:
    return [MerchLink.model_validate(a.attributes) for a in assets if a.kind == "merch"]


def _podcast(row: PodcastRow) -> Podcast:
    return Podcast(
        podcast_id=str(row.content_id),
        title=row.title,
        artist_id=str(row.artist_id),
        artist_name=row.artist_name,
        attributes=dict(row.attributes),
    )


def _track(row: TrackRow) -> dict[str, object]:
    """The row by the names of the interface."""
    return {"track_id": row.content_id} | {
        name: getattr(row, name) for name in TrackDetail.model_fields if hasattr(row, name)
    }
