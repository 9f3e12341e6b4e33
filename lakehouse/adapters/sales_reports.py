"""Files of sales reports (DDEX DSR): read line by line, also compressed; written whole or not at all."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from lakehouse.adapters import trino
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties.dsr.reading import MAX_LINE
from lakehouse.domain.royalties.dsr.writing import Context, Recording, Sale
from lakehouse.domain.royalties.iso import units
from lakehouse.errors import FatalError, RejectedInputError

#: DDEX's CommercialModelType of a product tier.
COMMERCIAL_MODELS = {"free": "AdvertisementSupportedModel"}
#: Of every other tier.
SUBSCRIPTION = "SubscriptionModel"

_CONTEXTS = """
select revenue.country, revenue.tier, revenue.currency, revenue.revenue_minor, nullif(revenue.subscribers, 0),
       coalesce(sum(streams.royalty_streams), 0)
from silver.revenue as revenue
left join (
    select monthly.* from gold.streams_monthly as monthly inner join silver.tracks as tracks using (track_id)
) as streams
    on streams.period = revenue.period and streams.country = revenue.country and streams.tier = revenue.tier
where revenue.period = ? and (? = '' or revenue.country = ?)
group by revenue.country, revenue.tier, revenue.currency, revenue.revenue_minor, revenue.subscribers
order by revenue.country, revenue.tier
"""
_SALES = """
select tracks.track_id, tracks.title, tracks.artist_name, tracks.isrc, tracks.duration_ms,
       monthly.country, monthly.tier, monthly.royalty_streams
from gold.streams_monthly as monthly
inner join silver.tracks as tracks on tracks.track_id = monthly.track_id
inner join silver.revenue as revenue
    on revenue.period = monthly.period and revenue.country = monthly.country and revenue.tier = monthly.tier
where monthly.period = ? and (? = '' or monthly.country = ?) and monthly.royalty_streams > 0
order by tracks.track_id, monthly.country, monthly.tier
"""


def lines(path: Path) -> Iterator[bytes]:
    """Lines of a file with their ends; `.gz` is unpacked on the way. A line longer than MAX_LINE ends the file.

    Raises:
        FatalError: the file can't be opened.
        RejectedInputError: `dsr_compression`, the compressed data is damaged or cut off.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as source:
            while line := source.readline(MAX_LINE + 1):
                yield line
                if len(line) > MAX_LINE:
                    return
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RejectedInputError(
            f"{path.name}: the compressed data is damaged or cut off: {error}.",
            reason="dsr_compression",
            hint="Fetch the file again.",
        ) from error
    except OSError as error:
        raise FatalError(
            f"{path}: {error.strerror or error}", hint="Name a file that exists and may be read."
        ) from error


def contexts(settings: Settings, period: str, territory: str, service: str) -> list[Context]:
    """Sales contexts of a month (`YYYY-MM`): a market (one, or all if "") and tier, with its streams and net revenue.

    Raises:
        FatalError: finance has delivered nothing for the month.
    """
    rows = trino.query(settings, _CONTEXTS, [period, territory, territory], user="analyst").rows
    if not rows:
        raise FatalError(
            f"There is no revenue of {period} {territory}".rstrip() + ".",
            hint="`wavehouse sql 'select distinct period, country from silver.revenue'` shows what there is.",
        )
    return [
        Context(
            summary_id=f"{country}-{tier}",
            commercial_model=COMMERCIAL_MODELS.get(tier, SUBSCRIPTION),
            territory=country,
            service=service,
            currency=currency,
            usages=streams,
            net_revenue=units(revenue_minor, currency),
            subscribers=subscribers,
        )
        for country, tier, currency, revenue_minor, subscribers, streams in rows
    ]


def recordings(settings: Settings, period: str, territory: str) -> Iterator[Recording]:
    """Recordings with streams in the month, in order of track; rows are fetched as they are needed."""
    with trino.connect(settings, user="analyst") as connection:
        cursor = connection.cursor()
        cursor.execute(_SALES, [period, territory, territory])
        rows = iter(cursor.fetchone, None)
        for (track_id, title, artist, isrc, duration_ms), group in groupby(rows, key=lambda row: tuple(row[:5])):
            sales = [
                Sale(f"{country}-{tier}", f"{period}-{country}-{tier}-{track_id}", streams)
                for *_, country, tier, streams in group
            ]
            yield Recording(str(track_id), title, artist, sales, isrc=isrc or "", duration_ms=duration_ms)


def write(path: Path, text: Iterable[str]) -> None:
    """Write the lines of a report to `path`, compressed if that ends in `.gz`: the same lines give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as raw:
        # No name and no time in the compressed file's head: they would differ between runs.
        packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else None
        with io.TextIOWrapper(packed or raw, encoding="utf-8", newline="\n") as out:
            out.writelines(text)
    part.replace(path)
