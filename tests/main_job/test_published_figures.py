"""The main job from files and plays to published figures: it reconciles, and a second run changes no number."""

from __future__ import annotations

import fcntl
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lakehouse.adapters import packaging, trino
from lakehouse.adapters.airflow import AirflowClient
from lakehouse.cli.demo import DAGS, END
from lakehouse.config.settings import Settings
from lakehouse.contracts import SIMULATED_TOPICS
from lakehouse.domain.playback.packaging import Recipe
from tests import audio_files
from tests.conftest import play, wavehouse, wavehouse_json

pytestmark = pytest.mark.stack

PUBLISHED = """
select 'streams' as what, cast(sum(streams) as bigint) as n from lake.gold.streams_daily
union all select 'royalties', cast(sum(amount_minor) as bigint) from lake.gold.royalties
union all select 'wrapped', count(*) from lake.gold.wrapped
union all select 'tracks', count(*) from lake.silver.tracks
union all select 'tracks with features', count(*) from lake.silver.audio_features
"""


def figures(settings: Settings) -> dict[str, Any]:
    """A few published figures, as an analyst reads them."""
    return dict(trino.query(settings, PUBLISHED, user="analyst").rows)


def reconciled() -> list[dict[str, Any]]:
    """The lines of the reconciliation, which all agree."""
    checks: list[dict[str, Any]] = wavehouse_json("verify", check=False)
    assert len(checks) > 10
    assert [check for check in checks if not check["equal"]] == []
    return checks


def test_everything_reconciles(played: Settings) -> None:
    # An equation of nothing with nothing shows nothing.
    left = {check["name"]: check["left"] for check in reconciled()}
    assert all(
        left[name]
        for name in (
            "plays: undecodable records kept",
            "plays: refused as negative_ms_played",
            "plays: refused as played_at_in_future",
            "plays: bots set apart",
            "streams of unknown tracks, never paid",
            "catalog_changes: records",
            *(f"{topic}: valid events" for topic in SIMULATED_TOPICS),
        )
    )


def test_the_report_tells_what_became_of_everything(played: Settings) -> None:
    told = wavehouse_json("report")
    files = told["audio_files"]
    assert (files["accepted"], files["duplicate"]) == (audio_files.ACCEPTED, audio_files.DUPLICATES)
    assert files["rejected_by_reason"] == audio_files.REJECTED
    assert told["totals"]["streams"] == figures(played)["streams"]
    assert told["top_tracks"][0]["streams"] >= told["top_tracks"][-1]["streams"] > 0
    assert told["wrapped"][0]["minutes_played"] > 0
    assert told["live"]["newest_window_start"] and told["live"]["updates_not_yet_live"] == 0
    assert "password" not in str(told)


def test_the_unit_tests_of_the_models_pass_and_their_documentation_is_made(played: Settings) -> None:
    tested = wavehouse("dbt", "test", "--select", "test_type:unit")
    assert re.search(r"PASS=[1-9]\d* WARN=0 ERROR=0 SKIP=0", tested.stdout)
    wavehouse("dbt", "docs", "generate")
    documented = json.loads((played.run / "dbt" / "target" / "manifest.json").read_text())
    models = [node for node in documented["nodes"].values() if node["resource_type"] == "model"]
    assert models and all(model["description"] for model in models)
    assert documented["exposures"]
    assert (played.run / "dbt" / "target" / "catalog.json").is_file()


def test_the_published_figures_are_not_empty(played: Settings) -> None:
    assert all(figures(played).values())


def test_every_dag_is_green_with_docs_and_an_owner(played: Settings) -> None:
    airflow = AirflowClient(played)
    assert airflow.import_errors() == []
    for dag in airflow.dags():
        assert dag["owners"] and dag["owners"] != ["airflow"], dag["dag_id"]
        assert airflow.documentation(dag["dag_id"]), dag["dag_id"]
        assert dag["next_dagrun_run_after"] is None  # or a test that runs across the hour meets a table half rebuilt
        # The others wait for a person, or for the clock.
        expected = ["success"] if dag["dag_id"] in DAGS else []
        assert airflow.states(dag["dag_id"])[-1:] == expected, dag["dag_id"]


def test_the_whole_job_again_changes_no_number(played: Settings, music: Path) -> None:
    before = figures(played)
    play(music)  # ends with `verify`
    airflow = AirflowClient(played)  # the one DAG that does not start without new audio
    airflow.wait("extract_features", airflow.trigger("extract_features"))
    assert figures(played) == before


def test_a_bad_batch_is_stopped_with_its_reason_and_the_right_one_is_published(played: Settings) -> None:
    before = figures(played)
    told = wavehouse_json("demo", "bad-batch")
    assert told["stopped"]
    # Which checks say so is up to the suite of silver_audit.revenue; the reader is told what and where.
    assert "silver_audit.revenue" in told["reason"]
    assert "From its first month on, no market is missing in a month." in told["reason"]
    docs = Path(told["data_docs"])
    assert "silver_audit.revenue" in docs.read_text()
    failures = [page for page in (docs.parent / "validations").rglob("*.html") if "Failed" in page.read_text()]
    assert any("silver_audit.revenue" in str(page) for page in failures)
    assert figures(played) == before
    refused = wavehouse("publish", "--layer", "silver,gold", check=False)
    assert refused.returncode != 0
    assert "has not passed its audit; nothing was published" in refused.stderr
    assert figures(played) == before
    assert not wavehouse_json("demo", "bad-batch", "--clear")["stopped"]
    assert figures(played) == before
    reconciled()


def test_an_analyst_reads_but_does_not_write(played: Settings) -> None:
    assert wavehouse_json("sql", "select count(*) as n from gold.streams_daily")
    refused = wavehouse("sql", "delete from gold_audit.streams_daily", check=False)
    assert refused.returncode != 0
    assert "Access Denied" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_what_was_streamed_most_and_has_no_package_gets_one(played: Settings) -> None:
    """What the DAG package_popular asks for each night; asked again, it would be the next one."""
    day = END.isoformat()
    streamed = packaging.popular(played, 1000, until=END)
    at = datetime(END.year, END.month, END.day, 6, tzinfo=UTC) + timedelta(days=1)
    [wanted] = packaging.missing(played, 1, Recipe(), at=at, until=END)
    assert wanted in streamed
    [made] = wavehouse_json("package", "--popular", "1", "--missing", "--until", day, "--on", at.isoformat())
    assert (made["content_id"], made["outcome"]) == (wanted, "made")
    assert packaging.missing(played, 1, Recipe(), at=at, until=END) != [wanted]


def test_a_second_demo_refuses_while_one_runs(stack: Settings) -> None:
    with (stack.home / "demo.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        refused = wavehouse("demo", check=False)
    assert refused.returncode == 1
    assert "Another `make demo` is running" in refused.stderr
