"""Playback packages of what is streamed most, before anybody asks for them."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param
from common import DEFAULT_ARGS, at, wavehouse_task

with DAG(
    "package_popular",
    description="Playback packages of the most streamed tracks that have none",
    doc_md="""
    ### What it does
    **package**: the `tracks` most streamed tracks of the seven days up to yesterday (UTC), by `gold.streams_daily` as
    published, of those that have no HLS package yet and that somebody may play when the run begins. Each gets one, in
    clear, and is told in the log. Nothing was streamed, or all of it has its package: the task is skipped.

    It runs two hours after `transform_plays`; when gold is late, the six days before yesterday still count. Switch it
    on where tracks are played from packages.

    ### Run it by hand
    With `tracks`. A run that is repeated takes the next ones.

    ### When something fails
    Clear the task: what is made is made. A track that can't be packaged fails the task after the others are done; its
    line in the log says why, and it has its place among the `tracks` of every night until it is mended or taken down.
    """,
    schedule=at("0 6 * * *", timedelta(days=1)),
    catchup=False,
    max_active_runs=1,
    params={"tracks": Param(100, type="integer", minimum=1, maximum=1000, description="Packages to make at most")},
    # Encoding keeps a core busy for as long as so many tracks take, whole concerts among them.
    default_args={**DEFAULT_ARGS, "owner": "audio", "execution_timeout": timedelta(hours=8)},
    tags=["audio", "playback"],
) as dag:
    wavehouse_task(
        "package",
        [
            "package",
            "--missing",
            "--popular",
            "{{ params['tracks'] }}",
            "--until",
            "{{ data_interval_start | ds }}",
            "--on",
            "{{ data_interval_end | ts }}",
            "--skip-when-none",
        ],
        pool="ingest",
    )
