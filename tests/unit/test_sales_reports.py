"""A settled month is reported as it was settled, and every stream is accounted for; the statements run in DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from lakehouse.adapters import royalties, royalties_demo, sales_reports
from lakehouse.adapters.royalties import Inputs, Settled
from lakehouse.adapters.royalties_ledger import PeriodState
from lakehouse.adapters.sales_reports import Subject
from lakehouse.config.settings import Settings
from lakehouse.domain.listening import rules
from lakehouse.domain.royalties.contracts import build
from lakehouse.domain.royalties.dsr.reading import Reading
from lakehouse.domain.royalties.dsr.writing import render
from lakehouse.domain.royalties.models import MODELS, Use
from lakehouse.domain.royalties.pools import PoolKey, Revenue
from lakehouse.domain.royalties.settlement import settle
from lakehouse.errors import FatalError, RejectedInputError
from tests.dsr_header import HEADER

PERIOD = "2026-10"
POOLS = [PoolKey(PERIOD, "DE", "premium", "EUR"), PoolKey(PERIOD, "JP", "free", "JPY")]
TRACKS = range(1, 12)
#: In the catalogue, but nobody holds a right; and in no catalogue.
UNLICENSED, UNKNOWN = 12, 777
BOOK = royalties_demo.standard_book([(n, 10 + n % 7, f"Artist {n % 7}") for n in TRACKS])
TABLES = """
attach ':memory:' as lake;
create schema lake.silver_audit; create schema lake.gold; create schema lake.silver;
create macro date_format(day, form) as strftime(day, form);
create table lake.silver_audit.tracks_at_3 (
    track_id bigint, title text, artist_name text, isrc text, duration_ms bigint);
create table lake.silver_audit.plays_at_1 (
    event_id text, played_on date, country text, tier text, track_id bigint, ms_played bigint);
create table lake.silver_audit.play_flags_at_2 (event_id text, played_on date, rule text);
create table lake.gold.settlement_units (
    calculation text, country text, tier text, track_id bigint, pool_streams bigint, streams bigint);
create table lake.gold.settlement_lines (
    calculation text, country text, tier text, track_id bigint, agreement_id text, payee_chain text, streams bigint);
