"""Settlements in the lake: what a calculation weighs (`settlement_tracks`, `_units`), and what came out of it.

Every table is partitioned by `calculation`. A calculation is named by all that it is computed from, so writing it again
replaces its rows by equal ones, and those of other calculations are never touched. The row in `settlements` goes first
and is written last: a calculation that has none was broken off, and the month's next one clears it away.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from lakehouse.adapters import lake, trino
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.royalties.contracts import Accounting, Book, current, in_force
from lakehouse.domain.royalties.models import Units
from lakehouse.domain.royalties.pools import ExchangeRate, PoolKey, Revenue, minor_units, rate
from lakehouse.domain.royalties.revenue_file import AMOUNTS
from lakehouse.domain.royalties.settlement import PAYABLE, Balance, Line, Settlement, Sums
from lakehouse.errors import RejectedInputError, RetryableError

if TYPE_CHECKING:
    from pyiceberg.table import DataScan, Table, Transaction

T = TypeVar("T", int, str)

#: The tables, in the order in which they are audited.
TABLES = tuple(
    f"gold_audit.{name}"
    for name in (
        "settlement_listeners",
        "settlement_tracks",
        "settlement_units",
        "settlement_clauses",
        "settlement_rates",
        "settlement_accounts",
        "settlement_pools",
        "settlement_lines",
        "settlement_entries",
        "settlement_reserves",
        "settlements",
    )
)
#: Hears, a line at a time, how far long work is.
Say = Callable[[str], None]
CURRENT, SUPERSEDED, RESTATEMENT = "current", "superseded", "restatement"
#: Streams that Trino groups at once: their groups fit into the memory of a query. Listeners are fewer than streams: a
#: group of theirs, which is a listener in a pool, has many.
_STREAMS_AT_ONCE = 3_000_000
_STREAMS_OF_LISTENERS_AT_ONCE = 8 * _STREAMS_AT_ONCE
#: Rows of a month that are looked at to cut it into portions, and into how many at most.
_SAMPLE, _QUANTILES = 1_000_000, 1000
_MAX_ID = 2**63 - 1
#: Lines that are held as columns at once, and how many are collected before they are written: small pools share files.
_LINES_AT_ONCE, _LINES_COLLECTED = 200_000, 50_000
#: Units of a pool that are weighed at once: below 200 bytes each.
_UNITS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Calculation:
    """One calculation of a month, where its plays and tracks were read, and the label of the policy they count by."""

    calculation: str
    period: str
    book_sha256: str
    plays_snapshot: int
    flags_snapshot: int
    tracks_snapshot: int
    counting_policy: str = ""


def put_units(settings: Settings, of: Calculation, streams: dict[str, int], *, say: Say = lambda _: None) -> None:
    """Count the month's streams into `settlement_units`, market by market; `streams` says how many each market has.

    `say` hears of each portion that is counted.
    """
    _forget(settings, of)
    total = sum(streams.values())
    quantiles = _quantiles(settings, of.period, total) if total > _STREAMS_AT_ONCE else {}
    of_users = _ranges("user_id", quantiles, 1 + total // _STREAMS_OF_LISTENERS_AT_ONCE)
    of_artists = _ranges("artist_id", quantiles, 1 + total // _STREAMS_AT_ONCE)
    portions = [("listeners", *part) for part in of_users] + [("tracks", *part) for part in of_artists]
    for countries, parts in _portions(streams):
        marks = ", ".join("?" for _ in countries)
        for where, values in _ranges("track_id", quantiles, parts):
            market = f"calculation = ? and country in ({marks}) and {where}"
            portions.append(("units", market, [of.calculation, *countries, *values]))
    for number, (what, where, values) in enumerate(portions, start=1):
        _count(settings, of, what, where, values)
        say(f"{of.period}: portion {number} of {len(portions)} is counted ({what})")
    trino.query(settings, "delete from lake.gold_audit.settlement_listeners where calculation = ?", [of.calculation])


def _quantiles(settings: Settings, period: str, streams: int) -> dict[str, list[int]]:
    """Values of users, artists and tracks that cut a month's rows into `_QUANTILES` parts, about equal ones. They are
    counted in doubles, which hold ids of 64 bits nearly: near enough to cut by.
    """
    columns = ("user_id", "artist_id", "track_id")
    shares = ", ".join(str(n / _QUANTILES) for n in range(1, _QUANTILES))
    percent = min(100.0, 100 * _SAMPLE / streams)
    asked = ", ".join(f"approx_percentile(cast({column} as double), array[{shares}])" for column in columns)
    rows = trino.query(
        settings,
        f"select {asked} from lake.staging.int_royalty_streams tablesample bernoulli ({percent}) where period = ?",  # noqa: S608
        [period],
    ).rows
    return {
        column: [min(int(value), _MAX_ID) for value in found or []]
        for column, found in zip(columns, rows[0], strict=True)
    }


def _ranges(column: str, quantiles: Mapping[str, list[int]], parts: int) -> Iterator[tuple[str, list[object]]]:
    """Conditions, with their values, that cut the values of a column into at most `parts` of about equal rows.

    They compare, because Trino moves nothing else below a join or an aggregation: under `mod(column, ?) = ?` every
    portion groups the whole month and leaves most of it out afterwards.
    """
    return ranges(column, cut(quantiles.get(column, []), parts))


def cut(known: Sequence[T], parts: int) -> list[T]:
    """Values that cut `known`, which are in order, into at most `parts` of about equal size."""
    return sorted({known[len(known) * part // parts] for part in range(1, parts)}) if known else []


def ranges(column: str, cuts: Sequence[object]) -> Iterator[tuple[str, list[object]]]:
    """Conditions, with their values, that cut the rows at `cuts` of a column, in order: each row meets one of them."""
    for low, high in pairwise([None, *cuts, None]):
        bounds = {f"{column} > ?": low, f"{column} <= ?": high}
        given = {condition: value for condition, value in bounds.items() if value is not None}
        yield " and ".join(given) or "true", list(given.values())


def _count(settings: Settings, of: Calculation, what: str, where: str, values: Sequence[object]) -> None:
    """Put the rows of the view `int_royalty_<what>` of the month that meet a condition into `settlement_<what>`."""
    names = [c.name for c in load(f"gold_audit.settlement_{what}").columns if c.name not in ("calculation", "period")]
    columns = ", ".join(names)
    trino.query(
        settings,
        f"insert into lake.gold_audit.settlement_{what} (calculation, period, {columns}) "  # noqa: S608
        f"select ?, period, {columns} from lake.staging.int_royalty_{what} where period = ? and {where}",
        [of.calculation, of.period, *values],
    )


def _forget(settings: Settings, of: Calculation) -> None:
    """Delete the calculation, and all rows of the month's calculations that were never completed.

    What readers see is what was published before, until this one is.
    """
    _put_heads(
        settings, of.period, [row for row in _heads(settings, of.period) if row["calculation"] != of.calculation]
    )
    broken = trino.query(
        settings,
        "select calculation from (select calculation from lake.gold_audit.settlement_listeners where period = ? "
        "union select calculation from lake.gold_audit.settlement_tracks where period = ?) "
        "where calculation not in (select calculation from lake.gold_audit.settlements)",
        [of.period, of.period],
    ).rows
    for (calculation,) in broken:
        for table in TABLES[:-1]:
            trino.query(settings, f"delete from lake.{table} where calculation = ?", [calculation])  # noqa: S608


def _heads(settings: Settings, period: str) -> list[dict[str, Any]]:
    """The rows of `settlements` of a month."""
    rows: list[dict[str, Any]] = lake.read(settings, "gold_audit.settlements", where=f"period = '{period}'").to_pylist()
    return rows


def _put_heads(settings: Settings, period: str, rows: list[dict[str, Any]]) -> None:
    schema = load("gold_audit.settlements").arrow_schema()
    table = pa.Table.from_pylist(rows, schema=schema)
    lake.overwrite(settings, "gold_audit.settlements", table, where=f"period = '{period}'")


def _portions(streams: Mapping[str, int]) -> Iterator[tuple[list[str], int]]:
    """Markets that are counted at once, and into how many parts their tracks are cut."""
    countries: list[str] = []
    total = 0
    for country, number in sorted(streams.items(), key=lambda item: (item[1], item[0])):
        if countries and total + number > _STREAMS_AT_ONCE:
            yield countries, 1
            countries, total = [], 0
        countries.append(country)
        total += number
        if total > _STREAMS_AT_ONCE:  # one market alone
            yield countries, 1 + total // _STREAMS_AT_ONCE
            countries, total = [], 0
    if countries:
        yield countries, 1


def units(settings: Settings, calculation: str, key: PoolKey) -> Iterator[Iterator[Units]]:
    """The units of the pool `key`, in portions of whole tracks that fit into memory, in no particular order."""
    where = {"country": key.country, "tier": key.tier}
    portions = 1 + _count_of(settings, "settlement_units", calculation, **where) // _UNITS_AT_ONCE
    for part in range(portions):
        yield _units(settings, calculation, where, portions, part)


def _units(settings: Settings, calculation: str, where: dict[str, str], portions: int, part: int) -> Iterator[Units]:
    """The units of the tracks whose id leaves `part` when divided by `portions`."""
    columns = (
        *("track_id", "artist_id", "pool_streams", "month_streams", "streams", "chosen_streams"),
        *("artist_streams", "artist_listeners", "annual_streams", "is_noise"),
    )
    for batch in _batches(settings, "settlement_units", calculation, columns, **where):
        if portions > 1:
            batch = batch.filter(pa.array(batch["track_id"].to_numpy() % portions == part))  # noqa: PLW2901
        tracks, artists, *numbers = (batch.column(name).to_pylist() for name in columns)
        for track, artist, *rest in zip(tracks, artists, *numbers, strict=True):
            yield Units(str(track), str(artist), *rest)


def streams_of_tracks(settings: Settings, calculation: str) -> Iterator[tuple[str, int]]:
    """Streams of tracks over all pools, a track any number of times."""
    for batch in _batches(settings, "settlement_units", calculation, ("track_id", "streams")):
        summed = pa.Table.from_batches([batch]).group_by("track_id").aggregate([("streams", "sum")])
        yield from zip(map(str, summed["track_id"].to_pylist()), summed["streams_sum"].to_pylist(), strict=True)


def titles(settings: Settings, calculation: str, payee: str) -> dict[str, str]:
    """Titles, as they were then, of the tracks that a payee has lines of."""
    rows = trino.query(
        settings,
        "select distinct track_id, title from lake.gold_audit.settlement_units where calculation = ? and track_id in "
        "(select track_id from lake.gold_audit.settlement_lines where calculation = ? and payee = ?)",
        [calculation, calculation, payee],
    ).rows
    return {str(track): title for track, title in rows if title is not None}


class LinesWriter:
    """Appends lines to a transaction, numbered from 1; the last ones when it is flushed."""

    def __init__(self, of: Calculation, transaction: Transaction) -> None:
        self._of, self._transaction, self._count = of, transaction, 0
        self._schema = load("gold_audit.settlement_lines").arrow_schema()
        self._waiting: list[Line] = []

    def write(self, lines: Sequence[Line]) -> None:
        """Append `lines`, or keep them until there are enough for a file."""
        self._waiting += lines
        if len(self._waiting) >= _LINES_COLLECTED:
            self.flush()

    def flush(self) -> None:
        """Append all lines that still wait."""
        for start in range(0, len(self._waiting), _LINES_AT_ONCE):
            part = self._waiting[start : start + _LINES_AT_ONCE]
            rows: dict[str, list[Any]] = {
                "calculation": [self._of.calculation] * len(part),
                "line_number": list(range(self._count + 1, self._count + len(part) + 1)),
                "period": [line.key.period for line in part],
                "country": [line.key.country for line in part],
                "tier": [line.key.tier for line in part],
                "currency": [line.key.currency for line in part],
                "agreement_id": [line.agreement_id for line in part],
                "share_type": [line.share_type for line in part],
                "track_id": [int(line.track_id) for line in part],
                "payee": [line.payee_id for line in part],
                "payee_chain": [">".join(line.chain) for line in part],
                "account": [line.account for line in part],
                "clause": [line.clause for line in part],
                "royalty_model": [line.model for line in part],
                "deciding_rule": [line.rule for line in part],
                "streams": [line.streams for line in part],
                "weight": [float(line.weight) for line in part],
                "weight_exact": [str(line.weight) for line in part],
                "unrounded_exact": [str(line.exact_minor) for line in part],
                "unrounded_amount": [float(line.exact_minor) for line in part],
                "amount_minor": [line.amount_minor for line in part],
            }
            self._transaction.append(pa.table(rows, schema=self._schema))
            self._count += len(part)
        self._waiting = []


@contextmanager
def lines_writer(settings: Settings, of: Calculation) -> Iterator[LinesWriter]:
    """Where to write the lines of a calculation: all of them become visible at the end, in place of earlier ones.

    Raises:
        RetryableError: somebody else committed to the table meanwhile.
    """
    with _replacing(_table(settings, "settlement_lines"), of.calculation) as transaction:
        writer = LinesWriter(of, transaction)
        yield writer
        writer.flush()


def lines(
    settings: Settings, calculation: str, *, key: PoolKey | None = None, payee: str | None = None
) -> Iterator[Line]:
    """Lines of a calculation, in order: all of them, those of a pool or those of a payee."""
    where = {"country": key.country, "tier": key.tier, "currency": key.currency} if key else {}
    if payee is not None:
        where["payee"] = payee
    found = [
        (row["line_number"], _line(row))
        for batch in _batches(settings, "settlement_lines", calculation, ("*",), **where)
        for row in batch.to_pylist()
    ]
    yield from (line for _, line in sorted(found, key=lambda pair: pair[0]))


def earned(settings: Settings, calculation: str) -> Sums:
    """What the lines of a calculation sum to by account and currency."""
    names = ("agreement_id", "payee", "account", "period", "currency")
    found: Sums = defaultdict(int)
    for batch in _batches(settings, "settlement_lines", calculation, (*names, "amount_minor")):
        summed = pa.Table.from_batches([batch]).group_by(list(names)).aggregate([("amount_minor", "sum")])
        for row in summed.to_pylist():
            of = (row["agreement_id"], row["payee"], row["account"] == PAYABLE, "royalty", "")
            found[*of, row["period"], row["currency"]] += row["amount_minor_sum"]
    return found


def _line(row: dict[str, Any]) -> Line:
    return Line(
        PoolKey(row["period"], row["country"], row["tier"], row["currency"]),
        row["agreement_id"],
        row["share_type"],
        str(row["track_id"]),
        tuple(row["payee_chain"].split(">")),
        row["account"],
        row["clause"],
        row["royalty_model"],
        row["deciding_rule"],
        row["streams"],
        Fraction(row["weight_exact"]),
        Fraction(row["unrounded_exact"]),
        row["amount_minor"],
    )


def put_results(
    settings: Settings,
    of: Calculation,
    revenue: Iterable[Revenue],
    opening: Iterable[Balance],
    book: Book,
    volume: Mapping[str, int],
    settlement: Settlement,
    rates: Iterable[ExchangeRate],
    *,
    kind: str,
) -> None:
    """Write everything but units and lines; then `settlements` says that the calculation is complete.

    `opening` are the balances it began with, corrections of them included, `volume` the streams of each agreement, as
    they were settled, `rates` the exchange rates, of any months.
    A `CURRENT` one takes the place of the month's current one before it.
    """
    earned = {row.key: row for row in revenue}
    opening = tuple(opening)
    before = {row.agreement_id: row.streams for row in opening if row.streams}
    _put(settings, of, "settlement_clauses", list(_clauses(book, of.period, before, volume)))
    currencies = {pool.key.currency for pool in settlement.pools}
    _put(settings, of, "settlement_rates", list(_rates(rates, of.period, currencies, book)))
    _put(settings, of, "settlement_accounts", list(_accounts(book, of.period, opening, settlement)))
    _put(
        settings,
        of,
        "settlement_pools",
        [
            {
                "country": pool.key.country,
                "tier": pool.key.tier,
                "currency": pool.key.currency,
                **{name: getattr(earned[pool.key], name) for name in AMOUNTS},
                "net_minor": pool.net_minor,
                "claimed_minor": pool.claimed_minor,
                "retained_minor": pool.retained_minor,
                "streams": pool.streams,
                "unlicensed_streams": pool.unlicensed_streams,
            }
            for pool in settlement.pools
        ],
    )
    _put(
        settings,
        of,
        "settlement_entries",
        [
            {
                "entry_number": number,
                "agreement_id": entry.agreement_id,
                "payee": entry.payee_id,
                "entry_kind": entry.kind,
                "refers_to": entry.refers_to,
                "clause": entry.clause,
                "currency": entry.currency,
                "amount_minor": entry.amount_minor,
            }
            for number, entry in enumerate(settlement.entries, start=1)
        ],
    )
    _put(
        settings,
        of,
        "settlement_reserves",
        [
            {
                "agreement_id": balance.agreement_id,
                "payee": balance.payee_id,
                "currency": balance.currency,
                "held_in": reserve.held_in,
                "release_in": reserve.release_in,
                "amount_minor": reserve.amount_minor,
            }
            for balance in settlement.balances
            for reserve in balance.reserves
        ],
    )
    head = {
        "calculation": of.calculation,
        "period": of.period,
        "calculation_kind": kind,
        "settlement_digest": settlement.digest(),
        "line_count": settlement.line_count,
        "lines_sha256": settlement.lines_sha256,
        "book_sha256": of.book_sha256,
        "plays_snapshot": of.plays_snapshot,
        "flags_snapshot": of.flags_snapshot,
        "tracks_snapshot": of.tracks_snapshot,
        "counting_policy": of.counting_policy or None,
    }
    rows = _heads(settings, of.period)
    if kind == CURRENT:
        rows = [row | {"calculation_kind": SUPERSEDED} if row["calculation_kind"] == CURRENT else row for row in rows]
    _put_heads(settings, of.period, [*rows, head])


def _clauses(book: Book, period: str, before: Mapping[str, int], volume: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for agreement in book.agreements.values():
        for terms in current(agreement.terms):
            if not in_force(terms, period):
                continue
            for territory in terms.territory:
                for tier in terms.tiers or ("",):
                    yield {
                        "agreement_id": agreement.agreement_id,
                        "clause_id": terms.clause_id,
                        "clause_version": terms.version,
                        "clause": f"{agreement.agreement_id}/{terms.clause_id}@{terms.version}",
                        "share_type": agreement.share_type,
                        "royalty_model": agreement.model,
                        "territory": territory,
                        "clause_tier": tier,
                        "valid_from": terms.valid_from,
                        "valid_to": terms.valid_to or "",
                        "share": None if terms.share is None else float(terms.share),
                        "rate_a_stream": None if terms.rate is None else float(terms.rate),
                        "steps": json.dumps([[step.above_streams, float(step.value)] for step in terms.escalations]),
                        "volume_before": (
                            before.get(agreement.agreement_id, 0) if terms.escalation_over == "agreement" else 0
                        ),
                        "volume": volume.get(agreement.agreement_id, 0),
                        "currency": agreement.currency,
                        "minimum_a_stream": float(terms.per_stream_minimum),
                        "minimum_a_subscriber": float(terms.per_subscriber_minimum),
                    }


def _rates(
    rates: Iterable[ExchangeRate], period: str, currencies: Iterable[str], book: Book
) -> Iterator[dict[str, Any]]:
    """The month's rates between `currencies`, those of pools, and those of agreements, both ways."""
    of_month = [row for row in rates if row.day[:7] == period]
    contracted = {agreement.currency for agreement in book.agreements.values()}
    one_way = set(product(currencies, contracted))
    for base, quote in sorted(one_way | {(quote, base) for base, quote in one_way}):
        try:
            unit_rate = rate(of_month, period, base, quote)
        except RejectedInputError:
            continue  # nothing was converted so, or the month would not be settled
        yield {
            "base_currency": base,
            "quote_currency": quote,
            "exchange_rate": float(unit_rate),
            "base_minor_units": minor_units(base),
            "quote_minor_units": minor_units(quote),
        }


