"""What the catalogue service sends. Column meanings come from the contracts; ids are strings.

Ids are 63-bit integers, which JavaScript and many JSON readers round; as strings they arrive as they are.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from serving.kit.app import meaning

Id = Annotated[
    str, BeforeValidator(str), Field(pattern=r"^[0-9]{1,19}$", examples=["120586240000001"], description="63-bit id")
]
#: Largest id: 63 bits.
MAX_ID = 2**63 - 1


class Model(BaseModel):
    """Base of all models: immutable."""

    model_config = ConfigDict(frozen=True)


class Track(Model):
    """A track or episode of the catalogue."""

    track_id: Id = Field(description=meaning("track_id"))
    kind: str = Field(description=meaning("kind"), examples=["track"])
    title: str = Field(description=meaning("title"), examples=["Knolls"])
    artist_id: Id = Field(description=meaning("artist_id"))
    artist_name: str = Field(description=meaning("artist_name"), examples=["Mattias Westlund"])
    release_id: Id | None = Field(description=meaning("release_id"))
    release_title: str | None = Field(description=meaning("release_title"))
    duration_ms: int = Field(description=meaning("duration_ms"), examples=[182_000])


class Features(Model):
    """What the audio sounds like, by the newest extractor; only what is shown to people."""

    extractor: str = Field(description=meaning("extractor"))
    extractor_version: str = Field(description=meaning("extractor_version"), examples=["1.0.0"])
    tempo_bpm: float = Field(description=meaning("tempo_bpm"))
    tempo_confidence: float = Field(description=meaning("tempo_confidence"))
    musical_key: str = Field(description=meaning("musical_key"), examples=["A"])
    musical_mode: str = Field(description=meaning("musical_mode"), examples=["minor"])
    key_confidence: float = Field(description=meaning("key_confidence"))
    loudness_lufs: float = Field(description=meaning("loudness_lufs"), examples=[-14.0])
    spectral_centroid_hz: float = Field(description=meaning("spectral_centroid_hz"))
    rms_energy: float = Field(description=meaning("rms_energy"))
    onset_rate_hz: float = Field(description=meaning("onset_rate_hz"))


class Artwork(Model):
    """A picture of a release."""

    sha256: str = Field(description="Name of the object in the audio bucket", pattern="^[0-9a-f]{64}$")
    media_type: str = Field(description="Of IANA", examples=["image/jpeg"])
    size_bytes: int = Field(description=meaning("size_bytes"))
    width_px: int = Field(description="Pixels", examples=[3000])
    height_px: int = Field(description="Pixels", examples=[3000])


class MerchLink(Model):
    """A thing to buy."""

    title: str = Field(description="What it is", examples=["Tour shirt"])
    url: str = Field(description="Where to buy it", examples=["https://shop.example/shirt"])


class TrackDetail(Track):
    """A track with its audio object and features."""

    isrc: str | None = Field(description=meaning("isrc"))
    genre: str | None = Field(description=meaning("genre"))
    licence: str | None = Field(description=meaning("licence"))
    created_at: datetime = Field(description=meaning("created_at"))
    sha256: str = Field(description=meaning("sha256"), pattern="^[0-9a-f]{64}$")
    sample_rate_hz: int = Field(description=meaning("sample_rate_hz"))
    channels: int = Field(description=meaning("channels"))
    audio_format: str = Field(description=meaning("audio_format"))
    size_bytes: int = Field(description=meaning("size_bytes"))
    attributes: dict[str, Any] = Field(
        description="What only this kind of item has: featured artists, explicit flag, language, identifiers, ...",
        examples=[{"featured": ["Bo"], "explicit": "NotExplicit", "language": "fr"}],
    )
    artwork: list[Artwork] = Field(description="Pictures of its release")
    merch: list[MerchLink] = Field(description="Links of its release")
    has_lyrics: bool = Field(description="Whether `/v1/tracks/{track_id}/lyrics` has any")
    features: Features | None = Field(description="Audio features; null before extraction")
    unavailable: list[str] = Field(
        description="Parts that are null because the engine behind them is away, not because there are none",
        examples=[["features"]],
    )


class TrackPage(Model):
    """One page of tracks, by title."""

    items: list[Track]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last one")


class Permission(Model):
    """Where, how and from when until when a release may be played."""

    territory: str = Field(description="ISO 3166-1 alpha-2, or Worldwide", examples=["Worldwide"])
    excluded: list[str] = Field(description="Territories that Worldwide leaves out", examples=[["US"]])
    commercial_model: str = Field(description="DDEX CommercialModelType", examples=["SubscriptionModel"])
    use_type: str = Field(description="DDEX UseType", examples=["OnDemandStream"])
    starts_at: datetime = Field(description="First moment; UTC")
    ends_at: datetime | None = Field(description="First moment after it, null for open; UTC")


ReleaseKey = Annotated[str, Field(description="GRid, or UPC/EAN in 13 digits", examples=["4006381333931"])]


class Release(Model):
    """A delivered release."""

    release_key: ReleaseKey
    version: int = Field(description="Number of the message in force, from 1")
    title: str = Field(description="Title of the release", examples=["Première"])
    artist_id: Id = Field(description=meaning("artist_id"))
    artist_name: str = Field(description=meaning("artist_name"))
    tracks: list[Track] = Field(description="In the order of the release")
    artwork: list[Artwork]
    merch: list[MerchLink]
    permissions: list[Permission]
    track_permissions: dict[str, list[Permission]] = Field(
        description="By track_id, of tracks with deals of their own: these count for them, not those of the release"
    )


class TrackAvailability(Model):
    """Whether a track of a release may be played."""

    track_id: Id = Field(description=meaning("track_id"))
    available: bool = Field(description="By its own deals if it has any, else by those of the release")


class Availability(Model):
    """Whether a release may be played, and each of its tracks."""

    release_key: ReleaseKey
    territory: str = Field(description="ISO 3166-1 alpha-2", examples=["FR"])
    at: datetime = Field(description="The moment asked about; UTC")
    available: bool = Field(description="Whether it may be played there and then")
    permissions: list[Permission] = Field(description="Those that permit it; empty when it is not available")
    tracks: list[TrackAvailability] = Field(description="In the order of the release")


class LyricLine(Model):
    """A line; `at_ms` counts from the start of the track, null in plain lyrics."""

    at_ms: int | None = Field(description="Milliseconds from the start of the track", examples=[900])
    text: str = Field(description="The line; empty between verses")


class Lyrics(Model):
    """Lyrics of a track."""

    track_id: Id = Field(description=meaning("track_id"))
    synchronised: bool = Field(description="Whether lines have times")
    language: str | None = Field(description="As delivered", examples=["fr"])
    sha256: str = Field(description="Name of the file as delivered, in the audio bucket", pattern="^[0-9a-f]{64}$")
    lines: list[LyricLine]


class Podcast(Model):
    """A podcast. Its episodes: `/v1/podcasts/{podcast_id}/episodes`."""

    podcast_id: Id = Field(description="63-bit id of a podcast")
    title: str = Field(description=meaning("title"))
    artist_id: Id = Field(description=meaning("artist_id"))
    artist_name: str = Field(description=meaning("artist_name"))
    attributes: dict[str, Any] = Field(
        description="Description, link, language, image, and the feed's elements of the podcast namespace as they came",
        examples=[{"language": "de", "image_url": "https://x.example/a.png"}],
    )


class PodcastPage(Model):
    """One page of podcasts, by title."""

    items: list[Podcast]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last one")


class Episode(Model):
    """An episode. One whose audio came with the feed is a track too, under the same id."""

    episode_id: Id = Field(description="63-bit id of an episode; its track_id where it can be played here")
    title: str = Field(description=meaning("title"))
    artist_name: str = Field(description=meaning("artist_name"))
    playable: bool = Field(description="Whether its audio is here; else it is at `attributes.audio_url`")
    attributes: dict[str, Any] = Field(
        description="Date, address, chapters, transcripts, persons and value recipients as they came",
        examples=[{"audio_url": "https://x.example/1.mp3"}],
    )


class EpisodePage(Model):
    """One page of episodes, the newest first."""

    items: list[Episode]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last one")


class Artist(Model):
    """An artist or podcast publisher. Its tracks: `/v1/tracks?artist_id=`."""

    artist_id: Id = Field(description=meaning("artist_id"))
    name: str = Field(description=meaning("artist_name"), examples=["Mattias Westlund"])
    tracks: int = Field(description="Catalogue items under this artist", examples=[7])


class Minute(Model):
    """Counts of one event-time minute, over all countries."""

    window_start: datetime = Field(description=meaning("window_start"))
    plays: int = Field(description=meaning("plays"))
    streams: int = Field(description=meaning("streams"))
    bot_plays: int = Field(description=meaning("bot_plays"))
    ms_played: int = Field(description=f"{meaning('ms_played')}, summed over plays, bots included")


class Ranged(Model):
    """An answer about a range of event time."""

    start: datetime | None = Field(serialization_alias="from", description="Start of the range, inclusive; UTC")
    end: datetime | None = Field(serialization_alias="to", description="End of the range, exclusive; UTC")


class Window(Model):
    """Counts of one window of event time."""

    window_start: datetime = Field(description="Start of the window, inclusive; UTC")
    plays: int = Field(description=meaning("plays"))
    streams: int = Field(description=meaning("streams"))
    bot_plays: int = Field(description=meaning("bot_plays"))
    late_plays: int = Field(description=meaning("late_plays"))
    listeners: int = Field(description=f"{meaning('listeners')}; exact, each counted once a window")
    ms_played: int = Field(description=f"{meaning('ms_played')}, summed over plays, bots included")


class LiveWindows(Ranged):
    """Windows of event time in order; those without a play are left out."""

    width_minutes: int = Field(description="Length of a window", examples=[5])
    step_minutes: int = Field(description="From the start of a window to that of the next", examples=[1])
    windows: list[Window]


class LiveSessions(Ranged):
    """Sessions that begin in a range of event time: plays of a listener without a pause of more than half an hour."""

    sessions: int = Field(description="Sessions that begin in the range; each is counted whole, whenever it ends")
    listeners: int = Field(description=meaning("listeners"))
    plays: int = Field(description=meaning("plays"))
    ms_played: int = Field(description=f"{meaning('ms_played')}, summed over plays, bots included")


class TrackLive(Ranged):
    """Plays of one track by the minute; minutes without a play are left out."""

    track_id: Id = Field(description=meaning("track_id"))
    plays: int = Field(description="Sum over the range")
    streams: int = Field(description="Sum over the range")
    minutes: list[Minute]


class TopTrack(Model):
    """A track's place in a ranking."""

    position: int = Field(description="Place in the ranking, from 1", examples=[1])
    track_id: Id = Field(description=meaning("track_id"))
    title: str | None = Field(description=f"{meaning('title')}; null when the catalogue does not know the track")
    artist_name: str | None = Field(description=meaning("artist_name"))
    streams: int = Field(description=meaning("streams"))
    plays: int = Field(description=meaning("plays"))


