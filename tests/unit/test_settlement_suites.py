"""The suites of gold_audit.settlement_* pass a settlement as the product writes it, and each check finds rows spoiled
for it. The tables are Iceberg's, in a folder; the queries are those for Trino, in DuckDB.
"""

# ruff: noqa: S608 -- the statements are put together from what stands in this file
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters import audit, lake, royalties_demo, royalties_lake
from lakehouse.adapters.royalties import Inputs
from lakehouse.contracts import load
from lakehouse.domain.royalties.contracts import build
from lakehouse.domain.royalties.models import MODELS, Use
from lakehouse.domain.royalties.pools import PoolKey, Revenue
from lakehouse.domain.royalties.settlement import (
    AccountAdjustment,
    Settlement,
    corrected_balances,
    earned_by,
    settle,
    volumes,
)

PERIOD = "2026-10"
POOLS = [PoolKey(PERIOD, "DE", "premium", "EUR"), PoolKey(PERIOD, "JP", "free", "JPY")]
#: The last one is nobody's.
TRACKS = [(n, 10 + n % 7, f"Artist {n % 7}") for n in range(1, 15)]
SNAPSHOTS = dict.fromkeys(("silver_audit.plays", "silver_audit.play_flags", "silver_audit.tracks"), 1)
KEY = "The key of the contract identifies a row."


