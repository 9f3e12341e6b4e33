"""The rules of `rules.yaml` as SQL expressions and, for single records, as Python.

The SQL is portable between Flink and Trino, so that the stream job and dbt judge an event by the same words.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Policy:
    """A named, versioned counting policy: `when` a play counts, and whether automatic plays are left out."""

    name: str
    version: int
    when: str
    exclude_bots: bool
    source: str


@cache
def _raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text())
    return loaded


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
    parts = _raw()["bot_user_agents"]["parts"]
    return "(" + " OR ".join(f"LOWER(user_agent) LIKE '%{part}%'" for part in parts) + ")"


def is_bot(user_agent: str) -> bool:
    """Whether `user_agent` names an automaton; the Python twin of `is_bot_sql` for single records."""
    return any(part in user_agent.lower() for part in _raw()["bot_user_agents"]["parts"])


def policy(name: str | None = None) -> Policy:
    """The counting policy `name`, or the default one (royalty-bearing).

    Raises:
        KeyError: there is no such policy.
    """
    wanted = name or _raw()["default_policy"]
    for spec in _raw()["policies"]:
        if spec["name"] == wanted:
            return Policy(**spec)
    raise KeyError(f"no counting policy '{wanted}'")


def is_stream_sql(name: str | None = None) -> str:
    """SQL predicate over a valid play: it counts under the policy `name`."""
    chosen = policy(name)
    return f"({chosen.when} AND NOT {is_bot_sql()})" if chosen.exclude_bots else f"({chosen.when})"
