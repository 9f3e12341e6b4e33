"""The lake's housekeeping: small files are merged, old snapshots and orphans removed."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable
from common import DEFAULT_ARGS, wavehouse_mapped

NAMESPACES = ("bronze", "silver_audit", "gold_audit")

with DAG(
    "maintain_tables",
    description="Compaction, snapshot expiry and orphan removal",
    doc_md="""
    ### What it does
    One task a namespace: each table's small files are merged, snapshots older than three days expire (what the tags
    `published` and `audited` point at stays), and files that no snapshot has named for a week are removed.

    ### Beside running jobs
    Safe: compaction is an Iceberg commit that is tried again when the stream job's came first, and no running commit
    is as old as an orphan must be.

    ### When something fails
    Clear the task; a table that is in order is left alone.
    """,
    schedule=CronTriggerTimetable("0 5 * * *", timezone="UTC", interval=timedelta(days=1), run_immediately=False),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "owner": "platform"},
    tags=["maintenance", "bronze", "silver", "gold"],
) as dag:
    wavehouse_mapped(
        "maintain",
        ["maintain"],
        env=[{"WAVEHOUSE_NAMESPACE": namespace} for namespace in NAMESPACES],
        map_index_template="{{ task.env['WAVEHOUSE_NAMESPACE'] }}",
        max_active_tis_per_dagrun=1,
    )
