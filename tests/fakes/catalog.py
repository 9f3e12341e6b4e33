"""Readers for the catalogue service that hold their rows in memory and can be switched off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from lakehouse.adapters.catalog_reader import ArtistRow, AssetRow, PodcastRow, ReleaseRow, TrackRow
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
from lakehouse.domain.catalog.deliveries.messages import Window
from lakehouse.errors import RetryableError

T0 = datetime(2026, 10, 31, 12, 0, tzinfo=UTC)
#: Beyond 2**53, where a JSON number would be rounded.
FIRST_ID = 2**61 + 1


def row(number: int, title: str, artist_id: int = 7, artist: str = "Ásta") -> TrackRow:
    return TrackRow(
        content_id=FIRST_ID + number,
        kind="track",
        title=title,
        artist_id=artist_id,
        artist_name=artist,
        release_id=None,
        release_title=None,
        isrc=None,
        genre="Soundtrack",
        licence="CC-BY-SA-4.0",
        created_at=T0,
        duration_ms=181_000,
        sample_rate_hz=44_100,
        channels=2,
        audio_format="OGG/VORBIS",
        size_bytes=3_000_000,
        sha256="ab" * 32,
        sort_title=title.lower(),
    )


class Switch:
    """An engine that can be away."""

    away = False

    def ping(self) -> None:
        if self.away:
            raise RetryableError(f"{type(self).__name__} is away.", hint="Wait.")


KEY = "4006381333931"


def released(tracks: Sequence[TrackRow]) -> ReleaseRow:
    """A release under KEY, permitted everywhere but in the US from T0 to T0 + 30 days."""
    window = Window("Worldwide", ("US",), "SubscriptionModel", "OnDemandStream", T0, T0 + timedelta(days=30))
    picture = {"width_px": 3000, "height_px": 3000}
    assets = [
        AssetRow("artwork", "cover.jpg", "cd" * 32, "image/jpeg", 1000, picture),
        AssetRow("merch", None, None, None, None, {"title": "Shirt", "url": "https://shop.example/1"}),
    ]
    return ReleaseRow(KEY, 2, "Première", 7, "Ásta", tracks, assets, [window])


LYRICS = AssetRow(
    "lyrics", "a.lrc", "ef" * 32, "text/plain", 20,
    {"synchronised": True, "language": "is", "lines": [[900, "eins"], [1900, "zwei"]], "tags": {}},
)  # fmt: skip


def podcast(number: int, title: str, parent_id: int | None = None, published_at: str = "") -> PodcastRow:
    attributes = {"published_at": published_at} if published_at else {}
    return PodcastRow(FIRST_ID + number, title, 9, "Bo", attributes, parent_id, None, title.lower())


class FakeCatalog(Switch):
    def __init__(self, rows: Sequence[TrackRow]) -> None:
        self.rows = sorted(rows, key=lambda r: (r.sort_title, r.content_id))
        self.releases: dict[str, ReleaseRow] = {}
        self.belongings: dict[int, list[AssetRow]] = {}
        self.feeds: list[PodcastRow] = []

    def release(self, release_key: str) -> ReleaseRow | None:
        self.ping()
        return self.releases.get(release_key)

    def assets(self, track: TrackRow) -> list[AssetRow]:
        self.ping()
        return self.belongings.get(track.content_id, [])

    def podcasts(self, *, after: tuple[str, int] | None, limit: int) -> list[PodcastRow]:
        self.ping()
        found = sorted((r for r in self.feeds if r.parent_id is None), key=lambda r: (r.sort_title, r.content_id))
        return [r for r in found if after is None or (r.sort_title, r.content_id) > after][:limit]

    def podcast(self, podcast_id: int) -> PodcastRow | None:
        self.ping()
        return next((r for r in self.feeds if r.content_id == podcast_id and r.parent_id is None), None)

    def episodes(self, podcast_id: int, *, after: tuple[str, int] | None, limit: int) -> list[PodcastRow]:
        self.ping()
        found = sorted(
            (r for r in self.feeds if r.parent_id == podcast_id), key=lambda r: (r.published_at, r.content_id)
        )[::-1]
        return [r for r in found if after is None or (r.published_at, r.content_id) < after][:limit]

    def tracks(
        self, *, prefix: str | None, artist_id: int | None, after: tuple[str, int] | None, limit: int
    ) -> list[TrackRow]:
        self.ping()
        start = (prefix or "").lower()
        return [
            r
            for r in self.rows
            if (r.sort_title.startswith(start) or r.artist_name.lower().startswith(start))
            and artist_id in (None, r.artist_id)
            and (after is None or (r.sort_title, r.content_id) > after)
        ][:limit]

    def track(self, track_id: int) -> TrackRow | None:
        return next(iter(self.many([track_id])), None)

    def many(self, track_ids: Sequence[int]) -> list[TrackRow]:
        self.ping()
        return [r for r in self.rows if r.content_id in track_ids]

    def artist(self, artist_id: int) -> ArtistRow | None:
        self.ping()
        found = [r for r in self.rows if r.artist_id == artist_id]
        return ArtistRow(artist_id, found[0].artist_name, len(found)) if found else None


class FakeFeatures(Switch):
    def __init__(self, rows: Mapping[int, Mapping[str, str]]) -> None:
        self.rows = rows

    def get(self, track_id: int) -> Mapping[str, str] | None:
        self.ping()
        return self.rows.get(track_id)


class FakeLive(Switch):
    """Counts as (track, country, minute counts)."""

    def __init__(self, counts: Sequence[tuple[int, str, MinuteCounts]]) -> None:
        self.counts = counts

    def minutes(self, track_id: int, start: datetime, end: datetime) -> list[MinuteCounts]:
        self.ping()
        return [c for track, _, c in self.counts if track == track_id and start <= c.window_start < end]

    def top(self, start: datetime, end: datetime, *, country: str | None, limit: int | None) -> list[TrackCounts]:
        self.ping()
        totals: dict[int, list[int]] = {}
        for track, where, c in self.counts:
            if start <= c.window_start < end and country in (None, where):
                total = totals.setdefault(track, [0, 0])
                total[0] += c.plays
                total[1] += c.streams
        ranked = [TrackCounts(track_id=t, plays=p, streams=s) for t, (p, s) in totals.items()]
        return sorted(ranked, key=lambda r: (-r.streams, r.track_id))[:limit]

    def top_countries(self, start: datetime, end: datetime, *, limit: int) -> list[CountryCounts]:
        """As if every play had a listener of its own."""
        self.ping()
        totals: dict[str, list[int]] = {}
        for _, where, c in self.counts:
            if start <= c.window_start < end:
                total = totals.setdefault(where, [0, 0])
                total[0] += c.plays
                total[1] += c.streams
        ranked = [CountryCounts(where, plays, streams, plays) for where, (plays, streams) in totals.items()]
        return sorted(ranked, key=lambda r: (-r.streams, r.country))[:limit]

    def top_campaigns(self, start: datetime, end: datetime, *, country: str | None, limit: int) -> list[CampaignCounts]:
        """Campaigns stand for tracks, and impressions for plays that cost a millionth each."""
        found = self.top(start, end, country=country, limit=None)
        ranked = [CampaignCounts(t.track_id, t.plays, t.plays, t.plays) for t in found]
        return sorted(ranked, key=lambda r: (-r.impressions, r.campaign_id))[:limit]

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
        """As `top_campaigns`."""
        tracks = None if campaign_id is None else [campaign_id]
        found = self.windows(start, end, width=width, step=step, track_ids=tracks, countries=countries)
        return [AdWindowCounts(w.window_start, w.plays, w.late_plays, w.listeners, w.plays) for w in found]

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
        """As if every play had a listener of its own."""
        self.ping()
        found, at = [], start
        while at + width <= end:
            inside = [
                c
                for track, where, c in self.counts
                if at <= c.window_start < at + width
                and (track_ids is None or track in track_ids)
                and (countries is None or where in countries)
            ]
            if inside:
                plays = sum(c.plays for c in inside)
                streams, heard = sum(c.streams for c in inside), sum(c.ms_played for c in inside)
                found.append(WindowCounts(at, plays, streams, 0, 0, plays, heard))
            at += step or width
        return found

    def sessions(self, start: datetime, end: datetime, *, country: str | None) -> Sessions:
        self.ping()
        counts = [c for _, where, c in self.counts if country in (None, where)]
        plays = sum(c.plays for c in counts if start <= c.window_start < end)
        return Sessions(plays, plays, plays, plays * 1000)

    def newest(self) -> datetime | None:
        self.ping()
        return max((c.window_start for *_, c in self.counts), default=None)

    def state(self) -> WindowState:
        return WindowState(
            newest_window_start=self.newest(),
            windows=len(self.counts),
            offsets={0: len(self.counts)} if self.counts else {},
        )


FEATURES = {
    "extractor": "librosa-basic",
    "extractor_version": "1.0.0",
    "tempo_bpm": "120.5",
    "tempo_confidence": "0.8",
    "musical_key": "A",
    "musical_mode": "minor",
    "key_confidence": "0.71",
    "loudness_lufs": "-14.2",
    "spectral_centroid_hz": "2100.5",
    "spectral_rolloff_hz": "4100.5",
    "rms_energy": "0.11",
    "onset_rate_hz": "2.5",
}


def minute(offset: int, plays: int, streams: int) -> MinuteCounts:
    """Counts of the minute `offset` minutes after T0."""
    return MinuteCounts(
        window_start=T0 + timedelta(minutes=offset),
        plays=plays,
        streams=streams,
        bot_plays=plays - streams,
        listeners=plays,
        ms_played=plays * 60_000,
    )
