"""Whether files wait in landing, every few minutes: starts `ingest_audio` when some do."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable
from common import DEFAULT_ARGS, LANDED, wavehouse_task

with DAG(
    "watch_landing",
    description="Starts ingest_audio when files wait in landing",
    doc_md="""
    ### What it does
    **look**: one listing of `s3://landing`, compared with the ledger. When files have no outcome yet, `ingest_audio`
    starts, or starts once more when its run is over; else the task is skipped, and nothing else runs.

    ### When something fails
    The next look is in five minutes; nothing is lost meanwhile. Paused, files wait for the daily run of `ingest_audio`.
    A file that never gets an outcome (a defect of ours, a name that can't be asked for) starts it at each look: mend or
    remove what `wavehouse ingest list` shows, or pause this DAG.
    """,
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC", run_immediately=False),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "owner": "catalog", "retries": 1, "execution_timeout": timedelta(minutes=10)},
    tags=["audio", "catalog", "bronze"],
) as dag:
    wavehouse_task("look", ["ingest", "list", "--max-batches", "1", "--skip-when-none"], outlets=[LANDED])
