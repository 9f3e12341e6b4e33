"""What new recordings sound like: computed with Spark, audited, published, copied online; and their genre and mood."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG
from common import AUDIO_FEATURES, CATALOG, DEFAULT_ARGS, wavehouse_task

TABLE, HISTORY = "silver_audit.audio_features", "silver_audit.audio_features_history"
LABELS = "silver_audit.track_labels"

with DAG(
    "extract_features",
    description="Audio features of new recordings, in the lake and in the online feature store",
    doc_md="""
    ### What it does
    1. **extract**: Spark over the recordings that have no features of the current extractor version: tempo, key,
       loudness, timbre, each with its confidence, into `silver_audit.audio_features`. Recordings that fail are listed
       by `wavehouse features failures` and do not hold up the others.
    2. **audit**: the expectations of the table. A failure stops here: what was published stays published.
    3. **publish**: `silver.audio_features` shows the audited snapshot.
    4. **record**, **audit_history**, **publish_history**: since when readers have which features of a track, for joins
       at a moment of the past (`silver.audio_features_history`). **publish_online**: the newest to Redis,
       `features:track_audio:<track_id>`.
    5. **predict**: genre and mood of the new recordings by the models in use (`wavehouse features models`); without a
       model the genre is the tag's, and says so. **audit_labels** and **publish_labels**: as 2 and 3, for
       `silver.track_labels`.

    ### When something fails
    Clear the task. `extract` goes on where it stopped; its log is named in the message. A failed audit names the
    expectation and the observed value.
    """,
    schedule=[CATALOG],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "owner": "audio"},
    tags=["audio", "features", "silver"],
) as dag:
    published = (
        wavehouse_task("extract", ["features", "extract"], pool="spark")
        >> wavehouse_task("audit", ["audit", TABLE])
        >> wavehouse_task("publish", ["publish", TABLE], outlets=[AUDIO_FEATURES])
    )
    (
        published
        >> wavehouse_task("record", ["features", "record"])
        >> wavehouse_task("audit_history", ["audit", HISTORY])
        >> wavehouse_task("publish_history", ["publish", HISTORY])
        >> wavehouse_task("publish_online", ["features", "materialize", "--views", "track_audio"])
    )
    (
        published
        >> wavehouse_task("predict", ["features", "predict"])
        >> wavehouse_task("audit_labels", ["audit", LABELS])
        >> wavehouse_task("publish_labels", ["publish", LABELS])
    )
