"""Files of sales reports (DDEX DSR): read line by line, also compressed; written whole or not at all.

A month that was settled is reported as it was settled: streams from the units of its calculation, revenue from the
payout ledger, names from the catalogue at the snapshot that the calculation was made with. So the report stays what it
was, byte for byte, whatever is played, flagged or corrected later. A month that was not is reported as published now.
"""

from __future__ import annotations

import gzip
import io
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from lakehouse.adapters import royalties, trino
from lakehouse.adapters.royalties import Settled
from lakehouse.adapters.royalties_ledger import Ledger, NoLedgerError
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties.dsr.reading import MAX_LINE
from lakehouse.domain.royalties.dsr.writing import Context, Recording, Sale
from lakehouse.domain.royalties.iso import units
from lakehouse.domain.royalties.pools import add_months
from lakehouse.domain.royalties.products import commercial_models
from lakehouse.errors import FatalError, RejectedInputError

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

# Of a settled month. {held} leaves the recordings that a payee holds or licenses.
_SETTLED_SALES = """
select units.track_id, tracks.title, tracks.artist_name, tracks.isrc, tracks.duration_ms,
       units.country, units.tier, units.streams
from (
    select track_id, country, tier, sum(streams) as streams
    from lake.gold.settlement_units
    where calculation = ? and (? = '' or country = ?) {held}
    group by track_id, country, tier
) as units
inner join lake.silver_audit.tracks for version as of {tracks_snapshot} as tracks
    on units.track_id = tracks.track_id
order by units.track_id, units.country, units.tier
"""
_SETTLED_USAGES = """
select country, tier, sum(streams)
from lake.gold.settlement_units
where calculation = ? and (? = '' or country = ?) {held}
group by country, tier
"""
_WITH_A_LINE = """
select coalesce(sum(streams), 0)
from (
    select distinct country, tier, track_id, streams
    from lake.gold.settlement_lines
    where calculation = ? and (? = '' or country = ?) {held}
) as tracks
"""
_HELD = """
    and track_id in (
        select track_id
        from lake.gold.settlement_lines
        where calculation = ? and (split_part(payee_chain, '>', 1) = ? or agreement_id in ({marks}))
    )"""
_PLAYED = """
select count(tracks.track_id), count(*) - count(tracks.track_id)
from ({royalty_plays}) as plays
left join lake.silver_audit.tracks for version as of {tracks_snapshot} as tracks on plays.track_id = tracks.track_id
where plays.played_on >= cast(? as date) and plays.played_on < cast(? as date) and (? = '' or plays.country = ?)
"""


@dataclass(frozen=True)
class Subject:
    """What a report is about: a month (`YYYY-MM`), one market or all (""), and whose recordings ("": everybody's).

    `settled` is what the month was settled as; None while it isn't. `agreements` are those the payee is licensor of.
    """

    period: str
    territory: str = ""
    payee: str = ""
    settled: Settled | None = None
    agreements: tuple[str, ...] = ()

    @property
    def scope(self) -> list[object]:
        """Values for a statement about a calculation, in the order of its marks."""
        calculation = self.settled.inputs.calculation.calculation if self.settled else ""
        held = [calculation, self.payee, *self.agreements] if self.payee else []
        return [calculation, self.territory, self.territory, *held]

    def sql(self, statement: str) -> str:
        """A statement about a calculation, restricted to what the report is about."""
        # Without agreements one that has no name: no line is of it.
        held = _HELD.format(marks=", ".join("?" for _ in self.agreements) or "''") if self.payee else ""
        snapshot = self.settled.inputs.calculation.tracks_snapshot if self.settled else 0
        return statement.format(held=held, tracks_snapshot=snapshot)


@dataclass(frozen=True)
class Reconciled:
    """Streams of a report and where they are in the settlement it is made from.

    `settled` have a line, `unlicensed` are of recordings in which nobody holds a right. `unknown` bear royalties, but
    are of tracks that the catalogue doesn't know: no report has them (None: not asked, of one payee's repertoire).
    """

    reported: int
    settled: int
    unlicensed: int
    unknown: int | None


def subject(settings: Settings, period: str, territory: str = "", payee: str = "") -> Subject:
    """What a report of `period` is made from: the settlement that was kept of it, if there is one.

    Raises:
        RejectedInputError: a payee's repertoire is asked for, but the month is not settled, or the book of contracts
            it was settled with doesn't know the payee.
    """
    with Ledger(settings) as ledger:
        try:
            is_settled = ledger.state(period).digest is not None
        except NoLedgerError:
            is_settled = False
    if is_settled:
        settled = royalties.kept(settings, period)
        agreements = royalties.licensed_by(settings, settled, payee) if payee else ()
        return Subject(period, territory, payee, settled, agreements)
    if payee:
        raise RejectedInputError(
            f"{period} is not settled: who holds which recordings is said by the contracts it is settled with.",
            reason="not_calculated",
            value=period,
            hint=f"`wavehouse royalties run --period {period}`, or a report of all recordings, without --payee.",
        )
    return Subject(period, territory)


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


