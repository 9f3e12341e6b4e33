"""An ordinary run restates the days that something was received for, no others, and ends where a full build ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakehouse.domain.listening.imports import Listen
from tests import dbt_macros, model_sql
from tests.fakes.trino import contract_rows

FIRST = date(2026, 10, 1)
#: Of each play, or listen from elsewhere, the days of October on which it was heard and received.
Heard = tuple[str, int, int]


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def tables(heard: list[Heard], until: int) -> dict[str, Any]:
    """What had been received by the end of the day `until`."""
    plays, listens = [], []
    for n, (kind, on, received) in enumerate(heard):
        if received > until:
            continue
        at = datetime.combine(day(received), datetime.min.time(), UTC)
        if kind == "play":
            plays.append(
                {"event_id": str(n), "user_id": 7, "track_id": n % 3, "played_on": day(on), "received_at": at}
                | {"ms_played": 40_000, "is_stream": True}
            )
        else:
            listen = Listen("lastfm", datetime.combine(day(on), datetime.min.time(), UTC), "A", str(n % 2))
            listens.append(listen.record(7, at) | {"listened_on": day(on), "event_id": str(n)})
    return {
        "plays": contract_rows("silver_audit.plays", plays),
        "listens": contract_rows("silver_audit.listens", listens),
        "tracks": contract_rows("silver_audit.tracks", []),
    }


VIEWS = ("int_listens_matched", "int_listening")


def touched(heard: list[Heard], on: int) -> str:
    """The predicate of the run of a day, as the project's own macros write it."""
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        for name, table in tables(heard, on).items():
            database.register(name, table)
        for view in VIEWS:
            database.execute(f"create view {view} as {model_sql.sql(view)}")
        database.execute("create table int_listens_rematched (listened_on date)")
        variables = {"from": day(on), "to": day(on), "received_lookback_days": 1, "period": None}
        macros = dbt_macros.load("window", variables, lambda sql: database.sql(sql).fetchall())
        return str(macros["touched"]("listened_on"))


def mart(heard: list[Heard], until: int, predicate: str) -> list[Any]:
    return model_sql.rows("listener_recordings_daily", tables(heard, until), views=VIEWS, touched=lambda _: predicate)


@settings(max_examples=10)  # each builds the mart eight times
@given(
    st.lists(
        st.tuples(st.sampled_from(["play", "listen"]), st.integers(0, 6), st.integers(0, 3)).map(
            lambda one: (one[0], one[1], max(one[1:]))  # received after it was heard
        ),
        max_size=12,
    )
)
@example([("play", 0, 0), ("play", 0, 5), ("listen", 3, 3), ("play", 5, 5)])  # one comes five days late
@example([("play", 0, 0)])
def test_a_run_restates_the_days_of_what_it_received(heard: list[Heard]) -> None:
    built: list[Any] = []
    for run in range(7):
        predicate = touched(heard, run)
        restated = mart(heard, run, predicate)
        # The day before is looked at again: the stream job may have committed the end of it after the run.
        received = {day(on) for _, on, at in heard if at in (run - 1, run)}
        assert {row["listened_on"] for row in restated} == received
        assert all(str(one) in predicate for one in received)
        assert predicate.count("date '") == len(received)
        built = [row for row in built if row["listened_on"] not in received] + restated
    assert sorted(built, key=str) == sorted(mart(heard, 6, "true"), key=str)


def test_a_click_touches_the_day_of_its_impression() -> None:
    def moment(on: int) -> datetime:
        return datetime.combine(day(on), datetime.min.time(), UTC)

    ads = [{"event_id": f"ad {on}", "shown_on": day(on), "received_at": moment(on)} for on in range(4)]
    clicks = [
        {"impression_event_id": "ad 1", "received_at": moment(3)},
        {"impression_event_id": "?", "received_at": moment(3)},
    ]
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        for name, rows in (("ad_impressions", ads), ("ad_clicks", clicks)):
            database.register(name, pa.Table.from_pylist(rows))
        variables = {"from": day(3), "to": day(3), "received_lookback_days": 0, "period": None}
        macros = dbt_macros.load("window", variables, lambda sql: database.sql(sql).fetchall())
        assert macros["touched"]("shown_on") == f"shown_on in (date '{day(1)}', date '{day(3)}')"
