"""The rules of `rules.yaml` and `artificial.yaml` as SQL expressions and, for single records, as Python.

The SQL is portable between Flink and Trino, so that the stream job and dbt judge an event by the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

#: Days between an event and its arrival within which it still corrects its live minute; a day less than the stream
#: job keeps its state (flink_jobs/statements.py).
LIVE_DAYS = 44
#: The longest live window: what comes later than this corrects windows that people have already read.
LATE_HOURS = 1


BOT_USER_AGENT = "bot-user-agent"
#: Reason against a play that repeats one of the same `once_per`, by what `once_in` says.
REPEATED = {"utc_day": "repeated_on_the_day", "24_hours": "repeated_within_24_h"}
#: Days before a play that a judgement by `once_in` looks at.
REPEATED_DAYS = 1


@dataclass(frozen=True)
class Condition:
    """A predicate that a play must meet, and the reason code under which it does not count otherwise."""

    reason: str
    when: str


@dataclass(frozen=True)
class Policy:
    """A named, versioned counting policy; the comment in rules.yaml says what its parts mean."""

    name: str
    version: int
    conditions: tuple[Condition, ...]
    exclude: tuple[str, ...]
    source: str
    once_per: tuple[str, ...] = ()
    once_in: str = ""

    @property
    def label(self) -> str:
        """`<name>@<version>`, as tables name it."""
        return f"{self.name}@{self.version}"

    def row_reason_sql(self, flags: str | None) -> str:
        """SQL of the first reason against a play by its row and `flags`, the array of its rules; else NULL.

        Without `flags` it is judged as if no rule had flagged it.
        """
        cases = [(f"NOT COALESCE({c.when}, FALSE)", c.reason) for c in self.conditions]
        cases += [(f"CONTAINS({flags}, '{rule}')", rule) for rule in self.exclude if flags is not None]
        return "CASE " + " ".join(f"WHEN {when} THEN '{reason}'" for when, reason in cases) + " ELSE NULL END"

    def reason_sql(self, row_reason: str) -> str:
        """SQL of the whole judgement, where the column `row_reason` holds `row_reason_sql`.

        It is that of a play if the plays of the `REPEATED_DAYS` before it are among the rows.
        """
        if not self.once_per:
            return row_reason
        key = ", ".join((*self.once_per, f"{row_reason} IS NULL"))
        order = "ORDER BY played_at, event_id"
        if self.once_in == "utc_day":
            repeated = f"ROW_NUMBER() OVER (PARTITION BY {key}, played_on {order}) > 1"
        else:
            repeated = f"LAG(played_at) OVER (PARTITION BY {key} {order}) > played_at - INTERVAL '24' HOUR"
        return f"COALESCE({row_reason}, CASE WHEN {repeated} THEN '{REPEATED[self.once_in]}' END)"


@dataclass(frozen=True)
class ArtificialRule:
    """A rule that flags plays as artificial: its thresholds by name."""

    name: str
    version: int
    meaning: str
    thresholds: dict[str, int]


@cache
def _raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text())
    return loaded


@cache
def _artificial() -> dict[str, dict[str, Any]]:
    loaded = yaml.safe_load(Path(__file__).with_name("artificial.yaml").read_text())
    return {rule["name"]: rule for rule in loaded["rules"]}


def artificial_rules() -> tuple[ArtificialRule, ...]:
    """The rules of `artificial.yaml`."""
    known = ("name", "version", "meaning", "parts")
    return tuple(
        ArtificialRule(r["name"], r["version"], r["meaning"], {k: v for k, v in r.items() if k not in known})
        for r in _artificial().values()
    )


def rejection_codes(topic: str) -> tuple[str, ...]:
    """Reason codes an event of `topic` can be rejected with, in the order they are tried."""
    return tuple(rule["code"] for rule in _raw()["rejections"][topic])


def rejection_reason_sql(topic: str) -> str:
    """SQL expression over the columns of `topic`: the reason code of the first rule that is met, else NULL."""
    cases = " ".join(f"WHEN {rule['when']} THEN '{rule['code']}'" for rule in _raw()["rejections"][topic])
    return f"CASE {cases} ELSE CAST(NULL AS VARCHAR) END"


def counts_live_sql(event_time: str) -> str:
    """SQL predicate over an event: it came early enough for the live minutes, whose state the stream job keeps 45 days.

    Later events are in the lake like all others; a minute that was forgotten must not start anew with one play.
    """
    return f"(received_at < {event_time} + INTERVAL '{LIVE_DAYS}' DAY)"


def is_late_sql(event_time: str) -> str:
    """SQL predicate over an event: it came after the longest of the live windows it belongs to had passed.

    Late events count like all others; how many came late says how far yesterday's figures may still move.
    """
    return f"(received_at >= {event_time} + INTERVAL '{LATE_HOURS}' HOUR)"


def is_bot_sql() -> str:
    """SQL predicate over `user_agent`: the player names itself as an automaton."""
    parts = _artificial()[BOT_USER_AGENT]["parts"]
    return "(" + " OR ".join(f"LOWER(user_agent) LIKE '%{part}%'" for part in parts) + ")"


def is_bot(user_agent: str) -> bool:
    """Whether `user_agent` names an automaton; the Python twin of `is_bot_sql` for single records."""
    return any(part in user_agent.lower() for part in _artificial()[BOT_USER_AGENT]["parts"])


def policies() -> tuple[Policy, ...]:
    """Every version of every counting policy, in the order of the file."""
    return tuple(
        Policy(
            name=spec["name"],
            version=spec["version"],
            conditions=tuple(Condition(**c) for c in spec["conditions"]),
            exclude=tuple(spec["exclude"]),
            source=spec["source"],
            once_per=tuple(spec.get("once_per", ())),
            once_in=spec.get("once_in", ""),
        )
        for spec in _raw()["policies"]
    )


def policy(name: str | None = None) -> Policy:
    """The counting policy `name` (`<name>@<version>`, or a name for its newest version), or the default one.

    Raises:
        KeyError: there is no such policy.
    """
    wanted = name or _raw()["default_policy"]
    found = [p for p in policies() if wanted in (p.name, p.label)]
    if not found:
        raise KeyError(f"no counting policy '{wanted}'")
    return max(found, key=lambda p: p.version)


@dataclass(frozen=True)
class RoyaltyPolicy:
    """Plays of the months from `from_period` (YYYY-MM, UTC) on bear royalties as `policy` says."""

    from_period: str
    policy: Policy


def royalty_policies(entries: Sequence[Mapping[str, str]] | None = None) -> tuple[RoyaltyPolicy, ...]:
    """What bears royalties since when, the earliest first; `entries` instead of those of the file.

    Raises:
        KeyError: an entry names a policy that doesn't exist.
        ValueError: two entries begin in one month, or a policy counts repetitions once: what is paid is judged play by
            play.
    """
    found = tuple(
        RoyaltyPolicy(entry["from_period"], policy(entry["policy"]))
        for entry in sorted(entries or _raw()["royalty_policies"], key=lambda entry: entry["from_period"])
    )
    if len({entry.from_period for entry in found}) < len(found):
        raise ValueError("two royalty policies begin in one month")
    if once := [entry.policy.label for entry in found if entry.policy.once_per]:
        raise ValueError(f"{once[0]} counts repeated plays once; royalties are judged play by play")
    return found


def royalty_policy(period: str, entries: Sequence[Mapping[str, str]] | None = None) -> Policy:
    """The policy by which plays of the month `period` (YYYY-MM) bear royalties.

    Raises:
        KeyError: the month lies before the first policy.
    """
    begun = [entry.policy for entry in royalty_policies(entries) if entry.from_period <= period]
    if not begun:
        raise KeyError(f"no royalty policy in {period}")
    return begun[-1]


def royalty_bearing_sql(period: str, flags: str | None, settled: Mapping[str, str] | None = None) -> str:
    """SQL predicate over a valid play of the month `period` (an expression) with `flags`, the array of its rules.

    Without `flags`: it would bear royalties, had no rule flagged it. `settled` are labels of policies by month
    (YYYY-MM) that stand there in the place of what is decided now.

    Raises:
        KeyError: `settled` names a policy that doesn't exist.
    """
    judged = [(f"{period} = '{month}'", policy(label)) for month, label in sorted((settled or {}).items())]
    judged += [(f"{period} >= '{entry.from_period}'", entry.policy) for entry in reversed(royalty_policies())]
    cases = " ".join(f"WHEN {when} THEN ({by.row_reason_sql(flags)}) IS NULL" for when, by in judged)
    return f"(CASE {cases} ELSE FALSE END)"


def royalty_policy_sql(period: str) -> str:
    """SQL of the label of the policy of the month `period` (an expression)."""
    cases = " ".join(
        f"WHEN {period} >= '{entry.from_period}' THEN '{entry.policy.label}'" for entry in reversed(royalty_policies())
    )
    return f"(CASE {cases} END)"


def is_stream_sql(name: str | None = None) -> str:
    """SQL predicate over a valid play: it counts under the policy `name`, which must judge single plays.

    Raises:
        ValueError: the policy asks for more than the play itself.
    """
    chosen = policy(name)
    if chosen.once_per or set(chosen.exclude) - {BOT_USER_AGENT}:
        raise ValueError(f"{chosen.label} cannot be judged by a play alone")
    parts = [f"({c.when})" if " OR " in c.when else c.when for c in chosen.conditions]
    parts += [f"NOT {is_bot_sql()}" for _ in chosen.exclude]
    return f"({' AND '.join(parts)})"