@contextmanager
def new_on_disk() -> Iterator[Callable[[bytes], bool]]:
    """For `Reading`: tells of each key whether it is new, and remembers it in a temporary file beyond 16 MiB."""
    with closing(sqlite3.connect("", isolation_level=None)) as database:
        # A database without a name is SQLite's own temporary file, made when its cache is full and gone when closed.
        for pragma in ("cache_size = -16384", "journal_mode = off", "synchronous = off"):
            database.execute(f"pragma {pragma}")
        database.execute("create table seen (key blob primary key) without rowid")
        database.execute("begin")

        def is_new(key: bytes) -> bool:
            return database.execute("insert or ignore into seen values (?)", (key,)).rowcount == 1

        yield is_new


def contexts(settings: Settings, of: Subject, service: str) -> list[Context]:
    """Sales contexts of a month: a market and tier, with its streams in the report and its net revenue.

    Raises:
        FatalError: finance has delivered nothing for the month.
    """
    rows = _published(settings, of) if of.settled is None else _settled(settings, of, of.settled)
    if not rows:
        raise FatalError(
            f"There is no revenue of {of.period} {of.territory}".rstrip() + ".",
            hint="`wavehouse sql 'select distinct period, country from silver.revenue'` shows what there is.",
        )
    return [
        Context(
            summary_id=f"{country}-{tier}",
            # A plan that was given up is still reported of its months.
            commercial_model=commercial_models().get(tier, "SubscriptionModel"),
            territory=country,
            service=service,
            currency=currency,
            usages=streams,
            net_revenue=units(revenue_minor, currency),
            subscribers=subscribers,
        )
        for country, tier, currency, revenue_minor, subscribers, streams in rows
    ]


#: Country, tier, currency, net revenue (minor units), subscribers, streams.
Row = tuple[str, str, str, int, int | None, int]


def _published(settings: Settings, of: Subject) -> list[Row]:
    rows: list[Row] = trino.query(settings, _CONTEXTS, [of.period, of.territory, of.territory], user="analyst").rows
    return rows


def _settled(settings: Settings, of: Subject, settled: Settled) -> list[Row]:
    """By market and tier. Of all recordings the streams are those of the approved document, not of the lake."""
    revenue = {row.key: row for row in settled.inputs.revenue}
    streams = {(pool.key.country, pool.key.tier): pool.streams for pool in settled.settlement.pools}
    if of.payee:
        rows = trino.query(settings, of.sql(_SETTLED_USAGES), of.scope, user="auditor").rows
        streams = {(country, tier): number for country, tier, number in rows}
    return [
        (
            key.country,
            key.tier,
            key.currency,
            row.net_minor,
            row.subscribers or None,
            streams.get((key.country, key.tier), 0),
        )
        for key, row in sorted(revenue.items(), key=lambda item: (item[0].country, item[0].tier))
        if of.territory in ("", key.country)
    ]


def recordings(settings: Settings, of: Subject) -> Iterator[Recording]:
    """Recordings with streams in the month, in order of track; rows are fetched as they are needed."""
    with trino.connect(settings, user="auditor" if of.settled else "analyst") as connection:
        cursor = connection.cursor()
        if of.settled:
            cursor.execute(of.sql(_SETTLED_SALES), of.scope)
        else:
            cursor.execute(_SALES, [of.period, of.territory, of.territory])
        rows = iter(cursor.fetchone, None)
        for (track_id, title, artist, isrc, duration_ms), group in groupby(rows, key=lambda row: tuple(row[:5])):
            sales = [
                Sale(f"{country}-{tier}", f"{of.period}-{country}-{tier}-{track_id}", streams)
                for *_, country, tier, streams in group
            ]
            yield Recording(str(track_id), title, artist, sales, isrc=isrc or "", duration_ms=duration_ms)


def reconcile(settings: Settings, of: Subject, contexts: Iterable[Context]) -> Reconciled | None:
    """Account for the streams of a report in the settlement that it is made from; None if the month isn't settled.

    Of all recordings it is also held against the plays that were settled, counted anew.

    Raises:
        FatalError: streams are reported that are not settled, or the other way round.
    """
    if of.settled is None:
        return None
    reported = sum(context.usages for context in contexts)
    (settled,) = trino.query(settings, of.sql(_WITH_A_LINE), of.scope, user="auditor").rows[0]
    found = Reconciled(reported, settled, 0, None)
    played = reported
    if not of.payee:
        pools = of.settled.settlement.pools
        unlicensed = sum(p.unlicensed_streams for p in pools if of.territory in ("", p.key.country))
        sql = _PLAYED.format(
            royalty_plays=royalties.royalty_plays(of.settled.inputs),
            tracks_snapshot=of.settled.inputs.calculation.tracks_snapshot,
        )
        days = [f"{of.period}-01", f"{add_months(of.period, 1)}-01"]
        rows = trino.query(settings, sql, [*days, of.territory, of.territory], user="auditor").rows
        played, unknown = rows[0]
        found = Reconciled(reported, settled, unlicensed, unknown)
    if reported != found.settled + found.unlicensed or reported != played:
        raise FatalError(
            f"The report of {of.period} has {reported} streams, but {found.settled} are settled, in {found.unlicensed} "
            f"nobody holds a right, and {played} were played; nothing was written.",
            hint=f"Don't report it; `wavehouse royalties checklist --period {of.period}` looks further.",
        )
    return found


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
