"""Every policy's verdict on plays at the edges of its rules, by Trino."""

# ruff: noqa: S608 -- the statements are put together from constants of this module
from __future__ import annotations

import pytest

from lakehouse.adapters import policies, trino
from lakehouse.config.settings import Settings
from lakehouse.domain.listening import rules

pytestmark = pytest.mark.stack

COLUMNS = "event_id, ms_played, track_duration_ms, reason_end, is_preload, client_ip_hash, track_id, flag"
#: Each play and what streamed-30s 1 and 2, scrobble, completed and podcast 1 and 2 say; None: it counts.
CASES: list[tuple[str, tuple[str | None, ...]]] = [
    ("'a', 60000, 100000, 'trackdone', false, 1, 1, null", (None, None, None, None, None, None)),
    (
        "'b', 60000, 100000, 'trackdone', null, 1, 1, null",
        (None, None, None, None, "repeated_on_the_day", "repeated_within_24_h"),
    ),
    (
        "'c', 59999, 100000, 'fwdbtn', false, 2, 1, null",
        (None, None, None, "not_heard_to_the_end", "under_60_s", "under_60_s"),
    ),
    (
        "'d', 29999, 30000, 'trackdone', false, 3, 1, null",
        ("under_30_s", "under_30_s", "track_30_s_or_shorter", None, "under_60_s", "under_60_s"),
    ),
    (
        "'e', 239999, 600000, 'endplay', true, 4, 1, null",
        (None, None, "under_half_and_under_4_min", "not_heard_to_the_end", "pre_load", "pre_load"),
    ),
    ("'f', 240000, 600000, 'endplay', false, null, 1, null", (None, None, None, "not_heard_to_the_end", None, None)),
    (
        "'g', 60000, 100000, 'trackdone', false, 5, 1, 'bot-user-agent'",
        ("bot-user-agent", "bot-user-agent", None, "bot-user-agent", "bot-user-agent", "bot-user-agent"),
    ),
    # A flagged play does not stand in the way of the next one of the same address.
    (
        "'h', 60000, 100000, 'trackdone', false, 6, 1, 'track-loop'",
        (None, "track-loop", None, None, "track-loop", "track-loop"),
    ),
    ("'i', 60000, 100000, 'trackdone', false, 6, 1, null", (None, None, None, None, None, None)),
    ("'j', 60000, 100000, 'trackdone', false, 6, 2, null", (None, None, None, None, None, None)),
]


def test_what_is_paid_is_what_the_policy_of_the_month_counts(played: Settings) -> None:
    period = trino.query(played, "select max(period) from lake.gold.royalty_pools where streams > 0").rows[0][0]
    number = rules.policies().index(rules.royalty_policy(period))
    counted, all_streams = trino.query(
        played,
        f"SELECT count_if(reason_{number} IS NULL), count(*) FROM ({policies.judgement_sql(period)}) "
        "WHERE ms_played >= 30000",
    ).rows[0]
    assert 0 < counted < all_streams
    paid = trino.query(played, "select sum(royalty_streams) from lake.gold.streams_monthly where period = ?", [period])
    assert paid.rows[0][0] == counted
    settled = (
        "select (select sum(streams) from lake.gold.royalties where period = ?)"
        " + (select coalesce(sum(streams), 0) from lake.gold.royalties_unmatched where period = ?)"
    )
    assert trino.query(played, settled, [period, period]).rows[0][0] == counted


def test_verdicts_at_the_edges(stack: Settings) -> None:
    values = ", ".join(f"({row})" for row, _ in CASES)
    rows = (
        f"(SELECT *, 9 AS user_id, 'Player' AS user_agent, 'SE' AS country, DATE '2026-10-31' AS played_on, "
        f"TIMESTAMP '2026-10-31 12:00:00 UTC' AS played_at FROM (VALUES {values}) AS t ({COLUMNS}))"
    )
    flags = f"(SELECT event_id, flag AS rule, played_on FROM {rows} WHERE flag IS NOT NULL)"
    found = trino.query(stack, f"SELECT * FROM ({policies.judgement_sql('2026-10', rows, flags)}) ORDER BY event_id")
    reasons = [tuple(row[f"reason_{n}"] for n in range(len(rules.policies()))) for row in found.dicts()]
    assert reasons == [expected for _, expected in CASES]
    assert trino.query(stack, policies.judgement_sql("2026-11", rows, flags)).rows == []
