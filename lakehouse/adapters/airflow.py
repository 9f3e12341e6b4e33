"""Airflow over its public REST API (v2): start a run, follow it, find the runs its assets started."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random_exponential

from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError, RetryableError

ENDED = ("success", "failed")
#: How long a request is repeated while the API server, or the database behind it, comes back.
PATIENCE_S = 300


class RunFailedError(FatalError):
    """A run failed at `tasks` (ids). `log` is the address of the first one's log; the message ends with its end."""

    def __init__(self, message: str, *, hint: str, tasks: Sequence[str], log: str) -> None:
        super().__init__(message, hint=hint)
        self.tasks = tasks
        self.log = log


class AirflowClient:
    """One signed-in session with the API server."""

    def __init__(self, settings: Settings, *, transport: httpx.BaseTransport | None = None) -> None:
        self._endpoint = settings.airflow
        self._http = httpx.Client(base_url=settings.airflow.http, timeout=60, transport=transport)
        self._sign_in()

    def _sign_in(self) -> None:
        self._http.headers.pop("Authorization", None)
        answer = self._request(
            "POST",
            "/auth/token",
            json={"username": self._endpoint.admin_user, "password": self._endpoint.admin_password.get_secret_value()},
        )
        self._http.headers["Authorization"] = f"Bearer {answer['access_token']}"

    @retry(
        retry=retry_if_exception_type(RetryableError),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_random_exponential(max=5),
        reraise=True,
    )
    def _request(self, method: str, path: str, *, accept: tuple[int, ...] = (), **kwargs: Any) -> dict[str, Any]:
        """The answer to a request that may safely be sent twice.

        Raises:
            RetryableError: Airflow did not answer for `PATIENCE_S` seconds, or only with errors of its own.
            FatalError: it refused the request.
        """
        hint = "`wavehouse status` shows whether it runs; `wavehouse logs airflow-api-server` says why not."
        try:
            response = self._http.request(method, path, **kwargs)
            if response.status_code == httpx.codes.UNAUTHORIZED and "Authorization" in self._http.headers:
                self._sign_in()  # the token lives for a day; a long wait may outlive it
                response = self._http.request(method, path, **kwargs)
        except httpx.TransportError as error:
            raise RetryableError(f"Airflow at {self._endpoint.address} does not answer: {error}.", hint=hint) from error
        if response.is_server_error:
            raise RetryableError(f"Airflow failed at {method} {path}: {response.status_code}.", hint=hint)
        if response.is_error and response.status_code not in accept:
            raise FatalError(f"Airflow refused {method} {path}: {response.status_code} {response.text[:300]}")
        return dict(response.json())

    def dags(self) -> list[dict[str, Any]]:
        """All DAGs that parsed, as the API describes them, by id."""
        found = self._request("GET", "/api/v2/dags", params={"limit": 200})["dags"]
        return sorted(found, key=lambda dag: str(dag["dag_id"]))

    def dag_ids(self) -> list[str]:
        """Ids of all DAGs that parsed."""
        return [dag["dag_id"] for dag in self.dags()]

    def documentation(self, dag_id: str) -> str:
        """The Markdown that a DAG shows in the UI."""
        return str(self._request("GET", f"/api/v2/dags/{dag_id}/details")["doc_md"] or "")

    def states(self, dag_id: str) -> list[str]:
        """States of the DAG's runs, oldest first."""
        runs = self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={"order_by": "run_after", "limit": 100})
        return [run["state"] for run in runs["dag_runs"]]

    def import_errors(self) -> list[str]:
        """Messages of DAG files that did not parse."""
        found = self._request("GET", "/api/v2/importErrors")["import_errors"]
        return [f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in found]

    def unpause(self, dag_id: str, *, timeout_s: float = 180) -> None:
        """Let `dag_id` run; waits until the DAG processor has parsed it.

        Raises:
            RetryableError: the DAG did not appear in time; names the import errors if there are any.
        """
        deadline = time.monotonic() + timeout_s
        while dag_id not in self.dag_ids():
            if time.monotonic() > deadline:
                errors = "; ".join(self.import_errors()) or "none"
                raise RetryableError(f"The DAG '{dag_id}' did not appear. Import errors: {errors}.")
            time.sleep(1)
        self._request("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run with parameters `conf`; returns its run id."""
        self.unpause(dag_id)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        # Given, not received: sending it again after an answer that was lost must not start a second run.
        run_id = f"manual__{now}_{uuid4().hex[:8]}"
        run = {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}}
        self._request("POST", f"/api/v2/dags/{dag_id}/dagRuns", accept=(httpx.codes.CONFLICT,), json=run)
        return run_id

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run: task_id, map_index, state, duration (seconds)."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self._request("GET", path, params={"limit": 500})["task_instances"])

    def log_tail(self, dag_id: str, run_id: str, task: dict[str, Any], *, lines: int = 15) -> list[str]:
        """The last lines a task wrote in its last try."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
        content = self._request("GET", path, params={"map_index": task["map_index"], "full_content": True})["content"]
        return [str(line.get("event", line)) if isinstance(line, dict) else str(line) for line in content][-lines:]

    def wait(
        self, dag_id: str, run_id: str, *, timeout_s: float = 3600, progress: Callable[[str], None] = lambda _: None
    ) -> str:
        """Follow a run to its end and return `success`.

        Raises:
            RunFailedError: the run failed; the message names the tasks and the end of the first one's log.
            RetryableError: it did not end within `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        shown = ""
        while True:
            state = self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"]
            tasks = self.tasks(dag_id, run_id)
            done = sum(t["state"] in ("success", "skipped") for t in tasks)
            running = sorted({t["task_id"] for t in tasks if t["state"] == "running"})
            line = f"{dag_id}: {done}/{len(tasks)} tasks" + (f", running {', '.join(running)}" if running else "")
            if line != shown:
                progress(line)
                shown = line
            if state in ENDED:
                break
            if time.monotonic() > deadline:
                raise RetryableError(
                    f"{dag_id} run {run_id} did not end within {timeout_s:.0f} s.", hint=f"See {self._endpoint.http}."
                )
            time.sleep(1.5)
        if state == "failed":
            failed = [t for t in tasks if t["state"] == "failed"]
            tail = "\n".join(self.log_tail(dag_id, run_id, failed[0])) if failed else ""
            names = [t["task_id"] for t in failed]
            at = f"{self._endpoint.http}/dags/{dag_id}"
            log = f"{at}/runs/{quote(run_id, safe='')}" + (f"/tasks/{names[0]}" if names else "")
            raise RunFailedError(
                f"{dag_id} run {run_id} failed at {', '.join(names) or 'no task'}.\n{tail}",
                hint=f"Open {at}.",
                tasks=names,
                log=log,
            )
        return str(state)

    def question(self, dag_id: str, run_id: str, *, timeout_s: float = 600) -> dict[str, Any]:
        """What a run asks a person (task_id, subject, body in Markdown, options); waits until it asks.

        Raises:
            FatalError: the run ended without asking.
            RetryableError: it did not ask within `timeout_s` seconds.
        """
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self._request("GET", path)["state"] in ENDED
            for detail in self._request("GET", f"{path}/hitlDetails")["hitl_details"]:
                if not detail["response_received"]:
                    asked = ("subject", "body", "options")
                    return {"task_id": detail["task_instance"]["task_id"]} | {name: detail[name] for name in asked}
            if ended:
                raise FatalError(f"{dag_id} run {run_id} ended without a question.", hint="Look at its tasks' logs.")
            if time.monotonic() > deadline:
                raise RetryableError(f"{dag_id} run {run_id} did not ask within {timeout_s:.0f} s.")
            time.sleep(1)

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> str:
        """Answer the question of a task, as the user who is signed in; returns that user's name.

        Raises:
            FatalError: it was answered before, or `option` is none of its options.
        """
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        answer = {"chosen_options": [option], "params_input": {}}
        return str(self._request("PATCH", path, json=answer)["responded_by"]["name"])

    def wait_started_by(self, run_id: str, *, timeout_s: float = 120) -> list[tuple[str, str]]:
        """(dag id, run id) of the runs that the asset events of `run_id` started; empty when it emitted none.

        A DAG that still works at earlier events starts its next run after that: meanwhile this waits.

        Raises:
            RetryableError: events were emitted, but for `timeout_s` seconds nothing was started and nobody was at work.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            events = self._request("GET", "/api/v2/assets/events", params={"source_run_id": run_id})["asset_events"]
            runs = sorted({(run["dag_id"], run["run_id"]) for event in events for run in event["created_dagruns"]})
            if runs or not events:
                return runs
            if time.monotonic() > deadline:
                if not any(self._is_taken_in({event["asset_id"] for event in events})):
                    raise RetryableError(
                        f"No DAG was started by the assets of run {run_id}.", hint="Are its consumers paused?"
                    )
                deadline = time.monotonic() + timeout_s
            time.sleep(1)

    def _is_taken_in(self, asset_ids: Iterable[int]) -> Iterator[bool]:
        """Of each DAG that these assets start, whether a run of it is at work."""
        for asset_id in asset_ids:
            for dag in self._request("GET", f"/api/v2/assets/{asset_id}")["scheduled_dags"]:
                at_work = {"state": ["queued", "running"], "limit": 1}
                path = f"/api/v2/dags/{dag['dag_id']}/dagRuns"
                yield bool(self._request("GET", path, params=at_work)["dag_runs"])
