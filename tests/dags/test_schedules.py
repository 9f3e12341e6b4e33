"""When the clock starts the DAGs, and that it starts none where a profile says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local import secrets
from infra.local.services import load_services
from lakehouse.config.settings import CHECKOUT, load_settings
from tests import airflow_python

DAGS = sorted(path.stem for path in (CHECKOUT / "dags").glob("*.py") if path.stem != "common")
SHOW = """
import importlib, json, sys
from airflow.sdk import DAG
def schedule(dag):  # the cron expression, beside assets or alone, and the assets
    timetable = dag.timetable
    cron = getattr(getattr(timetable, "timetable", timetable), "expression", None)
    assets = getattr(timetable, "asset_condition", None)
    return [cron, [asset.uri for asset in assets.objects] if assets else []]
modules = map(importlib.import_module, sys.argv[1:])
print(json.dumps({d.dag_id: schedule(d) for m in modules for d in vars(m).values() if isinstance(d, DAG)}))
"""
LANDED, CATALOG = "wavehouse://landing/files", "wavehouse://bronze/catalog_content"


@pytest.mark.parametrize("profile", ["local", "test", "chaos", "bench"])
def test_the_clock_starts_dags_where_people_work_and_none_under_tests_and_benchmarks(
    profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))
    secrets.ensure(tmp_path / "secrets.toml")
    service = load_services(load_settings(profile))["airflow-dag-processor"]
    by_clock = {
        "ingest_audio": "0 4 * * *",
        "maintain_stream_tables": "30 * * * *",
        "maintain_tables": "0 5 * * *",
        "package_popular": "0 6 * * *",
        "royalties_monthly": "0 6 15 * *",
        "transform_plays": "0 4 * * *",
        "watch_landing": "*/5 * * * *",
    }
    expected: dict[str, list[object]] = {
        name: [cron if profile == "local" else None, []] for name, cron in by_clock.items()
    }
    expected["ingest_audio"][1] = [LANDED]
    expected["extract_features"] = [None, [CATALOG]]
    scheduled = service.env["WAVEHOUSE_AIRFLOW__SCHEDULED"]
    found = airflow_python.shown(tmp_path / "airflow", SHOW, *DAGS, WAVEHOUSE_AIRFLOW__SCHEDULED=scheduled)
    assert found == expected