class TopTracks(Ranged):
    """Tracks by streams in a range of event time."""

    country: str | None = Field(description=meaning("country"), examples=["SE"])
    items: list[TopTrack]
    unavailable: list[str] = Field(description="Parts that are null because the engine behind them is away")


class TopArtist(Model):
    """An artist's place in a ranking."""

    position: int = Field(description="Place in the ranking, from 1", examples=[1])
    artist_id: Id = Field(description=meaning("artist_id"))
    artist_name: str = Field(description=meaning("artist_name"))
    streams: int = Field(description=meaning("streams"))
    plays: int = Field(description=meaning("plays"))


class TopArtists(Ranged):
    """Artists by streams. Tracks that the catalogue does not know have no artist here."""

    country: str | None = Field(description=meaning("country"), examples=["SE"])
    items: list[TopArtist]


class TopCountry(Model):
    """A country's place in a ranking."""

    position: int = Field(description="Place in the ranking, from 1", examples=[1])
    country: str = Field(description=meaning("country"), examples=["SE"])
    streams: int = Field(description=meaning("streams"))
    plays: int = Field(description=meaning("plays"))
    listeners: int = Field(description=f"{meaning('listeners')}; exact")


class TopCountries(Ranged):
    """Countries by streams."""

    items: list[TopCountry]


