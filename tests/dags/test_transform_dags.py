"""The DAGs of the lake import in Airflow's environment and have what every DAG must have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lakehouse.config.settings import CHECKOUT
from tests import airflow_python

SHOW = """
import json, transform_plays, maintain_tables
def task(t):
    return {"id": t.task_id, "owner": t.owner, "retries": t.retries, "down": sorted(t.downstream_task_ids)}
print(json.dumps({d.dag_id: {"doc": d.doc_md, "tags": sorted(d.tags), "catchup": d.catchup,
    "tasks": [task(t) for t in d.tasks]} for d in
    (transform_plays.dag, maintain_tables.dag, maintain_tables.stream_dag)}))
"""


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = airflow_python.shown(tmp_path_factory.mktemp("airflow"), SHOW)
    return found


def test_every_dag_is_documented_owned_and_retried(dags: dict[str, Any]) -> None:
    assert set(dags) == {"transform_plays", "maintain_tables", "maintain_stream_tables"}
    for dag in dags.values():
        assert "When something fails" in dag["doc"]
        assert dag["tags"]
        assert dag["catchup"] is False
        for task in dag["tasks"]:
            assert task["retries"] >= 1
            assert task["owner"] in {"listening", "platform"}


def test_nothing_is_published_before_both_audits(dags: dict[str, Any]) -> None:
    order = {task["id"]: task["down"] for task in dags["transform_plays"]["tasks"]}
    assert order == {
        "snapshot_inputs": ["silver"],
        "silver": ["audit_silver"],
        "audit_silver": ["gold"],
        "gold": ["audit_gold"],
        "audit_gold": ["publish"],
        "publish": ["publish_online"],
        "publish_online": [],
    }


def test_dbt_is_called_through_a_script_that_may_be_run() -> None:
    assert os.access(Path(CHECKOUT / "dbt" / "bin" / "dbt"), os.X_OK)
