"""What the client of Airflow makes of its answers, without an Airflow."""

from __future__ import annotations

import httpx
import pytest

from lakehouse.adapters.airflow import AirflowClient, RunFailedError
from lakehouse.config.settings import Settings, load_settings
from lakehouse.errors import RetryableError


@pytest.fixture
def settings() -> Settings:
    return load_settings("local")


def airflow_with(busy: list[bool], started_after: int | None) -> httpx.MockTransport:
    """An Airflow whose consumer starts once it was asked `started_after` times; `busy` answers each look."""
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        path = request.url.path
        if path == "/auth/token":
            return httpx.Response(201, json={"access_token": "t"})
        if path == "/api/v2/assets/events":
            asked += 1
            runs = [{"dag_id": "consumer", "run_id": "r"}] if started_after and asked > started_after else []
            return httpx.Response(200, json={"asset_events": [{"asset_id": 1, "created_dagruns": runs}]})
        if path == "/api/v2/assets/1":
            return httpx.Response(200, json={"scheduled_dags": [{"dag_id": "consumer"}]})
        assert path == "/api/v2/dags/consumer/dagRuns"
        assert request.url.params.get_list("state") == ["queued", "running"]
        return httpx.Response(200, json={"dag_runs": [{}] if busy.pop(0) else []})

    return httpx.MockTransport(answer)


def test_a_consumer_that_is_at_work_is_waited_for(settings: Settings) -> None:
    client = AirflowClient(settings, transport=airflow_with([True, True], started_after=2))
    assert client.wait_started_by("run", timeout_s=0) == [("consumer", "r")]


def test_a_consumer_that_rests_and_starts_nothing_is_told(settings: Settings) -> None:
    client = AirflowClient(settings, transport=airflow_with([True, False], started_after=None))
    with pytest.raises(RetryableError, match="No DAG was started by the assets of run x"):
        client.wait_started_by("x", timeout_s=0)


def test_a_run_that_failed_says_where_and_has_the_address_of_the_log(settings: Settings) -> None:
    run = "manual__2026-11-01T12:00:00+00:00_1"
    states = {"silver": "success", "audit_silver": "failed", "publish": "upstream_failed"}

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/taskInstances"):
            tasks = [{"task_id": t, "state": s, "try_number": 2, "map_index": -1} for t, s in states.items()]
            return httpx.Response(200, json={"task_instances": tasks})
        if path.endswith("/taskInstances/audit_silver/logs/2"):
            return httpx.Response(200, json={"content": [{"event": "the end of the log"}]})
        return httpx.Response(200, json={"access_token": "t", "state": "failed"})

    client = AirflowClient(settings, transport=httpx.MockTransport(answer))
    with pytest.raises(RunFailedError, match=r"failed at audit_silver\.\nthe end of the log") as failed:
        client.wait("transform_plays", run)
    assert failed.value.tasks == ["audit_silver"]
    address = "/dags/transform_plays/runs/manual__2026-11-01T12%3A00%3A00%2B00%3A00_1/tasks/audit_silver"
    assert failed.value.log == settings.airflow.http + address
