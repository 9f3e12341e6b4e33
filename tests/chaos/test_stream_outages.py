"""Outages that last: the registry stands still, the disks below the lake and ClickHouse are full. The stream waits, and
afterwards everything equals the oracle.
"""

from __future__ import annotations

import itertools
import re
import resource
import time

import psutil
import pytest
from minio import MinioAdmin
from minio.credentials import StaticProvider

from flink_jobs.statements import JOB_NAME
from infra.local.supervise import log_file
from lakehouse.adapters import lake
from lakehouse.adapters.clickhouse import LiveCounts
from lakehouse.adapters.flink import FlinkClient
from lakehouse.config.settings import Settings
from tests.chaos.conftest import AWAY_S, Victim, long_run
from tests.chaos.crowd import crowd
from tests.chaos.exactness import assert_exact, assert_silver_and_days
from tests.chaos.test_stream_faults import await_checkpoint
from tests.chaos.truth import Truth
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.chaos, long_run]

EVENTS = 3_000
LAKE = "lake"
#: ClickHouse's errors of a full disk: can't write to a file, can't close one, no space.
FULL = re.compile(r"ClickHouse at \S+ does not answer: .*\bcode: (75|77|243)\b.* Trying again in")


def test_a_registry_that_stands_still_holds_the_job_up_and_rejects_nothing_for_it(victim: Victim, truth: Truth) -> None:
    settings = victim.settings
    number = await_checkpoint(settings, after=0)
    pids = victim.pids()
    still = [psutil.Process(pids["registry"]), *psutil.Process(pids["registry"]).children(recursive=True)]
    # The producer knows its schemas; the new task manager does not.
    began = time.time()
    with truth.sending(settings) as to:
        for process in still:
            process.suspend()
        try:
            victim.kill([pids["flink-taskmanager"]])
            for topic, event in itertools.islice(crowd(23), EVENTS):
                to.send(topic, event)
            until(
                lambda: "HttpTimeout" in failure(settings, began),
                "the job fails for want of the registry",
                seconds=AWAY_S,
            )
        finally:
            for process in still:
                process.resume()
    victim.command("stream", "wait", "--timeout", "600")
    assert await_checkpoint(settings, after=number) > number
    assert_exact(settings, truth)
    assert_silver_and_days(victim, truth)


def failure(settings: Settings, since: float) -> str:
    """Why the stream job failed last; "" when it has not failed since that moment [s since 1970]."""
    with FlinkClient(settings.flink.http) as flink:
        return flink.root_cause(flink.jobs(JOB_NAME)[-1].id, since=since)


def test_full_disks_below_the_lake_and_clickhouse_lose_nothing(victim: Victim, truth: Truth) -> None:
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
    said, began = log_file(settings, "loader").stat().st_size, time.time()
    engine = psutil.Process(pids["clickhouse"])
    family = [engine, *engine.children(recursive=True)]
    counts = LiveCounts(settings)
    admin.bucket_quota_set(bucket=LAKE, size=1)
    try:
        for process in family:
            process.rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        loaded = counts.state().offsets
        with truth.sending(settings) as to:
            for topic, event in itertools.islice(crowd(24), EVENTS):
                to.send(topic, event)
        until(lambda: "uota" in failure(settings, began), "the lake refuses to be written to", seconds=AWAY_S)
        until(lambda: refused(settings, said), "ClickHouse refuses the loader's rows", seconds=AWAY_S)
        assert lake.row_count(settings, "bronze.plays") == rows
        assert counts.state().offsets == loaded
    finally:
        admin.bucket_quota_clear(bucket=LAKE)
        for process in family:
            process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        counts.close()
    victim.command("stream", "wait", "--timeout", "600")
    assert await_checkpoint(settings, after=number) > number
    assert_exact(settings, truth)
    assert victim.pids()["clickhouse"] == pids["clickhouse"], "ClickHouse outlives a full disk"
    assert victim.pids()["loader"] == pids["loader"], "the loader waits for room"
    assert_silver_and_days(victim, truth)


def refused(settings: Settings, after: int) -> bool:
    """Whether the loader's log says behind byte `after` that ClickHouse had no room for its rows. That the live tables
    are behind their topic would not do: they are at any moment, by what is under way.
    """
    with log_file(settings, "loader").open("rb") as log:
        log.seek(after)
        return FULL.search(log.read().decode(errors="replace")) is not None