class TopCampaign(Model):
    """A campaign's place in a ranking."""

    position: int = Field(description="Place in the ranking, from 1", examples=[1])
    campaign_id: Id = Field(description=meaning("campaign_id"))
    impressions: int = Field(description=meaning("impressions"))
    listeners: int = Field(description=f"{meaning('listeners')}; exact")
    cost_micros: int = Field(description=meaning("cost_micros"))


class TopCampaigns(Ranged):
    """Campaigns by impressions."""

    country: str | None = Field(description=meaning("country"), examples=["SE"])
    items: list[TopCampaign]


class AdWindow(Model):
    """Impressions of one window of event time."""

    window_start: datetime = Field(description="Start of the window, inclusive; UTC")
    impressions: int = Field(description=meaning("impressions"))
    late_impressions: int = Field(description=meaning("late_impressions"))
    listeners: int = Field(description=f"{meaning('listeners')}; exact, each counted once a window")
    cost_micros: int = Field(description=meaning("cost_micros"))


class LiveAdWindows(Ranged):
    """Windows of event time in order; those without an impression are left out."""

    width_minutes: int = Field(description="Length of a window", examples=[5])
    step_minutes: int = Field(description="From the start of a window to that of the next", examples=[1])
    windows: list[AdWindow]


class Freshness(Model):
    """How far the live counts are."""

    newest_window_start: datetime | None = Field(
        description="Newest event-time minute with a play; null before the first"
    )
    windows: int = Field(description="Minutes x tracks x countries held")
    kafka_offsets: dict[str, int] = Field(
        description="Newest offset loaded of each partition of topic play_minutes", examples=[{"0": 4711}]
    )
