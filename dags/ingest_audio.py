"""Audio files from landing into the catalogue, in parallel batches, and the catalogue's copy in the lake."""

from __future__ import annotations

import json
from datetime import timedelta

from airflow.sdk import DAG
from common import CATALOG, DEFAULT_ARGS, LANDED, at, wavehouse_mapped, wavehouse_task


def batches(last_line: str) -> list[dict[str, str]]:
    """The environment of each batch's task, from what `wavehouse ingest list` prints."""
    return [{"WAVEHOUSE_INGEST_KEYS": json.dumps(batch)} for batch in json.loads(last_line)["batches"]]


with DAG(
    "ingest_audio",
    description="Audio files from landing into the catalogue or into quarantine",
    doc_md="""
    It starts when `watch_landing` has seen files that wait, and once a day for what came some other way (releases and
    podcasts, which the service `deliveries` takes in, for the copy in the lake). What lands during a run has the next.

    ### What it does
    1. **list**: files in `s3://landing` that have no outcome yet, in batches. Releases below `deliveries/`, and
       pictures, lyrics and links beside audio, belong to others and are not taken one by one.
    2. **ingest**: one task a batch, as many at once as the pool `ingest` has slots: one for each core. Each file is
       decoded to its end and checked (format, length, checksums, tags, ISRC). Good files go to `s3://audio/<sha256>`
       and into the catalogue; others are kept in quarantine under a reason code (`wavehouse ingest reasons` explains
       them); the same audio under a second name is a duplicate.
    3. **copy_catalog_to_lake**: the catalogue to `bronze.catalog_content`; no commit when nothing changed.
    4. **reconcile**: in = accepted + duplicate + rejected, and ledger, catalogue and store agree; else it fails.
    5. **announce_new_audio**: starts `extract_features` when recordings wait for features, else skipped.

    ### When something fails
    Every task may be cleared and run again at any time: a file with an outcome is never processed twice.
    `wavehouse ingest report` shows what was refused and why. Mend the file, upload it again, run the DAG.
    """,
    schedule=at("0 4 * * *", timedelta(days=1), or_after=[LANDED]),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "owner": "catalog"},
    tags=["audio", "catalog", "bronze"],
) as dag:
    waiting = wavehouse_task("list", ["ingest", "list", "--batch-size", "12"], output_processor=batches)
    ingest = wavehouse_mapped("ingest", ["ingest", "batch"], env=waiting.output, pool="ingest")
    # Also without new files: an earlier run may have stopped before its copy.
    copy = wavehouse_task("copy_catalog_to_lake", ["catalog", "snapshot"], trigger_rule="none_failed")
    reconcile = wavehouse_task("reconcile", ["ingest", "report"])
    announce = wavehouse_task("announce_new_audio", ["features", "pending", "--skip-when-none"], outlets=[CATALOG])
    ingest >> copy >> reconcile >> announce
