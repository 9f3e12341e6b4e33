"""Whether files have come to landing, every few minutes: starts `ingest_audio` when some wait."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from common import DEFAULT_ARGS, LANDED, at, wavehouse_task

EVERY = timedelta(minutes=5)
#: The interval and two before it; nothing, which is no limit, in the first look of an hour.
SINCE = (
    f"{{{{ (data_interval_start - macros.timedelta(seconds={2 * EVERY.seconds})) | ts "
    f"if data_interval_end.minute * 60 >= {EVERY.seconds} else '' }}}}"
)

with DAG(
    "watch_landing",
    description="Starts ingest_audio when files wait in landing",
    doc_md="""
    ### What it does
    **look**: one listing of `s3://landing`, compared with the ledger. When files that landed in the last fifteen
    minutes have no outcome yet, `ingest_audio` starts, or starts once more when its run is over, and takes all that
    waits; else the task is skipped, and nothing else runs. So two looks that fail hide no file. The first look of each
    hour is at all that ever landed: for what an ingest that was killed has left, and what is more than a run takes.

    ### When something fails
    The next look is in five minutes; nothing is lost meanwhile. Paused, files wait for the daily run of `ingest_audio`.
    A file that never gets an outcome (a defect of ours, a name that can't be asked for) starts it three times and then
    once an hour: mend or remove what `wavehouse ingest list` shows.
    """,
    schedule=at(f"*/{EVERY.seconds // 60} * * * *", EVERY),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "owner": "catalog", "retries": 1, "execution_timeout": timedelta(minutes=10)},
    tags=["audio", "catalog", "bronze"],
) as dag:
    wavehouse_task(
        "look", ["ingest", "list", "--max-batches", "1", "--landed-since", SINCE, "--skip-when-none"], outlets=[LANDED]
    )
