"""Paths and parameters of the catalogue service."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AwareDatetime, BeforeValidator

from lakehouse.domain.listening import regions
from serving.catalog.models import (
    MAX_ID,
    Artist,
    Availability,
    EpisodePage,
    Freshness,
    LiveAdWindows,
    LiveSessions,
    LiveWindows,
    Lyrics,
    Podcast,
    PodcastPage,
    Release,
    TopArtists,
    TopCampaigns,
    TopCountries,
    TopTracks,
    TrackDetail,
    TrackLive,
    TrackPage,
)
from serving.catalog.service import MAX_CURSOR, CatalogService
from serving.kit.problems import responses


def service(request: Request) -> CatalogService:
    """Dependency: the service that the application was built with."""
    found: CatalogService = request.app.state.service
    return found


def _rfc3339(text: object) -> object:
    """Refuse what only looks like a date and time to the parser: it also reads numbers as seconds since 1970."""
    if isinstance(text, str) and not re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", text):
        raise ValueError("a date and time as in RFC 3339, such as 2026-10-31T00:00:00Z")
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
Service = Annotated[CatalogService, Depends(service)]
TrackId = Annotated[int, Path(ge=1, le=MAX_ID, description="63-bit id of a track", examples=[120586240000001])]
ArtistId = Annotated[int, Path(ge=1, le=MAX_ID, description="63-bit id of an artist", examples=[120586240000000])]
PodcastId = Annotated[int, Path(ge=1, le=MAX_ID, description="63-bit id of a podcast", examples=[120586240000002])]
ReleaseKey = Annotated[
    str, Path(pattern="^[0-9A-Za-z-]{1,40}$", description="GRid, UPC or EAN", examples=["4006381333931"])
]
Cursor = Annotated[str | None, Query(max_length=MAX_CURSOR, description="`next_cursor` of the page before")]
Limit = Annotated[int, Query(ge=1, le=100, description="Items a page")]
#: PostgreSQL holds no NUL in text.
Text = Annotated[str | None, Query(min_length=1, max_length=100, pattern=r"^[^\x00]+$", examples=["kn"])]
WIDTHS = {"1m": timedelta(minutes=1), "5m": timedelta(minutes=5), "1h": timedelta(hours=1)}
From = Annotated[
    Moment | None,
    Query(
        alias="from",
        description="Start of the range, inclusive, with its offset from UTC. Default: 24 hours before `to`",
        examples=["2026-10-30T00:00:00Z"],
    ),
]
To = Annotated[
    Moment | None,
    Query(
        alias="to",
        description="End of the range, exclusive. Default: 24 hours after `from`; without both, the end of the data",
        examples=["2026-10-31T00:00:00Z"],
    ),
]
Country = Annotated[
    str | None, Query(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2 code of a market", examples=["SE"])
]
Region = Annotated[
    str | None,
    Query(
        pattern=f"^({'|'.join(regions.codes())})$",
        description="UN M49 code of a region: the countries in it",
        examples=["154", "150"],
    ),
]
Places = Annotated[int, Query(ge=1, le=100, description="Length of the ranking")]
Width = Annotated[Literal["1m", "5m", "1h"], Query(description="Length of a window")]
Sliding = Annotated[bool, Query(description="A window every minute, instead of one after the other")]

catalog = APIRouter(prefix="/v1", tags=["catalog"])
live = APIRouter(prefix="/v1", tags=["live"])


@catalog.get("/tracks", summary="Search the catalogue", responses=responses(503))
def list_tracks(
    service: Service,
    q: Annotated[Text, Query(description="Start of a title or of an artist's name, in any case")] = None,
    artist_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only this artist's tracks")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Tracks a page")] = 20,
) -> TrackPage:
    """Tracks by title, page by page. A page does not shift when tracks are added meanwhile."""
    return service.search(prefix=q, artist_id=artist_id, cursor=cursor, limit=limit)


@catalog.get("/tracks/{track_id}", summary="One track", responses=responses(404, 503))
def get_track(service: Service, track_id: TrackId) -> TrackDetail:
    """The track, its audio object and what it sounds like."""
    return service.track(track_id)


@catalog.get("/artists/{artist_id}", summary="One artist", responses=responses(404, 503))
def get_artist(service: Service, artist_id: ArtistId) -> Artist:
    """The artist."""
    return service.artist(artist_id)


@catalog.get("/tracks/{track_id}/lyrics", summary="Lyrics of a track", responses=responses(404, 503))
def get_lyrics(service: Service, track_id: TrackId) -> Lyrics:
    """The lyrics, line by line; with times where they were delivered."""
    return service.lyrics(track_id)


@catalog.get("/releases/{release_key}", summary="One release", responses=responses(404, 503))
def get_release(service: Service, release_key: ReleaseKey) -> Release:
    """A delivered release with its tracks, artwork, links and where it may be played. One taken down is not found."""
    return service.release(release_key)


@catalog.get(
    "/releases/{release_key}/availability", summary="Whether a release may be played", responses=responses(404, 503)
)
def get_availability(
    service: Service,
    release_key: ReleaseKey,
    territory: Annotated[
        str, Query(min_length=2, max_length=20, description="ISO 3166-1 alpha-2, or Worldwide", examples=["FR"])
    ],
    at: Annotated[Moment, Query(description="When, with its offset from UTC", examples=["2026-10-30T00:00:00Z"])],
    model: Annotated[str | None, Query(max_length=100, description="DDEX CommercialModelType; default: any")] = None,
    use: Annotated[str | None, Query(max_length=100, description="DDEX UseType; default: any")] = None,
) -> Availability:
    """Whether the deals of the release permit it there and then, and which; and whether each of its tracks may be
    played, by deals of its own where it has some.
    """
    return service.availability(release_key, territory=territory, at=at, model=model, use=use)


@catalog.get("/podcasts", summary="Podcasts", responses=responses(503))
def list_podcasts(service: Service, cursor: Cursor = None, limit: Limit = 20) -> PodcastPage:
    """Podcasts by title, page by page."""
    return service.podcasts(cursor=cursor, limit=limit)


@catalog.get("/podcasts/{podcast_id}", summary="One podcast", responses=responses(404, 503))
def get_podcast(service: Service, podcast_id: PodcastId) -> Podcast:
    """The podcast."""
    return service.podcast(podcast_id)


@catalog.get("/podcasts/{podcast_id}/episodes", summary="Episodes of a podcast", responses=responses(404, 503))
def list_episodes(service: Service, podcast_id: PodcastId, cursor: Cursor = None, limit: Limit = 20) -> EpisodePage:
    """Episodes, the newest first, page by page."""
    return service.episodes(podcast_id, cursor=cursor, limit=limit)


@live.get("/tracks/{track_id}/live", summary="Plays of a track by the minute", responses=responses(404, 503))
def get_track_live(service: Service, track_id: TrackId, start: From = None, end: To = None) -> TrackLive:
    """Counts per event-time minute, at most 24 hours at a time. Late plays correct the minute they belong to."""
    return service.live(track_id, start, end)


@live.get("/live/top", summary="Tracks by streams", responses=responses(503))
def list_top_tracks(
    service: Service,
    start: From = None,
    end: To = None,
    country: Country = None,
    limit: Places = 10,
) -> TopTracks:
    """The most streamed tracks of a range of at most 100 days; ties go to the lower id."""
    return service.top(start, end, country=country, limit=limit)


@live.get("/live/top/artists", summary="Artists by streams", responses=responses(503))
def list_top_artists(
    service: Service, start: From = None, end: To = None, country: Country = None, limit: Places = 10
) -> TopArtists:
    """The most streamed artists of a range of at most 100 days; ties go to the lower id."""
    return service.top_artists(start, end, country=country, limit=limit)


@live.get("/live/top/countries", summary="Countries by streams", responses=responses(503))
def list_top_countries(service: Service, start: From = None, end: To = None, limit: Places = 10) -> TopCountries:
    """The countries with the most streams in a range of at most 100 days; ties go to the first in the alphabet."""
    return service.top_countries(start, end, limit=limit)


@live.get("/live/top/campaigns", summary="Campaigns by impressions", responses=responses(503))
def list_top_campaigns(
    service: Service, start: From = None, end: To = None, country: Country = None, limit: Places = 10
) -> TopCampaigns:
    """The most shown campaigns of a range of at most 100 days; ties go to the lower id."""
    return service.top_campaigns(start, end, country=country, limit=limit)


@live.get("/live/campaigns/windows", summary="Windows by campaign and country", responses=responses(503))
def list_campaign_windows(
    service: Service,
    start: From = None,
    end: To = None,
    width: Width = "1m",
    sliding: Sliding = False,
    campaign_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only this campaign")] = None,
    country: Country = None,
    region: Region = None,
) -> LiveAdWindows:
    """Impressions, exact distinct listeners and cost in windows that lie within the range, at most 24 hours at a time.
    Late impressions correct the windows they belong to and are counted as `late_impressions` too.
    """
    return service.ad_windows(
        start, end, width=WIDTHS[width], sliding=sliding, campaign_id=campaign_id, country=country, region=region
    )


@live.get("/live/windows", summary="Windows by track, artist and country", responses=responses(404, 503))
def list_windows(
    service: Service,
    start: From = None,
    end: To = None,
    width: Width = "1m",
    sliding: Sliding = False,
    track_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only this track")] = None,
    artist_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only this artist's tracks")] = None,
    country: Country = None,
    region: Region = None,
) -> LiveWindows:
    """Plays, exact distinct listeners and time heard in windows that lie within the range, at most 24 hours at a time.
    Late plays correct the windows they belong to and are counted as `late_plays` too.
    """
    return service.windows(
        start,
        end,
        width=WIDTHS[width],
        sliding=sliding,
        track_id=track_id,
        artist_id=artist_id,
        country=country,
        region=region,
    )


@live.get("/live/sessions", summary="Listening sessions", responses=responses(503))
def get_sessions(service: Service, start: From = None, end: To = None, country: Country = None) -> LiveSessions:
    """Sessions that begin in a range of at most 100 days, of the plays in a country or of all; a pause of more than
    half an hour between two plays ends one.
    """
    return service.sessions(start, end, country=country)


@live.get("/live/freshness", summary="How far the live counts are", responses=responses(503))
def get_freshness(service: Service) -> Freshness:
    """The newest minute with a play, and the offsets loaded so far."""
    return service.freshness()
