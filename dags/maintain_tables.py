"""The lake's housekeeping: small files are merged, old snapshots and orphans removed.

Nightly for all tables, hourly for those that the stream job commits to every ten seconds.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, chain
from common import DEFAULT_ARGS, at, wavehouse_task

NAMESPACES = ("bronze", "silver_audit", "gold_audit")

with DAG(
    "maintain_tables",
    description="Compaction, snapshot expiry and orphan removal",
    doc_md="""
    ### What it does
    One task a namespace: each table's small files are merged, snapshots older than three days (in bronze: six hours)
    expire (what the tags `published` and `audited` point at stays), and files that no snapshot has named for a week
    are removed.

    ### Beside running jobs
    Safe: compaction is an Iceberg commit that is tried again when the stream job's came first, and no running commit
    is as old as an orphan must be.

    ### When something fails
    Clear the task; a table that is in order is left alone.
    """,
    schedule=at("0 5 * * *", timedelta(days=1)),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "owner": "platform"},
    tags=["maintenance", "bronze", "silver", "gold"],
) as dag:
    # One after the other, so that compaction leaves Trino room for others.
    chain(*(wavehouse_task(f"maintain_{name}", ["maintain", "--namespace", name]) for name in NAMESPACES))

with DAG(
    "maintain_stream_tables",
    description="Compaction and snapshot expiry of what the stream job writes",
    doc_md="""
    ### What it does
    Merges the small files of the last hour in every table of bronze, and lets snapshots older than six hours expire.
    Every commit to an Iceberg table writes the list of its snapshots again, and the stream job commits every ten
    seconds: left to the nightly run, each of its commits would carry megabytes. Orphans are left to `maintain_tables`.

    Switch it on where the stream job runs all day.

    ### Beside running jobs
    Safe, as `maintain_tables` is. Nothing expires while the stream job is away.

    ### When something fails
    Nothing is lost by waiting: the next hour's run does the work of both.
    """,
    schedule=at("30 * * * *", timedelta(hours=1)),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "owner": "platform"},
    tags=["maintenance", "bronze"],
) as stream_dag:
    wavehouse_task("maintain_bronze", ["maintain", "--namespace", "bronze", "--no-orphans"])
