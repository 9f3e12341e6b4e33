"""The DAG of royalties closes nothing that a person has not approved, and what was approved is what is closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import airflow_python

SHOW = """
import json, royalties_monthly
dag = royalties_monthly.dag
def task(t):
    return {"owner": t.owner, "retries": t.retries, "down": sorted(t.downstream_task_ids),
            "kind": type(t).__name__, "rule": t.trigger_rule,
            "command": getattr(t, "bash_command", ""), "env": getattr(t, "env", None)}
run = {"digest": "d1", "pools": 18, "lines": 1234, "summary": "| sums |", "contracts": "demo", "rates": "/d/rates.csv"}
results = {"run": run, "check": [{}] * 9}
class Results:
    def __init__(self, results): self.results = results
    def xcom_pull(self, task_ids): return self.results.get(task_ids)
def asked(results):  # the names that Airflow gives a template, as far as this one may use them; any other fails
    env = dag.get_template_env()
    return env.from_string(dag.get_task("ask").body).render(ti=Results(results), params={"period": "2026-10"})
print(json.dumps({"asked": [asked(results), asked(results | {"check": None})], "doc": dag.doc_md,
    "tags": sorted(dag.tags), "catchup": dag.catchup,
    "tasks": {t.task_id: task(t) for t in dag.tasks}}))
"""


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = airflow_python.shown(tmp_path_factory.mktemp("airflow"), SHOW)
    return found


def test_it_is_documented_owned_and_retried(dag: dict[str, Any]) -> None:
    assert "When something fails" in dag["doc"]
    assert dag["tags"] == ["ledger", "royalties"]
    assert dag["catchup"] is False
    for task in dag["tasks"].values():
        assert task["retries"] >= 1
        assert task["owner"] == "royalties"


def test_what_it_writes_and_where_contracts_come_from_is_documented(dag: dict[str, Any]) -> None:
    assert "gold.settlement_*" in dag["doc"]
    assert "deliveries/royalties" in dag["doc"]


def test_a_person_stands_between_the_figures_and_the_books(dag: dict[str, Any]) -> None:
    assert {name: task["down"] for name, task in dag["tasks"].items()} == {
        "migrate": ["run"],
        "run": ["check"],
        "check": ["ask"],
        "ask": ["decide"],
        "decide": ["approve", "reject"],
        "approve": ["close"],
        "close": [],
        "reject": [],
    }
    assert dag["tasks"]["ask"]["kind"] == "HITLOperator"
    assert {task["rule"] for task in dag["tasks"].values()} == {"all_success"}


def test_who_decides_stands_in_the_ledger(dag: dict[str, Any]) -> None:
    for name in ("approve", "close", "reject"):
        assert dag["tasks"][name]["command"].startswith(f"wavehouse royalties {name} --period")
        assert "{{ ti.xcom_pull(task_ids='ask')['responded_by_user']['name'] }}" in dag["tasks"][name]["env"].values()


def test_the_question_has_the_figures_and_says_whether_they_were_checked(dag: dict[str, Any]) -> None:
    checked, unchecked = dag["asked"]
    for body in dag["asked"]:
        assert body.startswith("18 pools, 1,234 lines.")
        assert "| sums |" in body
        assert "signs settlement `d1`" in body
        assert "checklist --period 2026-10" in body
        # What is not real can't be overlooked.
        assert "\n**Settled by the demo's contracts, nobody's real ones: none were delivered.**\n" in body
        assert "\nSettled by the rates in `/d/rates.csv`.\n" in body
    assert "All 9 questions of the auditor's checklist are answered with yes." in checked
    assert "passed over by hand" in unchecked and "passed over" not in checked


def test_what_is_signed_is_what_was_shown(dag: dict[str, Any]) -> None:
    approve = dag["tasks"]["approve"]
    assert approve["command"].startswith("wavehouse royalties approve --period")
    assert "{{ ti.xcom_pull(task_ids='run')['digest'] }}" in approve["env"].values()
    assert "{{ ti.xcom_pull(task_ids='ask')['responded_by_user']['name'] }}" in approve["env"].values()


@pytest.mark.parametrize(("code", "error"), [(65, "AirflowFailException"), (75, "AirflowException")])
def test_refused_input_is_not_tried_again(tmp_path: Path, code: int, error: str) -> None:
    made = f"WavehouseOperator(task_id='x', bash_command='exit {code}')"
    text = f"from common import WavehouseOperator\n{made}.execute({{}})"
    done = airflow_python.run(tmp_path, text)
    assert done.stderr.strip().splitlines()[-1].split(":")[0].endswith(error)
