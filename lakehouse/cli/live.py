"""`wavehouse live`: the live counts, from ClickHouse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import Settings, load_settings
from lakehouse.errors import FatalError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakehouse.adapters.clickhouse import LiveCounts, TrackCounts

app = typer.Typer(help="The live counts: plays by minute, fresh within seconds.", no_args_is_help=True)


class Ranked(StrEnum):
    """What a ranking is of."""

    TRACK = "track"
    ARTIST = "artist"
    COUNTRY = "country"
    CAMPAIGN = "campaign"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
Start = Annotated[datetime | None, typer.Option("--from", formats=FORMATS, help="UTC; default: a day before --to.")]
End = Annotated[
    datetime | None, typer.Option("--to", formats=FORMATS, help="UTC, not included; default: after the newest window.")
]


@app.command()
def top(
    start: Start = None,
    end: End = None,
    by: Annotated[Ranked, typer.Option(help="What is ranked.")] = Ranked.TRACK,
    country: Annotated[str | None, typer.Option(help="ISO 3166-1 alpha-2 code; default: all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 10,
    as_json: AsJson = False,
) -> None:
    """Tracks, artists or countries with the most streams in a range of time, or campaigns with the most impressions.

    A track that the catalogue does not know has no title and no artist here.

    Example: wavehouse live top --by artist --from 2026-10-31 --to 2026-11-01 --country SE
    """
    from lakehouse.adapters.clickhouse import LiveCounts

    if by is Ranked.COUNTRY and country is not None:
        raise FatalError("A ranking of countries is over all of them.", hint="Leave --country out.")
    out, settings = Output(as_json=as_json), load_settings()
    counts = LiveCounts(settings)
    start, end = _range(counts, start, end)
    if by is Ranked.TRACK:
        found = _named(settings, counts.top(start, end, country=country, limit=limit), out)
    elif by is Ranked.ARTIST:
        from lakehouse.adapters.catalog_reader import CatalogReader, by_artist

        tracks = counts.top(start, end, country=country, limit=None)
        found = _plain(by_artist(tracks, CatalogReader(settings).many)[:limit])
    elif by is Ranked.COUNTRY:
        found = _plain(counts.top_countries(start, end, limit=limit))
    else:
        found = _plain(counts.top_campaigns(start, end, country=country, limit=limit))
    out.table(
        f"Top by {by}, {start:%F %R} to {end:%F %R} UTC",
        list(found[0]) if found else [by],
        [list(row.values()) for row in found],
    )
    out.result(found)


def _plain(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [vars(row) for row in rows]


def _named(settings: Settings, tracks: Sequence[TrackCounts], out: Output) -> list[dict[str, Any]]:
    """Tracks with the names the catalogue has for them; without the catalogue they have none, and that is said."""
    from lakehouse.adapters.catalog_reader import CatalogReader

    names: dict[int, dict[str, str]] = {}
    try:
        for row in CatalogReader(settings).many([counts.track_id for counts in tracks]):
            names[row.content_id] = {"title": row.title, "artist_name": row.artist_name}
    except RetryableError as error:
        out.info(f"Without titles and artists: {error.message}")
    unknown = {"title": None, "artist_name": None}
    return [{"track_id": row.track_id} | names.get(row.track_id, unknown) | vars(row) for row in tracks]


@app.command()
def track(track_id: int, start: Start = None, end: End = None, as_json: AsJson = False) -> None:
    """Minutes of one track with at least one play.

    Example: wavehouse live track 7340032 --from 2026-10-31T20:00 --to 2026-10-31T21:00
    """
    from lakehouse.adapters.clickhouse import LiveCounts

    out, counts = Output(as_json=as_json), LiveCounts(load_settings())
    start, end = _range(counts, start, end)
    rows = counts.minutes(track_id, start, end)
    out.table(
        f"Track {track_id}, {start:%F %R} to {end:%F %R} UTC",
        ["minute", "plays", "streams", "of bots", "listeners", "minutes heard"],
        [
            (f"{r.window_start:%F %R}", r.plays, r.streams, r.bot_plays, r.listeners, f"{r.ms_played / 60_000:.1f}")
            for r in rows
        ],
    )
    out.result([vars(row) | {"window_start": row.window_start.isoformat()} for row in rows])


@app.command()
def windows(
    start: Start = None,
    end: End = None,
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="Length of a window.")] = 5,
    every: Annotated[int | None, typer.Option(min=1, help="Minutes between starts; default: the length.")] = None,
    track_id: Annotated[int | None, typer.Option("--track", help="Only this track.")] = None,
    campaign_id: Annotated[int | None, typer.Option("--campaign", help="Impressions of this campaign instead.")] = None,
    country: Annotated[str | None, typer.Option(help="ISO 3166-1 alpha-2 code; default: all.")] = None,
    region: Annotated[
        str | None, typer.Option(help="UN M49 code, as 154 (Northern Europe) or 150 (Europe); default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tumbling or sliding windows with exact distinct listeners; late events are in the window they belong to.

    Example: wavehouse live windows --minutes 60 --every 5 --country SE --from 2026-10-31T18:00 --to 2026-10-31T22:00
    """
    from lakehouse.adapters.clickhouse import AdWindowCounts, LiveCounts, WindowCounts
    from lakehouse.domain.listening import regions

    out, counts = Output(as_json=as_json), LiveCounts(load_settings())
    if track_id is not None and campaign_id is not None:
        raise FatalError("A window is of a track or of a campaign.", hint="Give --track or --campaign.")
    start, end = _range(counts, start, end)
    if region is not None and region not in regions.codes():
        raise FatalError(f"There is no region '{region}'.", hint=f"One of {', '.join(sorted(regions.codes()))}.")
    places = regions.chosen(country, region)
    width, step = timedelta(minutes=minutes), timedelta(minutes=every or minutes)
    rows: Sequence[WindowCounts | AdWindowCounts]
    if campaign_id is None:
        tracks = None if track_id is None else [track_id]
        rows = counts.windows(start, end, width=width, step=step, track_ids=tracks, countries=places)
    else:
        rows = counts.ad_windows(start, end, width=width, step=step, campaign_id=campaign_id, countries=places)
    found = [vars(row) | {"window_start": row.window_start.isoformat()} for row in rows]
    titles = list(found[0]) if found else ["window_start"]
    out.table(f"Windows of {minutes} minutes", titles, [list(row.values()) for row in found])
    out.result(found)