"""


def streams(key: PoolKey, track: int) -> int:
    """As many as the number of the track; of the second pool only tracks with an even number."""
    return track if key == POOLS[0] or track % 2 == 0 else 0


PLAYED = [(key, track, number) for key in POOLS for track in (*TRACKS, UNLICENSED) if (number := streams(key, track))]


@pytest.fixture(scope="module")
def closed() -> Settled:
    uses = [Use(key, model, str(track), number, number) for key, track, number in PLAYED for model in MODELS]
    revenue = (Revenue(POOLS[0], 1_000_000, subscribers=11), Revenue(POOLS[1], 0, 70_001))
    rates = tuple(royalties_demo.rates([PERIOD], ["EUR", "JPY"]))
    settlement = settle(PERIOD, revenue, uses, build(BOOK), rates)
    names = ("silver_audit.plays", "silver_audit.play_flags", "silver_audit.tracks")
    snapshots = dict(zip(names, (1, 2, 3), strict=True))
    inputs = Inputs(PERIOD, snapshots, revenue, "0" * 64, rates, counting_policy="streamed-30s@2")
    return Settled(PeriodState(PERIOD, "closed", settlement.digest(), "Ada"), inputs, settlement)


@pytest.fixture
def lake(closed: Settled, monkeypatch: pytest.MonkeyPatch) -> Iterator[duckdb.DuckDBPyConnection]:
    """What the lake keeps of the settlement; statements that are sent to Trino are run there."""
    with duckdb.connect() as database:
        database.execute(TABLES)
        name = closed.inputs.calculation.calculation
        for track in (*TRACKS, UNLICENSED):
            row = [track, f"Title {track}", "Artist", "GBUM71029604", 200_000]
            database.execute("insert into lake.silver_audit.tracks_at_3 values (?, ?, ?, ?, ?)", row)
        plays = [*PLAYED, (POOLS[0], UNKNOWN, 5)]
        for key, track, number in plays:
            for n in range(number):
                values = [f"{key}-{track}-{n}", date(2026, 10, 1 + n), key.country, key.tier, track, 30_000]
                database.execute("insert into lake.silver_audit.plays_at_1 values (?, ?, ?, ?, ?, ?)", values)
        for key, track, number in PLAYED:
            # In two classes of listeners, as far as there is more than one stream.
            for pool_streams, part in ((1, number - number // 2), (2, number // 2)):
                values = [name, key.country, key.tier, track, pool_streams, part]
                database.execute("insert into lake.gold.settlement_units values (?, ?, ?, ?, ?, ?)", values)
        for line in closed.settlement.lines:
            values = [
                name,
                line.key.country,
                line.key.tier,
                int(line.track_id),
                line.agreement_id,
                ">".join(line.chain),
                line.streams,
            ]
            database.execute("insert into lake.gold.settlement_lines values (?, ?, ?, ?, ?, ?, ?)", values)

        def run(sql: str, parameters: Sequence[object]) -> Any:
            return database.execute(re.sub(r" for version as of (\d+)", r"_at_\1", sql), list(parameters))

        def query(_: Settings, sql: str, parameters: Sequence[object] = (), **__: object) -> Any:
            return SimpleNamespace(rows=run(sql, parameters).fetchall())

        @contextmanager
        def connect(_: Settings, **__: object) -> Iterator[Any]:
            class Cursor:
                def execute(self, sql: str, parameters: Sequence[object]) -> None:
                    self.result = run(sql, parameters)

                def fetchone(self) -> Any:
                    return self.result.fetchone()

            yield SimpleNamespace(cursor=Cursor)

        monkeypatch.setattr(sales_reports.trino, "query", query)
        monkeypatch.setattr(sales_reports.trino, "connect", connect)
        yield database


def report(settings: Settings, of: Subject) -> str:
    contexts = sales_reports.contexts(settings, of, "Premium")
    text = "".join(render(HEADER, contexts, sales_reports.recordings(settings, of)))
    reading = Reading()
    assert list(reading.read("x", text.encode().splitlines(keepends=True), check_name=False)) == []
    assert list(reading.finish()) == []
    return text


def tracks_of(text: str) -> set[int]:
    return {int(line.split("\t")[3]) for line in text.splitlines() if line.startswith("AS02")}


@pytest.mark.usefixtures("lake")
def test_every_stream_of_a_report_is_settled_or_explained(settings: Settings, closed: Settled) -> None:
    of = Subject(PERIOD, settled=closed)
    contexts = sales_reports.contexts(settings, of, "Premium")
    assert [(c.summary_id, c.currency, c.net_revenue, c.subscribers, c.usages) for c in contexts] == [
        ("DE-premium", "EUR", 10_000, 11, sum(range(1, 13))),
        ("JP-free", "JPY", 70_001, None, sum(range(2, 13, 2))),
    ]
    assert tracks_of(report(settings, of)) == {*TRACKS, UNLICENSED}
    found = sales_reports.reconcile(settings, of, contexts)
    assert found == sales_reports.Reconciled(reported=120, settled=96, unlicensed=24, unknown=5)
    of_one = Subject(PERIOD, "JP", settled=closed)
    contexts = sales_reports.contexts(settings, of_one, "Premium")
    assert sales_reports.reconcile(settings, of_one, contexts) == sales_reports.Reconciled(42, 30, 12, 0)
    report(settings, of_one)


def test_what_comes_later_changes_no_byte(settings: Settings, closed: Settled, lake: duckdb.DuckDBPyConnection) -> None:
    before = report(settings, Subject(PERIOD, settled=closed))
    # Another calculation of the month has more streams, and the catalogue has other names, under other snapshots.
    lake.execute(
        "insert into lake.gold.settlement_units select 'later', country, tier, track_id, 9, 100 "
        "from lake.gold.settlement_units"
    )
    lake.execute(
        "create table lake.silver_audit.tracks as select * replace ('Renamed' as title) "
        "from lake.silver_audit.tracks_at_3"
    )
    assert report(settings, Subject(PERIOD, settled=closed)) == before


def test_a_policy_that_is_decided_later_changes_no_report(
    settings: Settings, closed: Settled, lake: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A track in a loop was left out of the month; then it is decided that loops are paid."""
    for table, rest in (("plays_at_1", "'DE', 'premium', 4, 30000"), ("play_flags_at_2", "'track-loop'")):
        lake.execute(f"insert into lake.silver_audit.{table} values ('loop', date '{PERIOD}-02', {rest})")  # noqa: S608
    of = Subject(PERIOD, settled=closed)
    contexts = sales_reports.contexts(settings, of, "Premium")
    found = sales_reports.reconcile(settings, of, contexts)
    decided = [{"from_period": PERIOD, "policy": "streamed-30s@1"}]
    monkeypatch.setitem(rules._raw(), "royalty_policies", decided)
    assert sales_reports.reconcile(settings, of, contexts) == found
    # What was kept without its policy is judged by what is decided now, as it always was.
    before = replace(closed, inputs=replace(closed.inputs, counting_policy=""))
    with pytest.raises(FatalError, match="121 were played"):
        sales_reports.reconcile(settings, Subject(PERIOD, settled=before), contexts)


