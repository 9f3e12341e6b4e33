"""The auditor's questions that need nothing but settlements, asked of DuckDB about months of the demo.

They are Trino's SQL; what DuckDB says otherwise is put in its words here. Trino itself: tests/integration.
"""

# ruff: noqa: S608 -- the statements are put together from what stands in this file
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from lakehouse.adapters import royalties_checklist, royalties_demo, royalties_lake
from lakehouse.adapters.royalties import Inputs, Settled
from lakehouse.adapters.royalties_lake import CURRENT
from lakehouse.adapters.royalties_ledger import PeriodState
from lakehouse.config.settings import load_settings
from lakehouse.contracts import load
from lakehouse.domain.royalties.contracts import Book
from lakehouse.domain.royalties.pools import ExchangeRate
from lakehouse.domain.royalties.settlement import corrected, corrected_balances, settle, volumes
from tests.royalty_books import PayOuts
from tests.unit.test_royalties_demo import BOOK, CAUGHT, MARKETS, MONTHS, revenue, uses

LATER, AFTER = ("2026-11", "2026-12"), "2027-01"
#: Of the questions, those that also read plays.
OF_PLAYS = {"01", "03", "04"}
TABLES = tuple(name.partition(".")[2] for name in royalties_lake.TABLES if not name.endswith(("_units", "_tracks")))


class Kept:
    """In the place of the lake: what is put there."""

    def __init__(self) -> None:
        self.tables: dict[str, list[pa.Table]] = {}

    def put(self, _: object, of: royalties_lake.Calculation, name: str, rows: list[dict[str, Any]]) -> None:
        head = {"calculation": of.calculation, "period": of.period}
        schema = load(f"gold_audit.{name}").arrow_schema()
        self.tables.setdefault(name, []).append(pa.Table.from_pylist([head | row for row in rows], schema=schema))

    def put_heads(self, _: object, __: str, rows: list[dict[str, Any]]) -> None:
        schema = load("gold_audit.settlements").arrow_schema()
        self.tables.setdefault("settlements", []).append(pa.Table.from_pylist(rows, schema=schema))

    def append(self, lines: pa.Table) -> None:
        self.tables.setdefault("settlement_lines", []).append(lines)


def ended() -> Book:
    """The demo's book when the label's agreement is over: reserves and corrections still reach its account."""
    label = BOOK.agreements["A13"]
    accounting = tuple(replace(row, valid_to=MONTHS[-1]) for row in label.accounting)
    over = replace(label, valid_to=MONTHS[-1], accounting=accounting)
    return replace(BOOK, agreements={**BOOK.agreements, "A13": over})


Months = tuple[duckdb.DuckDBPyConnection, dict[str, Settled]]
Rates = tuple[ExchangeRate, ...]
RATES: Rates = tuple(royalties_demo.rates([*MONTHS, *LATER, AFTER], [currency for _, currency in MARKETS]))


