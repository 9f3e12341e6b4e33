"""Counting policies and rules for artificial plays as data: what they may say, and what is made of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from lakehouse.adapters import audit, lake, policies
from lakehouse.adapters.policies import COUNTS, Verdict
from lakehouse.contracts import load
from lakehouse.domain.listening import rules
from lakehouse.errors import RejectedInputError


def test_each_version_of_a_policy_stands_once_and_leaves_out_known_rules() -> None:
    known = rules.policies()
    assert len({p.label for p in known}) == len(known)
    assert {p.name for p in known} >= {"streamed-30s", "scrobble-half-or-4min", "completed", "podcast-iab-60s"}
    names = {rule.name for rule in rules.artificial_rules()}
    for policy in known:
        assert set(policy.exclude) <= names
        assert policy.conditions
        assert policy.source


def test_a_name_means_the_newest_version_and_a_label_its_own() -> None:
    assert rules.policy("streamed-30s").version == 2
    assert rules.policy("streamed-30s@1").version == 1
    with pytest.raises(KeyError, match="streamed-31s"):
        rules.policy("streamed-31s")


def test_what_is_paid_and_counted_live_is_judged_by_the_play_alone() -> None:
    assert rules.is_stream_sql().startswith("(ms_played >= 30000 AND NOT (LOWER(user_agent)")
    for label in ("streamed-30s@2", "podcast-iab-60s@1"):
        with pytest.raises(ValueError, match="cannot be judged by a play alone"):
            rules.is_stream_sql(label)


def test_what_is_paid_follows_the_policy_of_the_month() -> None:
    entries = [
        {"from_period": "2026-10", "policy": "streamed-30s@2"},
        {"from_period": "2000-01", "policy": "streamed-30s@1"},
    ]
    months = ("2000-01", "2026-09", "2026-10", "2031-01")
    assert [rules.royalty_policy(month, entries).version for month in months] == [1, 1, 2, 2]
    with pytest.raises(KeyError, match="1999-12"):
        rules.royalty_policy("1999-12", entries)
    with pytest.raises(ValueError, match="begin in one month"):
        rules.royalty_policies([*entries, entries[0]])
    with pytest.raises(ValueError, match="counts repeated plays once"):
        rules.royalty_policies([{"from_period": "2026-10", "policy": "podcast-iab-60s@1"}])


def test_artificial_plays_are_not_paid() -> None:
    assert set(rules.royalty_policy("2026-10").exclude) == {rule.name for rule in rules.artificial_rules()}


def test_the_audit_of_flags_knows_the_rules() -> None:
    sets = [e.kwargs["value_set"] for e in audit.suite(load("silver_audit.play_flags")) if "value_set" in e.kwargs]
    assert sets == [[rule.name for rule in rules.artificial_rules()]]


@pytest.mark.parametrize(
    ("period", "last"), [("2026-02", "2026-02-28"), ("2028-02", "2028-02-29"), ("2026-12", "2026-12-31")]
)
def test_months(period: str, last: str) -> None:
    assert [day.isoformat() for day in policies.month(period)] == [f"{period}-01", last]


@pytest.mark.parametrize("period", ["2026-13", "2026-1", "2026-10-01", "x' or 1=1"])
def test_what_is_no_month_is_refused(period: str) -> None:
    with pytest.raises(RejectedInputError, match="not a month"):
        policies.judgement_sql(period)


def test_totals_account_for_every_play() -> None:
    verdicts = [
        Verdict("SE", {"a@1": COUNTS, "b@1": "under_30_s"}, 3),
        Verdict("SE", {"a@1": COUNTS, "b@1": COUNTS}, 2),
        Verdict("DE", {"a@1": "bot-user-agent", "b@1": "under_30_s"}, 4),
    ]
    assert [v.agreed for v in verdicts] == [False, True, True]
    totals = policies.totals(verdicts)
    assert [(t["country"], t["policy"], t["plays"], t["counts"]) for t in totals] == [
        ("DE", "a@1", 4, 0),
        ("DE", "b@1", 4, 0),
        ("SE", "a@1", 5, 5),
        ("SE", "b@1", 5, 2),
    ]
    assert all(t["counts"] + sum(t["not_counted"].values()) == t["plays"] for t in totals)


def test_a_table_of_an_earlier_version_gets_the_optional_columns(tmp_path: Path) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    made = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())
    made.create_namespace("bronze")
    contract = load("bronze.plays")
    earlier = [f for f in contract.arrow_schema() if f.name not in ("is_preload", "client_ip_hash", "device_hash")]
    table = made.create_table("bronze.plays", pa.schema(earlier))
    for _ in range(2):
        lake._add_columns(table, contract)
        table = made.load_table("bronze.plays")
        assert {f.name: f.required for f in table.schema().fields} == {
            f.name: not f.nullable for f in contract.arrow_schema()
        }
        assert table.schema().find_field("device_hash").doc == contract.column("device_hash").doc
