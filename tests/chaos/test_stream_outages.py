"""Outages that last: the registry stands still, the disks below the lake and ClickHouse are full. The stream waits, and
afterwards everything equals the oracle.
"""

from __future__ import annotations

import itertools
import os
import resource
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from minio import MinioAdmin
from minio.credentials import StaticProvider

from flink_jobs.statements import JOB_NAME
from lakehouse.adapters import lake, window_loader
from lakehouse.adapters.flink import FlinkClient
from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import Settings
from lakehouse.contracts import EVENT_TOPICS
from tests.chaos.conftest import Victim
from tests.chaos.crowd import crowd, send_first
from tests.chaos.test_stream_faults import assert_exact, await_checkpoint

pytestmark = [
    pytest.mark.stack,
    pytest.mark.chaos,
    pytest.mark.skipif(os.environ.get("WAVEHOUSE_CHAOS_SEEDS", "0") == "0", reason="part of the long run: SEEDS=1"),
]

EVENTS = 3_000
LAKE = "lake"


def until(met: Callable[[], Any], what: str, *, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.2)


def test_a_registry_that_stands_still_holds_the_job_up_and_rejects_nothing(victim: Victim) -> None:
    settings = victim.settings
    number = await_checkpoint(settings, after=0)
    pids = victim.pids()
    still = [psutil.Process(pids["registry"]), *psutil.Process(pids["registry"]).children(recursive=True)]
    with EventProducer(settings) as to:
        for topic in EVENT_TOPICS:
            to.batch_encoder(topic)  # the producer knows its schemas; the new task manager does not
        for process in still:
            process.suspend()
        try:
            victim.kill([pids["flink-taskmanager"]])
            for topic, event in itertools.islice(crowd(23), EVENTS):
                if isinstance(event, dict):
                    to.send(topic, event)
            until(lambda: "HttpTimeout" in failure(settings), "the job fails for want of the registry")
        finally:
            for process in still:
                process.resume()
    victim.command("stream", "wait", "--timeout", "600")
    assert await_checkpoint(settings, after=number) > number
    assert_exact(settings)


def failure(settings: Settings) -> str:
    """Why the stream job failed last."""
    with FlinkClient(settings.flink.http) as flink:
        return flink.root_cause(flink.jobs(JOB_NAME)[-1].id)


def test_full_disks_below_the_lake_and_clickhouse_lose_nothing(victim: Victim) -> None:
    """MinIO has a quota that the bucket exceeds; ClickHouse's process may not write a byte to any file."""
    settings = victim.settings
    number, pids = await_checkpoint(settings, after=0), victim.pids()
    admin = MinioAdmin(
        endpoint=settings.s3.address,
        credentials=StaticProvider(settings.s3.root_user, settings.s3.root_password.get_secret_value()),
        region=settings.s3.region,
        secure=False,
    )
    rows = lake.row_count(settings, "bronze.plays")
    engine = psutil.Process(pids["clickhouse"])
    family = [engine, *engine.children(recursive=True)]
    admin.bucket_quota_set(bucket=LAKE, size=1)
    try:
        for process in family:
            process.rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        send_first(settings, 24, EVENTS)
        until(lambda: "uota" in failure(settings), "the lake refuses to be written to")
        until(lambda: refused(settings), "ClickHouse refuses to be written to")
        assert lake.row_count(settings, "bronze.plays") == rows
    finally:
        admin.bucket_quota_clear(bucket=LAKE)
        for process in family:
            process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    victim.command("stream", "wait", "--timeout", "600")
    assert await_checkpoint(settings, after=number) > number
    assert_exact(settings)
    assert victim.pids()["clickhouse"] == pids["clickhouse"], "ClickHouse outlives a full disk"
    assert victim.pids()["loader"] == pids["loader"], "the loader waits for room"


def refused(settings: Settings) -> bool:
    """Whether the live tables are behind the window topic."""
    return window_loader.pending(settings, limit=1)["play_minutes"].records > 0
