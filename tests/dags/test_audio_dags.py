"""The audio DAGs import in Airflow's environment, are documented and owned, and call the command safely."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.local.services import TEMPLATES, environment
from lakehouse.adapters import ingestion
from lakehouse.adapters.catalog_db import Landed
from lakehouse.cli.ingest import app as ingest_app
from lakehouse.config.settings import load_settings
from lakehouse.domain.catalog.ids import EPOCH
from tests import airflow_python

SHOW = """
import datetime, json, common, ingest_audio, extract_features, package_popular, watch_landing
def since(hour, minute):  # what the look asks for that belongs to this moment
    end = datetime.datetime(2026, 3, 6, hour, minute, tzinfo=datetime.UTC)
    template = watch_landing.dag.get_template_env().from_string(watch_landing.SINCE)
    return template.render(data_interval_start=end - watch_landing.EVERY, data_interval_end=end, macros=datetime)
def task(t):
    return {"owner": t.owner, "retries": t.retries, "down": sorted(t.downstream_task_ids), "mapped": t.is_mapped,
            "command": (t.partial_kwargs if t.is_mapped else vars(t))["bash_command"], "rule": t.trigger_rule.value,
            "env": {} if t.is_mapped else t.env, "outlets": [a.uri for a in t.outlets],
            "pool": (t.partial_kwargs.get("pool") if t.is_mapped else t.pool)}
print(json.dumps({
    "dags": {d.dag_id: {"doc": d.doc_md, "tags": sorted(d.tags), "catchup": d.catchup,
        "runs": d.max_active_runs, "params": d.params.dump(),
        "tasks": {t.task_id: task(t) for t in d.tasks}}
        for d in (ingest_audio.dag, extract_features.dag, package_popular.dag, watch_landing.dag)},
    "waits_for": [a.uri for a in extract_features.dag.schedule],
    "started_by": [a.uri for a in ingest_audio.dag.timetable.asset_condition.objects],
    "daily": ingest_audio.dag.timetable.timetable.expression, "looks": watch_landing.dag.timetable.expression,
    "nightly": package_popular.dag.timetable.expression,
    "since": [since(4, 0), since(4, 5), since(4, 55)],
    "batches": ingest_audio.batches(json.dumps({"batches": [["a b.ogg", "{{ x }}.ogg"], ["'c.ogg"]]})),
    "command": common.command(["transform", "--from", "{{ params.day }}", "it's"]),
}))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = airflow_python.shown(tmp_path_factory.mktemp("airflow"), SHOW)
    return found


def test_every_dag_is_documented_owned_and_retried(shown: dict[str, Any]) -> None:
    assert set(shown["dags"]) == {"ingest_audio", "extract_features", "package_popular", "watch_landing"}
    for dag in shown["dags"].values():
        assert "When something fails" in dag["doc"]
        assert dag["tags"]
        assert (dag["catchup"], dag["runs"]) == (False, 1)
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


def test_files_that_wait_start_the_ingest_within_minutes_and_nothing_else_does(shown: dict[str, Any]) -> None:
    """One task looks, and is skipped when there is nothing: only what it announces starts the rest, and the day."""
    [(name, look)] = shown["dags"]["watch_landing"]["tasks"].items()
    assert name == "look"
    assert look["command"] == 'wavehouse ingest list --max-batches 1 --landed-since "$ARG_5" --skip-when-none --json'
    assert look["outlets"] == shown["started_by"] == ["wavehouse://landing/files"]
    assert (shown["looks"], shown["daily"]) == ("*/5 * * * *", "0 4 * * *")


def test_a_look_is_at_what_has_landed_since_and_once_an_hour_at_everything(shown: dict[str, Any]) -> None:
    """So what never gets an outcome does not start the ingest every few minutes, and what was left is not forgotten."""
    assert shown["since"] == ["", "2026-03-06T03:50:00+00:00", "2026-03-06T04:40:00+00:00"]


def test_every_pool_is_there_and_batches_share_one_of_so_many_slots_as_cores(
    shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEHOUSE_SPARK__CORES", "6")
    text = (TEMPLATES / "airflow" / "pools.json").read_text()
    pools = json.loads(environment().from_string(text).render(settings=load_settings()))
    used = {task["pool"] for dag in shown["dags"].values() for task in dag["tasks"].values()}
    assert used == {"default_pool", "ingest", "spark"} <= {"default_pool", *pools}
    assert shown["dags"]["ingest_audio"]["tasks"]["ingest"]["pool"] == "ingest"
    assert pools["ingest"]["slots"] == 6


@pytest.mark.parametrize(("waiting", "code"), [([], 99), ([Landed("a.ogg", "e", 1, EPOCH)], 0)])
def test_a_look_at_nothing_is_skipped(waiting: list[Landed], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """99 is what Airflow's BashOperator takes for skipped."""
    monkeypatch.setattr(ingestion, "waiting", lambda *_: waiting)
    done = CliRunner().invoke(ingest_app, ["list", "--max-batches", "1", "--skip-when-none", "--json"])
    assert done.exit_code == code
    assert json.loads(done.stdout)["waiting"] == len(waiting)
    assert CliRunner().invoke(ingest_app, ["list", "--json"]).exit_code == 0


def test_a_look_asks_from_the_moment_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[datetime | None] = []
    monkeypatch.setattr(ingestion, "waiting", lambda _, since: asked.append(since) or [])
    for text, code in (("2026-03-06T03:50:00+00:00", 0), ("", 0), ("yesterday", 1)):
        assert CliRunner().invoke(ingest_app, ["list", "--landed-since", text, "--json"]).exit_code == code
    assert asked == [datetime(2026, 3, 6, 3, 50, tzinfo=UTC), None]


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


def test_what_was_streamed_most_is_packaged_after_the_night_s_figures_by_the_run_s_own_day(
    shown: dict[str, Any],
) -> None:
    """So a run of an earlier day does what it would have done then."""
    dag = shown["dags"]["package_popular"]
    [(name, package)] = dag["tasks"].items()
    assert (name, package["pool"], shown["nightly"]) == ("package", "ingest", "0 6 * * *")
    words = [package["env"].get(word.strip('"$'), word) for word in package["command"].split()]
    assert words == [
        *("wavehouse", "package", "--missing", "--popular", "{{ params['tracks'] }}"),
        *("--until", "{{ data_interval_start | ds }}", "--on", "{{ data_interval_end | ts }}"),
        *("--skip-when-none", "--json"),
    ]
    assert dag["params"] == {"tracks": 100}


def test_names_of_files_never_reach_a_shell(shown: dict[str, Any]) -> None:
    assert [json.loads(batch["WAVEHOUSE_INGEST_KEYS"]) for batch in shown["batches"]] == [
        ["a b.ogg", "{{ x }}.ogg"],
        ["'c.ogg"],
    ]
    line, env = shown["command"]
    assert line == """wavehouse transform --from "$ARG_2" 'it'"'"'s' --json"""
    assert env == {"ARG_2": "{{ params.day }}"}