@dataclass(frozen=True)
class Written:
    """A lake, and what was written there."""

    catalog: SqlCatalog
    of: royalties_lake.Calculation
    settlement: Settlement


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A settlement of a month, in which accounts are corrected, as it is written to the lake."""
    book = build(royalties_demo.standard_book(TRACKS[:-1]))
    uses = [Use(key, model, str(n), n + 3, n + 3) for key in POOLS for n, _, _ in TRACKS for model in MODELS]
    revenue = (Revenue(POOLS[0], 1_200_000, 0, 190_000, 10_000, 11), Revenue(POOLS[1], 0, 70_001))
    inputs = Inputs(PERIOD, SNAPSHOTS, revenue, "0" * 64, tuple(royalties_demo.rates([PERIOD], ["EUR", "JPY"])))
    corrected = [
        AccountAdjustment(PERIOD, "2026-09", "A12", "12", kind, refers_to, "", "EUR", amount, "accounts corrected")
        for kind, refers_to, amount in (("recoupment", "", 7), ("unrecouped", "", 7), ("reserve", "2026-09/2026-12", 9))
    ]
    settlement = settle(PERIOD, revenue, uses, book, inputs.rates, account_adjustments=corrected)
    begun_with = corrected_balances(PERIOD, (), corrected)
    of = inputs.calculation
    volume = volumes(((use.track_id, use.streams) for use in uses if use.model == MODELS[0]), book, PERIOD)
    folder = tmp_path_factory.mktemp("lake")
    made = SqlCatalog("lake", uri=f"sqlite:///{folder}/catalog.db", warehouse=folder.as_uri())
    made.create_namespace("gold_audit")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lake, "catalog", lambda _: made)
        settings: Any = None  # nothing of it is asked for
        for name in royalties_lake.TABLES:
            lake.create(made, load(name))
        with royalties_lake.lines_writer(settings, of) as writer:
            writer.write(settlement.lines)
        results = revenue, begun_with, book, volume, settlement, inputs.rates
        royalties_lake.put_results(settings, of, *results, kind=royalties_lake.CURRENT)
    return Written(made, of, settlement)


@pytest.fixture(scope="module")
def tables(written: Written) -> dict[str, pa.Table]:
    """What was written, by name of table."""
    of, made = written.of, written.catalog
    found = {name: made.load_table(name).scan().to_arrow() for name in royalties_lake.TABLES}
    # These two are counted by Trino.
    head = {"calculation": of.calculation, "period": PERIOD}
    track = {"title": "Title", "is_noise": False, "artist_streams": 99, "artist_listeners": 9, "annual_streams": 1_000}
    rows = [head | track | {"track_id": n, "artist_id": artist} for n, artist, _ in TRACKS]
    units = [
        row
        | {"country": key.country, "tier": key.tier, "pool_streams": 20 + part, "month_streams": 30}
        | {"streams": number, "chosen_streams": number // 2}
        for key in POOLS
        for row in rows
        for part, number in enumerate((row["track_id"], 3))
    ]
    for name, made_rows in (("gold_audit.settlement_tracks", rows), ("gold_audit.settlement_units", units)):
        found[name] = pa.Table.from_pylist(made_rows, schema=load(name).arrow_schema())
    return found


@pytest.fixture
def database(tables: dict[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("attach ':memory:' as lake; create schema lake.gold_audit; use lake.gold_audit")
        for name, rows in tables.items():
            opened.register("rows_of", rows)
            opened.execute(f"create table lake.{name} as select * from rows_of")
            opened.unregister("rows_of")
        yield opened


def queries(table: str) -> list[audit.Expectation]:
    return [e for e in audit.suite(load(f"gold_audit.{table}")) if "unexpected_rows_query" in e.kwargs]


def failed(database: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    """Why rows are found by the checks of severity `fail` of a table."""
    return {
        check.why
        for check in queries(table)
        if check.severity == audit.FAIL
        and database.execute(
            check.kwargs["unexpected_rows_query"].replace("{batch}", f"lake.gold_audit.{table}")
        ).fetchall()
    }


def test_what_lines_sum_to_is_read_back(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake, "catalog", lambda _: written.catalog)
    settings: Any = None
    sums = royalties_lake.earned(settings, written.of.calculation)
    assert sums == earned_by(written.settlement.lines)
    assert {is_payable for _, _, is_payable, *_ in sums} == {True, False}
    assert {currency for *_, currency in sums} == {"EUR", "JPY"}


def test_a_settlement_as_it_is_written_passes(database: duckdb.DuckDBPyConnection) -> None:
    for name in royalties_lake.TABLES:
        table = name.removeprefix("gold_audit.")
        assert failed(database, table) == set()
        # Only what a complete calculation must not keep is empty.
        rows = database.execute(f"select count(*) from {table}").fetchone()
        assert rows is not None
        assert (rows[0] > 0) == (table != "settlement_listeners")


CLAUSE = "A clause has either a share between 0 and 1 or a rate."
MINIMUM = "No minimum is below zero."
THERE_AND_BACK = "There and back a currency is worth the same."
BELOW = "No guarantee and no advance is below zero, and what is held is released later."
WITH_CLAUSE = "Every account that is booked on is kept with its clause."
ACCOUNT = "The entries of an account sum to what is payable."
NOBODY_PAYS = "Nobody is asked to pay; a deficit is carried forward."
CLAIMED = "The lines of a pool add up to what is claimed of it, to the minor unit."
NEGATIVE = "Nobody is paid less than nothing, and nobody nameless is paid."
IN_FORCE = "Every line of a complete calculation is decided by a clause in force in its market."
LISTENERS = "A calculation that is complete keeps no listeners."
NET = "Net revenue is what came in less taxes and fees, and all of it is either claimed or retained."
COUNTED = "The streams of a pool are those that were counted."
RESERVE = "A reserve that is carried on is due later, and is of something."
ARTIST = "Every listener of an artist streamed, and a track that is weighed was streamed."
PARTS = "No count is larger than the count it is a part of."
ONE = "A month has one current calculation."
ALL_LINES = "A calculation has all of its lines."

LINE = "where line_number = (select min(line_number) from settlement_lines where currency = 'EUR' and amount_minor > 9)"
ENTRY = "where entry_number = (select min(entry_number) from settlement_entries where entry_kind = 'royalty')"
LISTENER = "insert into settlement_listeners select calculation, period, 'DE', 'free', 5, 1, 1 from settlements"
#: Table, the checks that must find what is spoiled, and how it is.
SPOILED: list[tuple[str, set[str], str]] = [
    ("settlement_clauses", {CLAUSE}, "update settlement_clauses set share = null, rate_a_stream = null"),
    ("settlement_clauses", {CLAUSE}, "update settlement_clauses set share = 0.5, rate_a_stream = 0.1"),
    ("settlement_clauses", {CLAUSE}, "update settlement_clauses set share = 1.01 where share is not null"),
    ("settlement_clauses", {CLAUSE}, "update settlement_clauses set share = -0.01 where share is not null"),
    ("settlement_clauses", {CLAUSE}, "update settlement_clauses set rate_a_stream = -0.01, share = null"),
    ("settlement_clauses", {MINIMUM}, "update settlement_clauses set minimum_a_stream = -0.01"),
    ("settlement_clauses", {MINIMUM}, "update settlement_clauses set minimum_a_subscriber = -0.01"),
    ("settlement_rates", {THERE_AND_BACK}, "update settlement_rates set exchange_rate = exchange_rate * 1.01 "
     "where base_currency = 'EUR' and quote_currency = 'JPY'"),
    ("settlement_rates", {THERE_AND_BACK}, "update settlement_rates set base_minor_units = 3 "
     "where base_currency = 'JPY'"),
    ("settlement_rates", {THERE_AND_BACK}, "delete from settlement_rates where base_currency = 'EUR' and "
     "quote_currency <> 'EUR'"),
    ("settlement_entries", {ACCOUNT}, f"update settlement_entries set amount_minor = amount_minor + 1 {ENTRY}"),
    ("settlement_entries", {ACCOUNT}, f"delete from settlement_entries {ENTRY}"),
    ("settlement_entries", {ACCOUNT}, "delete from settlement_entries where entry_kind = 'payable'"),
    ("settlement_entries", {NOBODY_PAYS}, "update settlement_entries set amount_minor = -5, agreement_id = 'X', "
     "payee = 'X', entry_kind = if(entry_number = 1, 'royalty', 'payable') where entry_number <= 2; "
     "delete from settlement_entries where agreement_id <> 'X'"),
    ("settlement_entries", set(), "update settlement_entries set amount_minor = -5 where entry_kind = 'suspense'"),
    ("settlement_lines", {CLAIMED}, f"update settlement_lines set amount_minor = amount_minor + 1 {LINE}"),
    ("settlement_lines", {CLAIMED}, f"delete from settlement_lines {LINE}"),
    ("settlement_lines", {CLAIMED}, "delete from settlement_lines where currency = 'JPY'"),
    ("settlement_lines", {NEGATIVE}, f"update settlement_lines set unrounded_amount = -0.5 {LINE}"),
    ("settlement_lines", {NEGATIVE}, f"update settlement_lines set streams = -1 {LINE}"),
    ("settlement_lines", {NEGATIVE}, "update settlement_lines set payee = '' where account = 'payable'"),
    ("settlement_lines", {NEGATIVE}, "update settlement_lines set amount_minor = -1; update settlement_pools as p "
     "set claimed_minor = (select sum(amount_minor) from settlement_lines as l where l.currency = p.currency)"),
    ("settlement_lines", set(), "update settlement_lines set payee = '' where account <> 'payable'"),
    ("settlement_lines", {IN_FORCE}, f"update settlement_lines set clause = 'A10/none@1' {LINE}"),
    ("settlement_lines", {IN_FORCE}, "update settlement_clauses set territory = 'FR'"),
    ("settlement_lines", {IN_FORCE}, "update settlement_clauses set clause_tier = 'family'"),
    # A calculation that was broken off is no complete one.
    ("settlement_lines", set(), "update settlement_clauses set territory = 'FR'; delete from settlements"),
    ("settlement_listeners", {LISTENERS}, LISTENER),
    ("settlement_listeners", set(), f"{LISTENER}; delete from settlements"),
    ("settlement_pools", {NET}, "update settlement_pools set taxes_minor = taxes_minor + 1"),
    ("settlement_pools", {NET}, "update settlement_pools set fees_minor = fees_minor - 1"),
    ("settlement_pools", {NET}, "update settlement_pools set subscription_minor = subscription_minor + 1"),
    ("settlement_pools", {NET}, "update settlement_pools set advertising_minor = advertising_minor + 1"),
    ("settlement_pools", {NET}, "update settlement_pools set retained_minor = retained_minor + 1"),
    ("settlement_pools", {NET}, "update settlement_pools set claimed_minor = claimed_minor + 1"),
    ("settlement_pools", {COUNTED}, "update settlement_pools set streams = streams + 1"),
    ("settlement_pools", {COUNTED}, "update settlement_pools set unlicensed_streams = streams + 1"),
    ("settlement_pools", {COUNTED}, "delete from settlement_units where tier = 'free'"),
    ("settlement_accounts", {BELOW}, "update settlement_accounts set guarantee_minor = -1"),
    ("settlement_accounts", {BELOW}, "update settlement_accounts set guarantee_months = 0"),
    ("settlement_accounts", {BELOW}, "update settlement_accounts set release_after_months = 0"),
    ("settlement_accounts", {BELOW}, "update settlement_accounts set unrecouped_before_minor = -1"),
    ("settlement_accounts", {BELOW}, "update settlement_accounts set advances_minor = -1"),
    ("settlement_accounts", {WITH_CLAUSE}, "delete from settlement_accounts where payee = 'publisher'"),
    ("settlement_accounts", {WITH_CLAUSE}, "update settlement_accounts set payee = 'x' where payee = 'publisher'"),
    ("settlement_accounts", set(), "delete from settlement_entries"),
    # A calculation from before accounts were kept.
    ("settlement_accounts", set(), "delete from settlement_accounts"),
    ("settlement_reserves", {RESERVE}, "update settlement_reserves set amount_minor = 0"),
    ("settlement_reserves", {RESERVE}, "update settlement_reserves set amount_minor = -1"),
    ("settlement_reserves", {RESERVE}, "update settlement_reserves set release_in = period"),
    ("settlement_tracks", {ARTIST}, "update settlement_tracks set artist_listeners = 0"),
    ("settlement_tracks", {ARTIST}, "update settlement_tracks set artist_listeners = artist_streams + 1"),
    ("settlement_tracks", {ARTIST}, "update settlement_tracks set annual_streams = 0"),
    ("settlement_units", {PARTS}, "update settlement_units set streams = 0, chosen_streams = 0"),
    ("settlement_units", {PARTS}, "update settlement_units set chosen_streams = -1"),
    ("settlement_units", {PARTS}, "update settlement_units set chosen_streams = streams + 1"),
    ("settlement_units", {PARTS}, "update settlement_units set artist_streams = streams - 1"),
    ("settlement_units", {PARTS}, "update settlement_units set pool_streams = month_streams + pool_streams"),
    ("settlement_units", {PARTS}, "update settlement_units set annual_streams = streams - 1"),
    ("settlements", {ONE}, "insert into settlements select * replace ('other' as calculation, 0 as line_count) "
     "from settlements"),
    ("settlements", set(), "insert into settlements select * replace ('other' as calculation, 0 as line_count, "
     "'superseded' as calculation_kind) from settlements"),
    ("settlements", {ALL_LINES}, "update settlements set line_count = line_count + 1"),
    ("settlements", {ALL_LINES}, "delete from settlement_lines"),
    ("settlements", {ALL_LINES}, f"delete from settlement_lines {LINE}"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "seen_by", "statement"), SPOILED, ids=[row[2][:70] for row in SPOILED])
def test_spoiled_rows_are_found(
    database: duckdb.DuckDBPyConnection, table: str, seen_by: set[str], statement: str
) -> None:
    database.execute(statement)
    assert failed(database, table) == seen_by


@pytest.mark.parametrize("name", royalties_lake.TABLES)
def test_a_row_that_is_there_twice_is_found(database: duckdb.DuckDBPyConnection, name: str) -> None:
    table = name.removeprefix("gold_audit.")
    if table == "settlement_listeners":
        database.execute(f"{LISTENER}; {LISTENER}")
    else:
        database.execute(f"insert into {table} select * from {table} limit 1")
    assert KEY in failed(database, table)


@pytest.mark.parametrize("name", royalties_lake.TABLES)
def test_every_check_is_shown_rows_that_it_must_find(name: str) -> None:
    table = name.removeprefix("gold_audit.")
    shown = {why for of, seen_by, _ in SPOILED if of == table for why in seen_by}
    assert {check.why for check in queries(table)} == shown | {KEY}
    # The rest is the one check of the contract's columns.
    assert len(audit.suite(load(name))) == len(queries(table)) + 1