@app.command()
def sessions(
    start: Start = None,
    end: End = None,
    country: Annotated[str | None, typer.Option(help="ISO 3166-1 alpha-2 code; default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Listening sessions that begin in a range: plays without a pause of more than half an hour between them.

    Example: wavehouse live sessions --from 2026-10-31 --to 2026-11-01 --country SE
    """
    from lakehouse.adapters.clickhouse import LiveCounts

    out, counts = Output(as_json=as_json), LiveCounts(load_settings())
    start, end = _range(counts, start, end)
    found = vars(counts.sessions(start, end, country=country))
    out.table(f"Sessions, {start:%F %R} to {end:%F %R} UTC", list(found), [list(found.values())])
    out.result(found)


@app.command()
def freshness(
    with_lake: Annotated[
        bool,
        typer.Option("--with-lake", help="Count in silver, too, what came too late for the live counts; takes longer."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """How far the live counts have come, what is still to be loaded, and how many events came late.

    Late events are counted in the minute they belong to; those that came more than 44 days late are in the lake alone.

    Example: wavehouse live freshness --with-lake
    """
    from lakehouse.adapters import reconcile
    from lakehouse.adapters.clickhouse import LiveCounts
    from lakehouse.adapters.window_loader import pending

    out, settings = Output(as_json=as_json), load_settings()
    counts, rows = LiveCounts(settings), []
    late = counts.late()
    too_late = reconcile.too_late(settings) if with_lake else {}
    for table, lag in pending(settings).items():
        state = counts.state(table)
        rows.append(
            {
                "table": table,
                "newest_window_start": state.newest_window_start and state.newest_window_start.isoformat(),
                "windows": state.windows,
                "pending_records": lag.records,
                "uncommitted_offsets": lag.uncommitted,
                "late_events": late[table],
            }
            | ({"too_late_events": too_late[table]} if with_lake else {})
        )
    titles = [
        "table",
        "newest window (UTC)",
        "windows",
        "records to load",
        "offsets in open transactions",
        "late events",
        *(["too late, in the lake alone"] if with_lake else []),
    ]
    out.table("Live counts", titles, [list(row.values()) for row in rows])
    out.result(rows)


def _range(counts: LiveCounts, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """The range asked for, in UTC; without an end it ends behind the newest window, without a start it is a day."""
    if end is None:
        newest = counts.state().newest_window_start
        if newest is None:
            raise FatalError("There are no live counts yet.", hint="`wavehouse simulate plays` makes plays.")
        end = newest + timedelta(minutes=1)
    end = end.replace(tzinfo=UTC)
    start = end - timedelta(days=1) if start is None else start.replace(tzinfo=UTC)
    if start >= end:
        raise FatalError(f"The range {start:%F %R} to {end:%F %R} is empty.", hint="--from must be before --to.")
    return start, end
