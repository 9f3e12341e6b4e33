"""`wavehouse report`: what came out of the main job, as an analyst and a dashboard see it, and where to look."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import Settings, load_settings

app = typer.Typer()

TOTALS = (
    "select sum(plays), sum(streams), sum(bot_plays), round(sum(ms_played) / 3.6e6, 1) from lake.gold.streams_daily"
)
TOP_TRACKS = """
select t.title, t.artist_name, sum(d.streams) as streams, sum(d.plays) as plays
from lake.gold.streams_daily d join lake.silver.tracks t on t.track_id = d.track_id
group by t.title, t.artist_name, d.track_id order by streams desc, d.track_id limit 10
"""
ROYALTIES = """
select period, currency, count(*) as lines, sum(streams) as streams, sum(amount_minor) as amount_minor
from lake.gold.royalties group by period, currency order by period, currency
"""
#: The listener with the most minutes, so that the page has something to show.
WRAPPED = """
select user_id, year, minutes_played, plays, listening_days, top_track_titles, top_artist_names, top_genre
from lake.gold.wrapped order by minutes_played desc, user_id limit 1
"""


def addresses(settings: Settings) -> list[tuple[str, str, str, str]]:
    """What to open: (what, address, user, password). The passwords were generated for this installation alone."""
    secret = {
        "airflow": settings.airflow.admin_password,
        "trino": settings.trino.analyst_password,
        "clickhouse": settings.clickhouse.reader_password,
        "minio": settings.s3.secret_key,
    }
    return [
        ("Airflow", settings.airflow.http, settings.airflow.admin_user, secret["airflow"].get_secret_value()),
        ("Trino (HTTPS)", f"https://{settings.trino.address}", "analyst", secret["trino"].get_secret_value()),
        ("ClickHouse (HTTP)", settings.clickhouse.http, "reader", secret["clickhouse"].get_secret_value()),
        ("MinIO (S3)", settings.s3.http, settings.s3.access_key, secret["minio"].get_secret_value()),
        ("Catalogue API", settings.catalog_api.http, "", ""),
        ("Scrobbling", settings.scrobble_api.http, "", "wavehouse listens token create USER"),
        ("Flink", settings.flink.http, "", ""),
        ("Data Docs", (settings.home / "data_docs" / "index.html").as_uri(), "", ""),
    ]


def _told(value: object) -> object:
    """A value of Wrapped for people: a ranking has its places, one a line, and a number its separators."""
    match value:
        case list():
            return "\n".join(f"{place}. {name}" for place, name in enumerate(value, start=1))
        case int():
            return f"{value:,}"
    return value


@app.command()
def report(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Tracks, streams, top tracks, royalties, one listener's Wrapped, freshness of the live counts, and logins.

    Example: wavehouse report --json
    """
    from lakehouse.adapters import trino, window_loader
    from lakehouse.adapters.catalog_db import CatalogDb
    from lakehouse.adapters.clickhouse import LiveCounts

    settings = load_settings()
    out = Output(as_json=as_json)

    def analyst(sql: str) -> trino.Result:
        return trino.query(settings, sql, user="analyst")

    with CatalogDb(settings) as catalog:
        files = catalog.counts()
    outcomes = [(name, "", files[name]) for name in ("accepted", "duplicate", "rejected")]
    outcomes += [("  of these", reason, number) for reason, number in files["rejected_by_reason"].items()]
    out.table("Audio files", ["outcome", "reason", "files"], outcomes)
    plays, streams, bot_plays, hours = analyst(TOTALS).rows[0]
    totals = {"plays": plays, "streams": streams, "bot_plays": bot_plays, "hours": hours}
    out.table("Published plays", list(totals), [list(totals.values())])
    results: dict[str, Any] = {"audio_files": files, "totals": totals}
    for name, title, sql in (("top_tracks", "Top tracks", TOP_TRACKS), ("royalties", "Royalties", ROYALTIES)):
        found = analyst(sql)
        out.table(title, found.columns, found.rows)
        results[name] = found.dicts()
    wrapped = analyst(WRAPPED).dicts()
    for page in wrapped:
        told = [
            (name.replace("_", " "), _told(value)) for name, value in page.items() if name not in ("user_id", "year")
        ]
        out.table(f"Wrapped {page['year']} of listener {page['user_id']}", ["", ""], told)
    results["wrapped"] = wrapped
    state = LiveCounts(settings).state()
    results["live"] = {
        "newest_window_start": state.newest_window_start,
        "windows": state.windows,
        "updates_not_yet_live": window_loader.updates_pending(settings),
    }
    out.table("Live counts", ["newest minute (UTC)", "windows", "updates not yet live"], [results["live"].values()])
    if not as_json:  # the logins are for the person at the terminal, not for a log that keeps the JSON
        out.table("Open", ["what", "address", "user", "password"], addresses(settings))
    out.result(results)