def _accounts(book: Book, period: str, opening: Iterable[Balance], settlement: Settlement) -> Iterator[dict[str, Any]]:
    """The accounts that carry something into the month, are booked on in it, or could be by their contract."""
    before = {(row.agreement_id, row.payee_id): row for row in opening}
    names = {*before} | {(row.agreement_id, row.payee_id) for row in settlement.entries if row.kind != "suspense"}
    for agreement in book.agreements.values():
        if agreement.accounting:
            names.add((agreement.agreement_id, agreement.licensor))
        names |= {(agreement.agreement_id, row.payee_id) for row in agreement.advances if row.period <= period}
    for agreement_id, payee in sorted(names):
        agreement = book.agreements[agreement_id]
        balance = before.get((agreement_id, payee)) or Balance("", agreement_id, payee, agreement.currency)
        begun = [row for row in current(agreement.accounting) if row.valid_from <= period]
        rules = max(begun, key=lambda row: row.valid_from, default=None)
        clause = f"{agreement_id}/{rules.clause_id}@{rules.version}" if rules else ""
        rules = rules or Accounting("", 0, agreement.valid_from)
        yield {
            "agreement_id": agreement_id,
            "payee": payee,
            "licensor": agreement.licensor,
            "currency": agreement.currency,
            "clause": clause,
            "valid_from": rules.valid_from,
            "valid_to": rules.valid_to or "",
            "reserve": str(rules.reserve),
            "release_after_months": rules.release_after_months,
            "withholding": str(rules.withholding),
            "guarantee_minor": rules.guarantee_minor,
            "guarantee_months": rules.guarantee_months,
            "earned_before_minor": balance.earned_minor,
            "unrecouped_before_minor": balance.unrecouped_minor,
            "advances_minor": sum(
                row.amount_minor
                for row in agreement.advances
                if row.payee_id == payee and row.period <= period and row.advance_id not in balance.advances
            ),
        }


