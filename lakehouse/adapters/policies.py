"""The same plays under every counting policy, and what artificial plays amount to, asked of the published tables."""

# ruff: noqa: S608 -- the statements are put together from the rules and from checked dates and names
from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from lakehouse.adapters import trino
from lakehouse.config.settings import Settings
from lakehouse.domain.listening import rules
from lakehouse.errors import RejectedInputError

COUNTS = "counts"


@dataclass(frozen=True)
class Verdict:
    """Plays that the policies judge alike: by policy `counts` or the first reason against them."""

    country: str | None
    verdicts: dict[str, str]
    plays: int

    @property
    def agreed(self) -> bool:
        """Whether all policies count these plays, or none does."""
        return len({verdict == COUNTS for verdict in self.verdicts.values()}) == 1


def month(period: str) -> tuple[date, date]:
    """First and last day of a month written YYYY-MM.

    Raises:
        RejectedInputError: it is no month (reason `bad_argument`).
    """
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", period):
        raise RejectedInputError(f"'{period}' is not a month.", reason="bad_argument", hint="Write it as YYYY-MM.")
    first = date.fromisoformat(f"{period}-01")
    return first, (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def judgement_sql(period: str, plays: str = "lake.silver.plays", flags: str = "lake.silver.play_flags") -> str:
    """A query of the plays of a month with one column a policy, `reason_<n>`: NULL where the play counts."""
    first, last = month(period)
    # Policies that count repetitions once look at the day before, too.
    read = f"played_on BETWEEN DATE '{first - timedelta(days=rules.REPEATED_DAYS)}' AND DATE '{last}'"
    known = rules.policies()
    row = ", ".join(f"{p.row_reason_sql('flagged_by')} AS row_{n}" for n, p in enumerate(known))
    whole = ", ".join(f"{p.reason_sql(f'row_{n}')} AS reason_{n}" for n, p in enumerate(known))
    columns = ", ".join(f"reason_{n}" for n in range(len(known)))
    return f"""WITH flagged AS (
  SELECT event_id, ARRAY_AGG(rule) AS rules FROM {flags} WHERE {read} GROUP BY event_id
), plays AS (
  SELECT p.*, COALESCE(flagged.rules, ARRAY[]) AS flagged_by
  FROM {plays} AS p LEFT JOIN flagged ON p.event_id = flagged.event_id WHERE {read}
), judged_alone AS (SELECT *, {row} FROM plays),
judged AS (SELECT *, {whole} FROM judged_alone)
SELECT event_id, user_id, track_id, country, played_at, ms_played, {columns} FROM judged
WHERE played_on >= DATE '{first}'"""


def royalty_plays_sql(plays: str = "lake.silver.plays", flags: str = "lake.silver.play_flags") -> str:
    """A query of the plays that bear royalties, from the rows and the policy of each month alone.

    None of the models that royalties are built from has a part in it. `plays` and `flags` stand as FROM has them.
    """
    bearing = rules.royalty_bearing_sql("DATE_FORMAT(plays.played_on, '%Y-%m')", "flagged.rules")
    return f"""SELECT plays.* FROM {plays} AS plays LEFT JOIN (
  SELECT event_id, played_on, ARRAY_AGG(rule) AS rules FROM {flags} GROUP BY event_id, played_on
) AS flagged ON plays.event_id = flagged.event_id AND plays.played_on = flagged.played_on WHERE {bearing}"""


def compare(settings: Settings, period: str, *, by_country: bool = False) -> list[Verdict]:
    """The plays of a month by what each policy says of them, most plays first."""
    known = rules.policies()
    columns = ", ".join(f"reason_{n}" for n in range(len(known)))
    place = "country" if by_country else "CAST(NULL AS VARCHAR)"
    groups = ", ".join(str(n + 1) for n in range(len(known) + 1))
    found = trino.query(
        settings,
        f"SELECT {place}, {columns}, COUNT(*) FROM ({judgement_sql(period)}) GROUP BY {groups} "
        f"ORDER BY COUNT(*) DESC, {groups}",
        user="analyst",
    )
    return [
        Verdict(row[0], {p.label: why or COUNTS for p, why in zip(known, row[1:-1], strict=True)}, row[-1])
        for row in found.rows
    ]


def totals(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Per country and policy: plays, how many count, and the others by reason."""
    sums: dict[tuple[str | None, str], Counter[str]] = defaultdict(Counter)
    for group in verdicts:
        for label, verdict in group.verdicts.items():
            sums[group.country, label][verdict] += group.plays
    return [
        {
            "country": country,
            "policy": label,
            "plays": counter.total(),
            "counts": counter[COUNTS],
            "not_counted": {why: n for why, n in counter.most_common() if why != COUNTS},
        }
        for (country, label), counter in sorted(sums.items(), key=lambda item: (item[0][0] or "", 0))
    ]


def plays(settings: Settings, period: str, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` plays of a month that the policies disagree on, the earliest first, with each policy's verdict."""
    known = rules.policies()
    counting = " + ".join(f"IF(reason_{n} IS NULL, 1, 0)" for n in range(len(known)))
    found = trino.query(
        settings,
        f"SELECT * FROM ({judgement_sql(period)}) WHERE {counting} NOT IN (0, {len(known)}) "
        f"ORDER BY played_at, event_id LIMIT {int(limit)}",
        user="analyst",
    )
    return [
        {key: row[key] for key in ("event_id", "user_id", "track_id", "country", "played_at", "ms_played")}
        | {"verdicts": {p.label: row[f"reason_{n}"] or COUNTS for n, p in enumerate(known)}}
        for row in found.dicts()
    ]


def impact(settings: Settings, period: str, by: str) -> list[dict[str, Any]]:
    """Artificial plays of a month by rule and `track_id` or `payee_id`, beside all streams of the same.

    `share_of_streams` says which part of the streams the rule takes away, or would, under a policy that excludes it.
    """
    month(period)
    if by not in ("track_id", "payee_id"):
        raise RejectedInputError(f"There is no impact by '{by}'.", reason="bad_argument")
    owner = "s.track_id" if by == "track_id" else "t.artist_id"
    return trino.query(
        settings,
        f"""WITH streamed AS (
  SELECT {owner} AS {by}, SUM(s.streams) AS streams
  FROM lake.gold.streams_monthly AS s LEFT JOIN lake.silver.tracks AS t ON s.track_id = t.track_id
  WHERE s.period = ? GROUP BY {owner}
)
SELECT a.{by}, a.rule, MAX(a.rule_version) AS rule_version, SUM(a.plays) AS plays, SUM(a.streams) AS streams,
  MAX(streamed.streams) AS all_streams,
  ROUND(CAST(SUM(a.streams) AS DECIMAL(18, 6)) / NULLIF(MAX(streamed.streams), 0), 4) AS share_of_streams
FROM lake.gold.artificial_plays_monthly AS a
LEFT JOIN streamed ON a.{by} IS NOT DISTINCT FROM streamed.{by}
WHERE a.period = ? GROUP BY a.{by}, a.rule ORDER BY SUM(a.streams) DESC, SUM(a.plays) DESC, a.{by}, a.rule""",
        [period, period],
        user="analyst",
    ).dicts()
