"""The same plays under every counting policy, and what artificial plays amount to, asked of the published tables."""

# ruff: noqa: S608 -- the statements are put together from the rules and from checked dates and names
from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from lakehouse.adapters import trino
from lakehouse.config.settings import Settings
from lakehouse.domain.listening import rules
from lakehouse.domain.royalties.contracts import Book
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


def royalty_plays_sql(
    plays: str = "lake.silver.plays",
    flags: str = "lake.silver.play_flags",
    settled: Mapping[str, str] | None = None,
) -> str:
    """A query of the plays that bear royalties, from the rows and the policy of each month alone.

    None of the models that royalties are built from has a part in it. `plays` and `flags` stand as FROM has them;
    `settled` are the policies (labels) of months that were settled, whatever has been decided since.
    """
    bearing = rules.royalty_bearing_sql("DATE_FORMAT(plays.played_on, '%Y-%m')", "flagged.rules", settled)
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
    """Artificial plays of a month by rule and `track_id` or `payee_id` (the artist), beside the streams that are paid.

    `streams` are those plays that would bear royalties, had no rule flagged them; `share_of_streams` is their part of
    them and the paid ones together.
    """
    month(period)
    if by not in ("track_id", "payee_id"):
        raise RejectedInputError(f"There is no impact by '{by}'.", reason="bad_argument")
    owner = "s.track_id" if by == "track_id" else "t.artist_id"
    found = trino.query(
        settings,
        f"""WITH paid AS (
  SELECT {owner} AS {by}, SUM(s.royalty_streams) AS streams
  FROM lake.gold.streams_monthly AS s LEFT JOIN lake.silver.tracks AS t ON s.track_id = t.track_id
  WHERE s.period = ? GROUP BY {owner}
)
SELECT a.{by}, a.rule, MAX(a.rule_version) AS rule_version, SUM(a.plays) AS plays, SUM(a.streams) AS streams,
  COALESCE(MAX(paid.streams), 0) AS paid_streams
FROM lake.gold.artificial_plays_monthly AS a
LEFT JOIN paid ON a.{by} IS NOT DISTINCT FROM paid.{by}
WHERE a.period = ? GROUP BY a.{by}, a.rule""",
        [period, period],
        user="analyst",
    ).dicts()
    return _ranked(found, by)


def impact_by_payee(settings: Settings, period: str, book: Book) -> list[dict[str, Any]]:
    """As `impact`, by the payees who hold a right in the track by the contracts of `book`.

    A play stands under every payee with a right in its track, whatever the share, and under None where nobody has one.
    """
    flagged = impact(settings, period, "track_id")
    paid = trino.query(
        settings,
        "SELECT track_id, SUM(royalty_streams) FROM lake.gold.streams_monthly WHERE period = ? GROUP BY track_id",
        [period],
        user="analyst",
    ).rows

    def holders(track_id: int) -> set[str | None]:
        rights = book.rights_of(str(track_id), period)
        # A share that nobody claims has no payee.
        return {holder.payee_id or None for right in rights for holder in right.holders} or {None}

    streams: Counter[str | None] = Counter()
    for track_id, number in paid:
        for payee_id in holders(track_id):
            streams[payee_id] += number or 0
    sums: dict[tuple[str | None, str], dict[str, Any]] = {}
    for row in flagged:
        for payee_id in holders(row["track_id"]):
            name = None if payee_id is None else book.payees[payee_id].name
            total = sums.setdefault(
                (payee_id, row["rule"]),
                {"payee_id": payee_id, "name": name, "rule": row["rule"], "rule_version": 0, "plays": 0, "streams": 0},
            )
            total["rule_version"] = max(total["rule_version"], row["rule_version"])
            total["plays"] += row["plays"]
            total["streams"] += row["streams"]
            total["paid_streams"] = streams[payee_id]
    return _ranked(list(sums.values()), "payee_id")


def _ranked(rows: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """Rows with their share, what takes most first; of equals by `by` and rule."""
    for row in rows:
        everything = row["streams"] + row["paid_streams"]
        row["share_of_streams"] = round(row["streams"] / everything, 4) if everything else None
    return sorted(rows, key=lambda row: (-row["streams"], -row["plays"], row[by] is None, row[by] or 0, row["rule"]))