def _put(settings: Settings, of: Calculation, name: str, rows: list[dict[str, Any]]) -> None:
    """Replace the rows of the calculation in a table."""
    schema = load(f"gold_audit.{name}").arrow_schema()
    full = [{"calculation": of.calculation, "period": of.period} | row for row in rows]
    with _replacing(_table(settings, name), of.calculation) as transaction:
        if full:
            transaction.append(pa.Table.from_pylist(full, schema=schema))


@contextmanager
def _replacing(table: Table, calculation: str) -> Iterator[Transaction]:
    """A transaction that begins by deleting the rows of the calculation, and commits at the end unless it fails.

    Raises:
        RetryableError: somebody else committed to the table meanwhile.
    """
    import warnings

    from pyiceberg.exceptions import CommitFailedException, ValidationException
    from pyiceberg.expressions import EqualTo

    transaction = table.transaction()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Delete operation did not match any records")
        transaction.delete(EqualTo("calculation", calculation))
    yield transaction
    try:
        transaction.commit_transaction()
    except (CommitFailedException, ValidationException) as error:
        raise RetryableError(
            "Another settlement was written at the same time.", hint="Run the command again; nothing is half-written."
        ) from error


def _table(settings: Settings, name: str) -> Table:
    return lake.catalog(settings).load_table(f"gold_audit.{name}")


def _count_of(settings: Settings, name: str, calculation: str, **where: str) -> int:
    return int(_scan(settings, name, calculation, ("calculation",), where).count())


def _batches(
    settings: Settings, name: str, calculation: str, columns: Sequence[str], **where: str
) -> Iterator[pa.RecordBatch]:
    """Rows a file at a time: PyIceberg's own reader holds all files of a scan, which is a gigabyte of a large month."""
    from pyiceberg.io.pyarrow import ArrowScan

    scan = _scan(settings, name, calculation, columns, where)
    reader = ArrowScan(scan.table_metadata, scan.io, scan.projection(), scan.row_filter)
    for task in scan.plan_files():
        yield from reader.to_record_batches([task])


def _scan(
    settings: Settings, name: str, calculation: str, columns: Sequence[str], where: Mapping[str, str]
) -> DataScan:
    from pyiceberg.expressions import And, BooleanExpression, EqualTo

    condition: BooleanExpression = EqualTo("calculation", calculation)
    for column, value in where.items():
        condition = And(condition, EqualTo(column, value))
    return _table(settings, name).scan(row_filter=condition, selected_fields=tuple(columns))
