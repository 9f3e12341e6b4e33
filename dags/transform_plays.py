"""From bronze to the published marts: dbt on Trino, audited before anything is seen."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.configuration import AIRFLOW_HOME
from airflow.sdk import DAG, Asset, Param
from common import DEFAULT_ARGS, at, wavehouse_task
from cosmos import ProfileConfig
from cosmos.constants import InvocationMode
from cosmos.operators.local import DbtBuildLocalOperator

DBT = Path(__file__).resolve().parents[1] / "dbt"
MARTS = Asset("wavehouse://gold/marts")


def build(task_id: str, select: list[str]) -> DbtBuildLocalOperator:
    """Models and their tests as one task: a task a model would spend most of its time on starting dbt."""
    return DbtBuildLocalOperator(
        task_id=task_id,
        project_dir=DBT,
        profile_config=ProfileConfig(
            profile_name="wavehouse", target_name="engine", profiles_yml_filepath=DBT / "profiles.yml"
        ),
        select=select,
        exclude="resource_type:unit_test",
        indirect_selection="buildable",  # not yet the tests that compare silver with the marts made from it
        dbt_cmd_flags=["--vars", "{{ ti.xcom_pull(task_ids='snapshot_inputs') }}"],
        dbt_executable_path=str(DBT / "bin" / "dbt"),  # signs in to Trino and runs dbt in its own environment
        invocation_mode=InvocationMode.SUBPROCESS,
        install_deps=False,
        cache_dir=Path(AIRFLOW_HOME) / "dbt",  # what one task has parsed, the next one of the same run need not
        append_env=True,
        emit_datasets=False,
        pool="dbt",
    )


with DAG(
    "transform_plays",
    description="Plays, ads and revenue to streams, royalties, Wrapped, creators and advertisers",
    doc_md="""
    ### What it does
    1. **snapshot_inputs**: the window (dates of receipt; it reaches back to where silver ends) and the bronze
       snapshots, so that all models read the same rows while the stream job goes on writing.
    2. **silver**, **gold**: dbt builds the models and runs their tests. Only the days, months and years that the window
       touched are computed again; royalties of every month are.
    3. **audit_silver**, **audit_gold**: the suites in `expectations/`. A check of severity `fail` stops here: readers
       go on seeing what was published before.
    4. **publish**: `silver.*` and `gold.*` show the audited snapshots, all of them or none.
    5. **publish_online**: each track's popularity to the online feature store.

    A scheduled run takes in the whole of yesterday, UTC.

    ### Run it by hand
    With `from` and `to` (dates of receipt, YYYY-MM-DD). Running any window again changes nothing.

    ### When something fails
    Clear the task: every step may be repeated (after six hours from **snapshot_inputs** on, when the
    snapshots it named have expired). A failed audit names the check, what was seen, and what to do; the
    Data Docs show all of it.
    """,
    schedule=at("0 4 * * *", timedelta(days=1)),
    catchup=False,
    max_active_runs=1,
    params={
        "from": Param(None, type=["null", "string"], format="date", description="First date of receipt (UTC)"),
        "to": Param(None, type=["null", "string"], format="date", description="Last date of receipt (UTC)"),
    },
    default_args={**DEFAULT_ARGS, "owner": "listening"},
    tags=["plays", "royalties", "silver", "gold"],
) as dag:
    inputs = wavehouse_task(
        "snapshot_inputs",
        [
            "dbt-vars",
            "--from",
            "{{ params['from'] or (data_interval_start | ds) }}",
            "--to",
            "{{ params['to'] or (data_interval_start | ds) }}",
        ],
        output_processor=str.strip,
    )
    (
        inputs
        >> build("silver", ["staging", "silver"])
        >> wavehouse_task("audit_silver", ["audit", "--layer", "silver"], retries=1)
        >> build("gold", ["intermediate", "marts"])
        >> wavehouse_task("audit_gold", ["audit", "--layer", "gold"], retries=1)
        >> wavehouse_task("publish", ["publish", "--layer", "silver,gold"], outlets=[MARTS])
        >> wavehouse_task("publish_online", ["features", "materialize", "--views", "track_popularity"])
    )
