"""Flink over its REST API: jobs of a session cluster, their submission, state and checkpoints.

https://nightlies.apache.org/flink/flink-docs-release-2.3/docs/ops/rest_api/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from lakehouse.errors import RetryableError

#: States from which a job never comes back by itself.
ENDED = frozenset({"CANCELED", "FAILED", "FINISHED"})
HINT = "`wavehouse status` shows whether Flink runs; `wavehouse logs flink-jobmanager` says why not."
#: Planning the job takes seconds, minutes on a busy machine.
SUBMIT_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Job:
    """A job as the cluster lists it. `started_ms` is since 1970 in UTC; `running_tasks` of `tasks` have started."""

    id: str
    name: str
    state: str
    started_ms: int
    running_tasks: int
    tasks: int

    @property
    def ended(self) -> bool:
        """Whether it will never run again."""
        return self.state in ENDED


@dataclass(frozen=True)
class Checkpoints:
    """Counts since the job was submitted, and the newest completed checkpoint (0 and 0 when there is none)."""

    completed: int
    failed: int
    restored: int
    newest_id: int
    newest_bytes: int


class FlinkClient:
    """Client of one session cluster. Every method raises RetryableError when the job manager does not answer."""

    def __init__(
        self, url: str, *, timeout_seconds: float = 10.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        """`url` is `settings.flink.http`."""
        self._http = httpx.Client(base_url=url, timeout=timeout_seconds, transport=transport, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def free_slots(self) -> int:
        """Task slots that no job has."""
        return int(self._get("/overview")["slots-available"])

    def jobs(self, name: str) -> list[Job]:
        """Jobs called `name` that the job manager knows, ended ones too, oldest first."""
        found = [
            Job(j["jid"], j["name"], j["state"], j["start-time"], j["tasks"]["running"], j["tasks"]["total"])
            for j in self._get("/jobs/overview")["jobs"]
            if j["name"] == name
        ]
        return sorted(found, key=lambda job: job.started_ms)

    def checkpoints(self, job_id: str) -> Checkpoints:
        """State of the checkpoints of a job."""
        answer = self._get(f"/jobs/{job_id}/checkpoints")
        newest = answer["latest"]["completed"] or {}
        counts = answer["counts"]
        return Checkpoints(
            completed=counts["completed"],
            failed=counts["failed"],
            restored=counts["restored"],
            newest_id=newest.get("id", 0),
            newest_bytes=newest.get("state_size", 0),
        )

    def root_cause(self, job_id: str, *, since: float = 0) -> str:
        """First line of the innermost cause of the job's latest failure; empty when that came before the moment `since`
        [s since 1970], or never.
        """
        entries = self._get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        if not entries or entries[0]["timestamp"] < since * 1000:
            return ""
        return innermost_cause(entries[0]["stacktrace"])

    def cancel(self, job_id: str) -> None:
        """Ask the job to stop; its retained checkpoint stays."""
        self._call("PATCH", f"/jobs/{job_id}", params={"mode": "cancel"})

    def submit(
        self,
        *,
        job_id: str,
        jar: Path,
        main_class: str,
        arguments: Sequence[str],
        configuration: Mapping[str, str],
        checkpoint: str | None,
    ) -> None:
        """Start a job, from `checkpoint` (a URI, which the job then owns) or from nothing.

        `job_id` (32 hex digits) makes it safe to repeat: the cluster takes an id once.

        Raises:
            RetryableError: the cluster does not answer, has or had a job of this id, or refuses it: also an engine that
                is away while the job is planned makes it refuse. The message holds the innermost cause.
        """
        with jar.open("rb") as content:
            uploaded = self._call(
                "POST", "/jars/upload", files={"jarfile": (jar.name, content, "application/x-java-archive")}
            )
        jar_id = Path(uploaded.json()["filename"]).name
        body: dict[str, Any] = {
            "jobId": job_id,
            "entryClass": main_class,
            "programArgsList": list(arguments),
            "flinkConfiguration": dict(configuration),
        }
        if checkpoint is not None:
            body |= {"savepointPath": checkpoint, "claimMode": "CLAIM", "allowNonRestoredState": False}
        try:
            answer = self._http.post(f"/jars/{jar_id}/run", json=body, timeout=SUBMIT_TIMEOUT_S)
        except httpx.TransportError as error:
            raise RetryableError(f"Flink went away while it took the job: {error}.", hint=HINT) from error
        finally:
            self._delete(f"/jars/{jar_id}")
        if answer.is_error:
            trace = _errors(answer)
            raise RetryableError(f"Flink does not take the job: {innermost_cause(trace)}", hint=HINT)

    def _delete(self, path: str) -> None:
        """Tidy up; a leftover is the cluster's temporary file and does no harm."""
        try:
            self._http.delete(path)
        except httpx.TransportError:
            return

    def _get(self, path: str) -> Any:
        return self._call("GET", path).json()

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise RetryableError(f"Flink at {self._http.base_url} does not answer.", hint=HINT) from error
        if response.is_error:
            # Also a job manager that is still starting: it answers 404 and 503 for a moment.
            raise RetryableError(f"Flink answered {response.status_code} to {method} {path}.", hint=HINT)
        return response


def _errors(answer: httpx.Response) -> str:
    """The cluster's own error texts; of anything between us and the cluster, what it says."""
    try:
        return "\n".join(answer.json()["errors"])
    except (ValueError, LookupError, TypeError):
        return answer.text


def innermost_cause(trace: str) -> str:
    """The last `Caused by:` of a Java stack trace in one line, else its first line."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines or [""])[-1 if causes else 0][:500]