@pytest.mark.parametrize(
    "spoil",
    [
        "delete from lake.gold.settlement_lines where track_id = 4",
        "update lake.gold.settlement_lines set streams = streams + 1 where track_id = 4 and tier = 'free'",
        "delete from lake.silver_audit.plays_at_1 where track_id = 4",
        "update lake.silver_audit.plays_at_1 set country = 'FR' where track_id = 4",
    ],
)
def test_a_report_that_is_not_what_was_settled_is_not_written(
    settings: Settings, closed: Settled, lake: duckdb.DuckDBPyConnection, spoil: str
) -> None:
    of = Subject(PERIOD, "DE" if "FR" in spoil else "", settled=closed)
    lake.execute(spoil)
    with pytest.raises(FatalError, match="nothing was written"):
        sales_reports.reconcile(settings, of, sales_reports.contexts(settings, of, "Premium"))


def test_units_that_are_not_the_pool_s_stop_the_file(
    settings: Settings, closed: Settled, lake: duckdb.DuckDBPyConnection
) -> None:
    lake.execute("delete from lake.gold.settlement_units where track_id = 4")
    with pytest.raises(RejectedInputError, match="4 streams more"):
        report(settings, Subject(PERIOD, settled=closed))


@pytest.mark.usefixtures("lake")
def test_a_payee_is_told_of_what_it_holds_or_licenses(settings: Settings, closed: Settled) -> None:
    book = build(BOOK)
    held_by: dict[str, set[int]] = {}
    for right in book.rights:
        for holder in right.holders:
            for payee in {holder.payee_id, book.agreements[holder.agreement_id].licensor}:
                held_by.setdefault(payee, set()).add(int(right.track_id))
    assert len({frozenset(tracks) for tracks in held_by.values()}) > 1
    for payee in book.payees:
        licensed = tuple(sorted(row.agreement_id for row in book.agreements.values() if row.licensor == payee))
        of = Subject(PERIOD, "", payee, closed, licensed)
        assert tracks_of(report(settings, of)) == held_by.get(payee, set()), payee
        found = sales_reports.reconcile(settings, of, sales_reports.contexts(settings, of, "Premium"))
        expected = sum(number for _, track, number in PLAYED if track in held_by.get(payee, ()))
        assert found == sales_reports.Reconciled(expected, expected, 0, None)


def test_who_licenses_what_is_said_by_the_book_that_was_settled_with(
    settings: Settings, closed: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(royalties, "_raw_book", lambda *_: BOOK)
    licensor = BOOK["agreements"][0]["licensor"]
    found = royalties.licensed_by(settings, closed, licensor)
    assert BOOK["agreements"][0]["agreement_id"] in found
    assert found == tuple(sorted(row["agreement_id"] for row in BOOK["agreements"] if row["licensor"] == licensor))
    with pytest.raises(RejectedInputError) as refused:
        royalties.licensed_by(settings, closed, "nobody")
    assert refused.value.reason == "unknown_payee"


def test_of_a_month_that_is_not_settled_nobody_s_own_recordings_are_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def ledger(_: Settings) -> Iterator[Any]:
        yield SimpleNamespace(state=lambda period: PeriodState(period, "open", None, ""))

    monkeypatch.setattr(sales_reports, "Ledger", ledger)
    of = sales_reports.subject(settings, PERIOD, "DE")
    assert of == Subject(PERIOD, "DE")
    assert sales_reports.reconcile(settings, of, []) is None
    with pytest.raises(RejectedInputError, match="is not settled"):
        sales_reports.subject(settings, PERIOD, payee="10")
