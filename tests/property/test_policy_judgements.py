"""What the policies say of plays: the query's own words in DuckDB, which reads them as Trino does, against Python."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
from hypothesis import example, given
from hypothesis import strategies as st

from lakehouse.adapters import policies
from lakehouse.domain.listening import rules
from tests import model_sql
from tests.fakes.trino import contract_rows

MIDNIGHT = datetime(2026, 10, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
LONG = 60_000


def play(number: int, at: datetime, **others: Any) -> dict[str, Any]:
    known = {"user_id": 1, "user_agent": "Player", "track_id": 1, "client_ip_hash": 1, "ms_played": LONG}
    return {"event_id": f"{number:03}", "played_at": at, "played_on": at.date()} | known | others


def verdicts(label: str, plays: list[dict[str, Any]], flagged: dict[str, str] | None = None) -> dict[str, str | None]:
    """By play of October its reason under the policy `label`."""
    days = {row["event_id"]: row["played_on"] for row in plays}
    flags = [{"event_id": id_, "rule": rule, "played_on": days[id_]} for id_, rule in (flagged or {}).items()]
    number = [p.label for p in rules.policies()].index(label)
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.register("plays_", contract_rows("silver_audit.plays", plays))
        database.register("flags_", contract_rows("silver_audit.play_flags", flags))
        sql = policies.judgement_sql("2026-10", "plays_", "flags_")
        found = database.sql(f"SELECT event_id, reason_{number} FROM ({sql}) ORDER BY event_id")  # noqa: S608
        return dict(found.fetchall())


def expected(plays: list[dict[str, Any]], flagged: dict[str, str]) -> dict[str, str | None]:
    """What podcast-iab-60s@2 says of the plays of October, a play at a time."""
    seen: list[dict[str, Any]] = []
    found: dict[str, str | None] = {}
    for row in sorted(plays, key=lambda row: (row["played_at"], row["event_id"])):
        reason = "under_60_s" if row["ms_played"] < LONG else flagged.get(row["event_id"])
        if reason is None:
            same = [one for one in seen if all(one[k] == row[k] for k in ("client_ip_hash", "user_agent", "track_id"))]
            if any(row["played_at"] - one["played_at"] < DAY for one in same):
                reason = "repeated_within_24_h"
            seen.append(row)
        if row["played_on"] >= MIDNIGHT.date():
            found[row["event_id"]] = reason
    return found


MOMENTS = st.integers(-26 * 60, 3 * 24 * 60).map(lambda minute: MIDNIGHT + minute * MINUTE) | st.sampled_from(
    [MIDNIGHT - DAY, MIDNIGHT - MINUTE, MIDNIGHT, MIDNIGHT + DAY - MINUTE, MIDNIGHT + DAY]
)
PLAYS = st.lists(
    st.tuples(
        MOMENTS, st.sampled_from([LONG, LONG, LONG - 1]), st.integers(1, 2), st.sampled_from([None, "track-loop"])
    ),
    max_size=12,
)


@given(PLAYS)
@example([(MIDNIGHT + DAY - MINUTE, LONG, 1, None), (MIDNIGHT + DAY + MINUTE, LONG, 1, None)])
@example([(MIDNIGHT - MINUTE, LONG, 1, None), (MIDNIGHT + MINUTE, LONG, 1, None)])  # of the month before
@example([(MIDNIGHT, LONG, 1, "track-loop"), (MIDNIGHT + MINUTE, LONG, 1, None)])
def test_an_address_counts_once_in_24_hours(made: list[tuple[datetime, int, int, str | None]]) -> None:
    plays = [play(n, at, ms_played=ms, client_ip_hash=address) for n, (at, ms, address, _) in enumerate(made)]
    # A flag against a play that is long enough: one of too short a play never comes to bear.
    flagged = {f"{n:03}": rule for n, (*_, rule) in enumerate(made) if rule}
    assert verdicts("podcast-iab-60s@2", plays, flagged) == expected(plays, flagged)


def test_midnight_parts_days_but_not_24_hours() -> None:
    plays = [play(1, MIDNIGHT + DAY - MINUTE), play(2, MIDNIGHT + DAY + MINUTE), play(3, MIDNIGHT + 2 * DAY + MINUTE)]
    assert verdicts("podcast-iab-60s@1", plays) == dict.fromkeys(("001", "002", "003"))
    assert verdicts("podcast-iab-60s@2", plays) == {"001": None, "002": "repeated_within_24_h", "003": None}
    again = [*plays, play(4, MIDNIGHT + DAY - 2 * MINUTE)]
    assert verdicts("podcast-iab-60s@1", again)["001"] == "repeated_on_the_day"


def test_without_an_address_the_account_stands_for_it() -> None:
    at = MIDNIGHT + timedelta(hours=1)
    plays = [play(n, at + n * MINUTE, client_ip_hash=None, user_id=user) for n, user in enumerate((8, 9, 8))]
    assert list(verdicts("podcast-iab-60s@2", plays).values()) == [None, None, "repeated_within_24_h"]


def test_only_plays_of_the_month_are_judged() -> None:
    plays = [play(1, MIDNIGHT - MINUTE), play(2, MIDNIGHT), play(3, datetime(2026, 11, 1, tzinfo=UTC))]
    assert verdicts("streamed-30s@1", plays) == {"002": None}


def test_the_impact_counts_what_would_have_been_paid_for_but_for_the_flags() -> None:
    """Also of named automata, which never count as streams."""
    plays = [
        play(1, MIDNIGHT, country="SE", ms_played=30_000, is_stream=False),
        play(2, MIDNIGHT, country="SE", ms_played=29_999, is_stream=False),
        play(3, MIDNIGHT, country="SE", ms_played=30_000, is_stream=True),
    ]
    flags = [
        {"event_id": row["event_id"], "rule": "bot-user-agent", "rule_version": 1, "played_on": row["played_on"]}
        for row in plays[:2]
    ]
    (row,) = model_sql.rows(
        "artificial_plays_monthly",
        {
            "plays": contract_rows("silver_audit.plays", plays),
            "play_flags": contract_rows("silver_audit.play_flags", flags),
            "tracks": contract_rows("silver_audit.tracks", [{"track_id": 1, "artist_id": 7}]),
        },
        touched=lambda *_: "true",
        royalty_bearing_but_for_flags=lambda period: rules.royalty_bearing_sql(period, None),
    )
    assert (row["period"], row["rule"], row["payee_id"]) == ("2026-10", "bot-user-agent", 7)
    assert (row["plays"], row["streams"], row["ms_played"]) == (2, 1, 59_999)
