"""The audio DAGs import in Airflow's environment, are documented and owned, and call the command safely."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from lakehouse.config.settings import CHECKOUT

AIRFLOW = CHECKOUT / ".wavehouse" / "venvs" / "airflow" / "bin" / "python"
SHOW = """
import json, common, ingest_audio, extract_features
def task(t):
    return {"owner": t.owner, "retries": t.retries, "down": sorted(t.downstream_task_ids), "mapped": t.is_mapped,
            "command": (t.partial_kwargs if t.is_mapped else vars(t))["bash_command"], "rule": t.trigger_rule.value,
            "outlets": [a.uri for a in t.outlets]}
print(json.dumps({
    "dags": {d.dag_id: {"doc": d.doc_md, "tags": sorted(d.tags), "catchup": d.catchup,
        "tasks": {t.task_id: task(t) for t in d.tasks}} for d in (ingest_audio.dag, extract_features.dag)},
    "waits_for": [a.uri for a in extract_features.dag.schedule],
    "batches": ingest_audio.batches(json.dumps({"batches": [["a b.ogg", "{{ x }}.ogg"], ["'c.ogg"]]})),
    "command": common.command(["transform", "--from", "{{ params.day }}", "it's"]),
}))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    env = os.environ | {"AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")), "PYTHONPATH": str(CHECKOUT / "dags")}
    done = subprocess.run([AIRFLOW, "-c", SHOW], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return values


def test_every_dag_is_documented_owned_and_retried(shown: dict[str, Any]) -> None:
    assert set(shown["dags"]) == {"ingest_audio", "extract_features"}
    for dag in shown["dags"].values():
        assert "When something fails" in dag["doc"]
        assert dag["tags"]
        assert dag["catchup"] is False
        for task in dag["tasks"].values():
            assert task["retries"] >= 1
            assert task["owner"] in {"catalog", "audio"}
            assert task["command"].endswith(" --json")


def test_batches_are_ingested_in_parallel_and_then_reconciled(shown: dict[str, Any]) -> None:
    tasks = shown["dags"]["ingest_audio"]["tasks"]
    assert {name: task["down"] for name, task in tasks.items()} == {
        "list": ["ingest"],
        "ingest": ["copy_catalog_to_lake"],
        "copy_catalog_to_lake": ["reconcile"],
        "reconcile": ["announce_new_audio"],
        "announce_new_audio": [],
    }
    assert [name for name, task in tasks.items() if task["mapped"]] == ["ingest"]
    assert tasks["copy_catalog_to_lake"]["rule"] == "none_failed"


def test_features_wait_for_the_announcement_and_are_audited_before_they_are_published(shown: dict[str, Any]) -> None:
    assert shown["dags"]["ingest_audio"]["tasks"]["announce_new_audio"]["outlets"] == shown["waits_for"]
    tasks = shown["dags"]["extract_features"]["tasks"]
    assert {name: task["down"] for name, task in tasks.items()} == {
        "extract": ["audit"],
        "audit": ["publish"],
        "publish": ["predict", "record"],
        "record": ["audit_history"],
        "audit_history": ["publish_history"],
        "publish_history": ["publish_online"],
        "publish_online": [],
        "predict": ["audit_labels"],
        "audit_labels": ["publish_labels"],
        "publish_labels": [],
    }


def test_names_of_files_never_reach_a_shell(shown: dict[str, Any]) -> None:
    assert [json.loads(batch["WAVEHOUSE_INGEST_KEYS"]) for batch in shown["batches"]] == [
        ["a b.ogg", "{{ x }}.ogg"],
        ["'c.ogg"],
    ]
    line, env = shown["command"]
    assert line == """wavehouse transform --from "$ARG_2" 'it'"'"'s' --json"""
    assert env == {"ARG_2": "{{ params.day }}"}