def close(kept: Kept, made: PayOuts, period: str, book: Book, rates: Rates = RATES) -> Settled:
    """Settle a month with what was entered into it, and put it into the tables; in the last ones nothing is played."""
    played = uses(period) if period in MONTHS else []
    result = made.settle(period, revenue(period), played, book, rates)
    closed = made.closed[period]
    of_accounts = tuple(row for row in made.account_adjustments if row.period == period)
    sources = dict.fromkeys(("silver_audit.plays", "silver_audit.play_flags", "silver_audit.tracks"), 1)
    entered = (closed.opening, closed.adjustments, "", of_accounts)
    inputs = Inputs(period, sources, tuple(revenue(period)), "0" * 64, rates, *entered)
    volume = volumes(((u.track_id, u.streams) for u in played if u.model == "pro_rata"), book, period)
    begun_with = corrected_balances(period, closed.opening, of_accounts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(royalties_lake, "_put", kept.put)
        patch.setattr(royalties_lake, "_put_heads", kept.put_heads)
        patch.setattr(royalties_lake, "_heads", lambda *_: [])
        results = (inputs.revenue, begun_with, book, volume, result, rates)
        royalties_lake.put_results(load_settings(), inputs.calculation, *results, kind=CURRENT)
    writer = royalties_lake.LinesWriter(inputs.calculation, kept)
    writer.write(result.lines)
    writer.flush()
    return Settled(PeriodState(period, "calculated", "", ""), inputs, result)


def take_back(made: PayOuts, period: str, book: Book, into: str) -> None:
    """Restate a month without the streams of one artist: more than the later ones, without plays, have to give."""
    opening = made.closed[period].opening
    again = settle(period, revenue(period), uses(period, without=CAUGHT), book, RATES, opening)
    made.restate(period, into, book, RATES, again)


def tables(kept: Kept) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("attach ':memory:' as lake; create schema lake.gold")
    for name, parts in kept.tables.items():
        rows = pa.concat_tables(parts)  # noqa: F841 - DuckDB reads it by its name
        connection.execute(f"create table lake.gold.{name} as from rows")
    return connection


@pytest.fixture(scope="module")
def months() -> Iterator[Months]:
    """The tables of five months and their settlements: in the last two nothing is played.

    The fourth takes back the streams of one artist, more than is there; the fifth begins with the deficit.
    """
    kept, made, settled = Kept(), PayOuts(), dict[str, Settled]()
    for period in (*MONTHS, *LATER):
        if period == LATER[0]:
            take_back(made, MONTHS[-1], BOOK, period)
        settled[period] = close(kept, made, period, BOOK if period in MONTHS else ended())
    connection = tables(kept)
    yield connection, settled
    connection.close()


def with_other_accounts() -> Book:
    """The demo's book with more held, for longer, more taxed and guaranteed, and less paid in advance."""
    agreements = {
        name: replace(
            row,
            accounting=tuple(
                replace(
                    rules,
                    reserve=2 * rules.reserve,
                    release_after_months=rules.release_after_months + 1,
                    withholding=rules.withholding * Fraction(3, 2),
                    guarantee_minor=3 * rules.guarantee_minor // 2,
                )
                for rules in row.accounting
            ),
            advances=tuple(replace(advance, amount_minor=advance.amount_minor // 2) for advance in row.advances),
        )
        for name, row in BOOK.agreements.items()
    }
    return replace(BOOK, agreements=agreements)


@pytest.fixture(scope="module")
def corrected_months() -> Iterator[Months]:
    """Six months; the fifth corrects accounts and rates of all four before, the last sets off what is overpaid."""
    kept, made, settled = Kept(), PayOuts(), dict[str, Settled]()
    book, rates = with_other_accounts(), tuple(replace(row, rate=row.rate * Fraction(9, 10)) for row in RATES)
    for period in (*MONTHS, *LATER, AFTER):
        if period == LATER[0]:
            take_back(made, MONTHS[-1], BOOK, period)
        if period == LATER[1]:
            for closed in (*MONTHS, LATER[0]):
                made.restate(closed, period, book, rates)
        given = (book, rates) if period >= LATER[1] else (BOOK, RATES)
        settled[period] = close(kept, made, period, *given)
    connection = tables(kept)
    yield connection, settled
    connection.close()


@pytest.fixture(scope="module")
def lake(months: Months) -> tuple[duckdb.DuckDBPyConnection, Settled]:
    """The tables, and the settlement of the last month that was played in."""
    connection, settled = months
    return connection, settled[MONTHS[-1]]


def ask(connection: duckdb.DuckDBPyConnection, settled: Settled) -> dict[str, tuple[int, int]]:
    """What was looked at and what is wrong, by the number of the question."""
    answers = {}
    files = sorted(royalties_checklist.QUERIES.glob("*.sql"))
    for path, (_, portions) in zip(files, royalties_checklist.queries(settled), strict=True):
        if (number := path.name[:2]) not in OF_PLAYS:
            rows = []
            for sql in portions:
                asked = sql.replace(
                    "cast(json_parse(known.steps) as array(array(double)))", "known.steps::json::double[][]"
                )
                rows += connection.execute(asked).fetchall()
            # DuckDB's count_if of no rows is null
            answers[number] = sum(looked_at for looked_at, _ in rows), sum(wrong or 0 for _, wrong in rows)
    return answers


@contextmanager
def undone(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.execute("begin")
    try:
        yield
    finally:
        connection.execute("rollback")


def test_all_is_well_and_everything_was_looked_at(lake: tuple[duckdb.DuckDBPyConnection, Settled]) -> None:
    connection, settled = lake
    answers = ask(connection, settled)
    assert {number for number, (_, wrong) in answers.items() if wrong} == set()
    assert {number for number, (looked_at, _) in answers.items() if not looked_at} == set()
    rules = connection.execute(
        "select deciding_rule, royalty_model, count(distinct lines.currency = agreements.currency) "
        "from lake.gold.settlement_lines as lines "
        "join (select distinct agreement_id, currency from lake.gold.settlement_clauses) as agreements "
        "using (agreement_id) "
        "where calculation = ? group by all",
        [settled.inputs.calculation.calculation],
    ).fetchall()
    assert {rule for rule, _, _ in rules} == {"share", "rate", "per_stream_minimum", "per_subscriber_minimum"}
    assert {model for _, model, _ in rules} == {"pro_rata", "user_centric", "artist_centric"}
    assert any(currencies == 2 for *_, currencies in rules)


@pytest.mark.parametrize(
    ("statement", "seen_by"),
    [
        ("update lines set unrounded_amount = 1.001 * unrounded_amount where deciding_rule = 'share'", {"07"}),
        ("update lines set unrounded_amount = 0.999 * unrounded_amount where deciding_rule = 'rate'", {"07", "12"}),
        ("update lines set unrounded_amount = 1.001 * unrounded_amount where deciding_rule like 'per_stream%'", {"07"}),
        ("update lines set unrounded_amount = 1.001 * unrounded_amount where deciding_rule like 'per_sub%'", {"07"}),
        ("update clauses set rate_a_stream = 1.01 * rate_a_stream", {"07", "12"}),
        ("update clauses set steps = '[]' where volume_before > 0", {"07"}),
        ("update clauses set minimum_a_stream = 2 * minimum_a_stream", {"07", "12"}),
        ("update clauses set minimum_a_subscriber = 2 * minimum_a_subscriber", {"07", "12"}),
        ("update clauses set minimum_a_subscriber = 100 where minimum_a_subscriber = 0", {"12"}),
        ("update clauses set minimum_a_stream = null", {"07", "12"}),
        ("update rates set exchange_rate = 1.01 * exchange_rate where base_currency <> quote_currency", {"07", "11"}),
        ("delete from rates", {"07", "11", "12"}),
        # of an account in another currency than the pool's
        (
            "update entries set amount_minor = amount_minor + 2 "
            "where entry_kind = 'royalty' and right(refers_to, 3) <> currency",
            {"10", "11"},
        ),
        ("update entries set amount_minor = amount_minor + 2 where entry_kind = 'suspense'", {"11"}),
        ("delete from entries where entry_kind = 'royalty'", {"10", "11"}),
        ("delete from entries where entry_kind = 'reserve_released'", {"09", "10"}),
        ("update entries set amount_minor = 1 where entry_kind = 'reserve_released'", {"09", "10"}),
        *(
            (f"update entries set amount_minor = amount_minor {change} where entry_kind = '{kind}'", {"10", "13"})
            for kind in ("reserve_held", "true_up", "recoupment", "withholding_tax")
            for change in ("+ 1", "- 1")
        ),
        *(
            (f"delete from entries where entry_kind = '{kind}'", {"10", "13"})
            for kind in ("reserve_held", "true_up", "recoupment", "withholding_tax")
        ),
        ("update entries set clause = 'A13/other@1' where entry_kind = 'reserve_held'", {"13"}),
        ("update entries set refers_to = 'A13' where entry_kind = 'reserve_held'", {"13"}),
        ("update accounts set reserve = '1/11' where reserve = '1/10'", {"13"}),
        ("update accounts set reserve = '1/1000' where reserve = '0'", {"13"}),
        ("update accounts set withholding = '1/7' where withholding <> '0'", {"13"}),
        ("update accounts set withholding = '1/1000' where withholding = '0'", {"13"}),
        ("update accounts set guarantee_minor = guarantee_minor + 1 where guarantee_minor > 0", {"13"}),
        ("update accounts set guarantee_months = 5 where guarantee_minor > 0", {"13"}),
        ("update accounts set earned_before_minor = 1 where guarantee_minor > 0", {"13"}),
        ("update accounts set licensor = 'nobody'", {"13"}),
        ("update accounts set valid_to = '2026-09'", {"13"}),
        ("update accounts set unrecouped_before_minor = 0", {"13"}),
        ("update accounts set advances_minor = 0, unrecouped_before_minor = 1 where advances_minor > 0", {"13"}),
        ("delete from accounts where payee = '14'", {"13"}),
    ],
)
def test_what_was_tampered_with_is_seen(
    lake: tuple[duckdb.DuckDBPyConnection, Settled], statement: str, seen_by: set[str]
) -> None:
    connection, settled = lake
    with undone(connection):
        tamper(connection, settled, statement)
        assert {number for number, (_, wrong) in ask(connection, settled).items() if wrong} >= seen_by


def test_a_large_month_is_asked_market_by_market_with_the_same_answers(
    lake: tuple[duckdb.DuckDBPyConnection, Settled], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, settled = lake
    whole = ask(connection, settled)
    monkeypatch.setattr(royalties_checklist, "_STREAMS_AT_ONCE", 1)
    assert ask(connection, settled) == whole
    countries = {pool.key.country for pool in settled.settlement.pools}
    assert {len(portions) for _, portions in royalties_checklist.queries(settled)} == {1, len(countries)}
    # Also a line of a country without a pool is in a portion.
    line = (
        "select * replace ('ZZ' as country) from lake.gold.settlement_lines where line_number = 1 and calculation = $of"
    )
    with undone(connection):
        twice = f"insert into lake.gold.settlement_lines {line} union all {line}"
        connection.execute(twice, {"of": settled.inputs.calculation.calculation})
        assert ask(connection, settled)["05"] == (whole["05"][0] + 2, 1)


def test_plays_are_cut_by_their_ids_so_that_each_is_in_one_portion(
    lake: tuple[duckdb.DuckDBPyConnection, Settled],
) -> None:
    connection, settled = lake
    ids = ["0", "01999999-0001", "it's", "z", "\u00e9"]
    cuts = ["01999999-0001", "it's"]
    asked = [portions for question, portions in royalties_checklist.queries(settled, cuts) if "No play" in question]
    assert len(asked[0]) == len(cuts) + 1
    connection.execute("create or replace temp table plays as select unnest(?) as event_id", [ids])
    found = []
    for sql in asked[0]:
        condition = next(line for line in sql.splitlines() if "event_id >" in line or "event_id <" in line)
        found += connection.execute(f"select event_id from plays where true {condition}").fetchall()
    assert sorted(event_id for (event_id,) in found) == sorted(ids)


def tamper(connection: duckdb.DuckDBPyConnection, settled: Settled, statement: str) -> None:
    """Change rows of the settlement's calculation; some there must be."""
    words = statement.split()
    table = words[1 if words[0] == "update" else 2]
    joined = "and" if " where " in statement else "where"
    changed = statement.replace(f" {table}", f" lake.gold.settlement_{table}", 1)
    of = f"calculation = '{settled.inputs.calculation.calculation}'"
    assert connection.execute(f"{changed} {joined} {of}").fetchall()[0][0] > 0


@pytest.mark.parametrize(
    ("period", "statement"),
    [
        (LATER[0], "update entries set amount_minor = amount_minor + 1 where entry_kind = 'carried_forward'"),
        (LATER[0], "delete from entries where entry_kind = 'carried_forward'"),
        (LATER[1], "update entries set amount_minor = amount_minor - 1 where entry_kind = 'brought_forward'"),
        (LATER[1], "delete from entries where entry_kind = 'brought_forward'"),
        # of an agreement that has ended
        (LATER[0], "update entries set amount_minor = amount_minor - 1 where entry_kind = 'withholding_tax'"),
        (LATER[0], "update accounts set valid_to = '' where agreement_id = 'A13'"),
    ],
)
def test_accounts_run_on_after_a_deficit_and_after_an_agreement(
    months: tuple[duckdb.DuckDBPyConnection, dict[str, Settled]], period: str, statement: str
) -> None:
    connection, settled = months[0], months[1][period]
    looked_at, wrong = ask(connection, settled)["13"]
    assert looked_at
    assert not wrong
    with undone(connection):
        tamper(connection, settled, statement)
        assert ask(connection, settled)["13"][1]


@pytest.mark.parametrize("kind", ["reserve_held", "withholding_tax", "something_new"])
def test_what_is_booked_after_the_waterfall_is_judged_by_the_sum_alone(
    lake: tuple[duckdb.DuckDBPyConnection, Settled], kind: str
) -> None:
    connection, settled = lake
    with undone(connection):
        connection.execute(
            "insert into lake.gold.settlement_entries select * replace (? as entry_kind, '2026-08/A13' as refers_to, "
            "'A13/account@2' as clause, -5 as amount_minor) from lake.gold.settlement_entries where calculation = ? "
            "and agreement_id = 'A13' and payee = 'label-13' and entry_kind = 'payable'",
            [kind, settled.inputs.calculation.calculation],
        )
        answers = ask(connection, settled)
        assert {number for number, (_, wrong) in answers.items() if wrong} == {"10"}
        where = "where agreement_id = 'A13' and payee = 'label-13' and entry_kind = 'payable'"
        tamper(connection, settled, f"update entries set amount_minor = amount_minor - 5 {where}")
        assert not any(wrong for _, wrong in ask(connection, settled).values())


def test_accounts_that_are_corrected_later_add_up(corrected_months: Months) -> None:
    connection, settled = corrected_months
    booked = settled[LATER[1]].settlement
    kinds = {entry.kind for entry in booked.entries}
    assert kinds >= {"account_adjustment", "balance_adjustment", "overpayment_carried_forward"}
    corrects = {found[1] for entry in booked.entries if (found := corrected(entry))}
    assert corrects >= {
        *("royalty", "true_up", "reserve_held", "reserve_released", "recoupment", "withholding_tax", "suspense"),
        *("carried_forward", "advance_paid", "reserve", "unrecouped", "deficit"),
    }
    assert "overpayment_brought_forward" in {entry.kind for entry in settled[AFTER].settlement.entries}
    for of in settled.values():
        assert {number: wrong for number, (_, wrong) in ask(connection, of).items() if wrong} == {}
    assert all(looked_at for looked_at, _ in (ask(connection, settled[LATER[1]])[n] for n in ("09", "10", "13")))


@pytest.mark.parametrize(
    ("period", "statement", "seen_by"),
    [
        (LATER[1], "delete from entries where entry_kind = 'account_adjustment'", {"10"}),
        (
            LATER[1],
            "update entries set amount_minor = amount_minor + 1 where entry_kind = 'account_adjustment'",
            {"10"},
        ),
        (LATER[1], "delete from entries where entry_kind = 'balance_adjustment'", {"09", "13"}),
        (
            LATER[1],
            "delete from entries where entry_kind = 'balance_adjustment' and refers_to like '%/deficit'",
            {"13"},
        ),
        (
            LATER[1],
            "update entries set amount_minor = amount_minor + 1 where entry_kind = 'balance_adjustment' "
            "and refers_to like '%/reserve/%/2026-12'",
            {"09"},
        ),
        (
            LATER[1],
            "update entries set amount_minor = amount_minor + 1 where entry_kind = 'overpayment_carried_forward'",
            {"10", "13"},
        ),
        (AFTER, "delete from entries where entry_kind = 'overpayment_brought_forward'", {"10", "13"}),
        (
            AFTER,
            "update entries set amount_minor = amount_minor + 1 where entry_kind = 'reserve_released'",
            {"09", "10"},
        ),
    ],
)
def test_what_was_tampered_with_in_corrected_accounts_is_seen(
    corrected_months: Months, period: str, statement: str, seen_by: set[str]
) -> None:
    connection, settled = corrected_months
    with undone(connection):
        tamper(connection, settled[period], statement)
        assert {number for number, (_, wrong) in ask(connection, settled[period]).items() if wrong} >= seen_by


def test_a_rate_that_nothing_needs_may_be_missing() -> None:
    currencies = {"EUR", "XAF"}
    rows = list(royalties_lake._rates(royalties_demo.rates(["2026-10"], ["EUR"]), "2026-10", currencies, BOOK))
    known = {(row["base_currency"], row["quote_currency"]): row for row in rows}
    assert {pair for pair in known if "XAF" in pair} == set()
    assert known["EUR", "EUR"]["exchange_rate"] == 1
    assert known["JPY", "EUR"]["exchange_rate"] == pytest.approx(1 / 164)
    assert (known["EUR", "KWD"]["base_minor_units"], known["EUR", "KWD"]["quote_minor_units"]) == (100, 1000)
