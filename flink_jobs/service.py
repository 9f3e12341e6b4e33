"""The service that keeps the stream job running: `wavehouse stream run`.

Flink itself restarts the job's tasks. What a session cluster does not survive is the death of its job manager: the new
one knows no job. This service then submits the job again from the newest completed checkpoint, which holds the Kafka
offsets, the state and the files Iceberg has not committed yet, so that nothing is lost or written twice.

It holds no state of its own and may be killed at any moment. The id of a submission is made from the checkpoint it
starts from, and the cluster takes an id once: two submissions of the same continuation cannot both succeed.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flink_jobs import statements
from lakehouse.adapters import kafka, lake
from lakehouse.adapters.flink import FlinkClient, Job
from lakehouse.config.settings import Settings
from lakehouse.contracts import DEAD_LETTERS, EVENT_TOPICS
from lakehouse.errors import FatalError, RetryableError

POLL_SECONDS = 2.0
#: The pause after a submission doubles up to this, until the job is seen running.
MAX_PAUSE_SECONDS = 60.0
#: Names the program a checkpoint belongs to, beside the checkpoints.
PROGRAM_FILE = "program.sha256"
SINK_TABLES = tuple(f"bronze.{name}" for name in (*EVENT_TOPICS, DEAD_LETTERS))
TOPICS = (*EVENT_TOPICS, DEAD_LETTERS, *(window.name for window in statements.WINDOWS))


def run(settings: Settings, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Keep the job running until `stop` is set; the job itself goes on then. `say` takes a line when something changes.

    Engines that are away and refusals of the cluster are waited out.

    Raises:
        FatalError: another `stream run` is at work, two jobs run, the functions are not compiled, or the checkpoints
            belong to another version of the job.
    """
    checkpoint_folder(settings).mkdir(parents=True, exist_ok=True)
    said, attempts = "", 0
    with only_one(settings.run / "flink-job.lock"), FlinkClient(settings.flink.http) as flink:
        while not stop.is_set():
            pause = POLL_SECONDS
            try:
                jobs = flink.jobs(statements.JOB_NAME)
                if job := only_active(jobs):
                    line = state_of(flink, job)
                    attempts = 0 if job.state == "RUNNING" else attempts
                else:
                    await_ready(settings, flink)
                    # A job that fails at once is not submitted again and again at full speed.
                    pause = min(POLL_SECONDS * 2**attempts, MAX_PAUSE_SECONDS)
                    attempts += 1
                    line = submit(settings, flink, jobs)
            except RetryableError as error:
                line = error.message
            if line != said:
                say(line)
                said = line
            stop.wait(pause)


def only_active(jobs: list[Job]) -> Job | None:
    """The job that has not ended, if there is one.

    Raises:
        FatalError: there are several.
    """
    active = [job for job in jobs if not job.ended]
    if len(active) > 1:
        raise FatalError(
            f"Flink runs {len(active)} jobs called {statements.JOB_NAME}: {', '.join(job.id for job in active)}.",
            hint="Cancel all but the oldest in Flink's page: two of them write everything twice.",
        )
    return active[0] if active else None


def submit(settings: Settings, flink: FlinkClient, ended: list[Job]) -> str:
    """Start the job from its newest checkpoint; `ended` are its jobs that the cluster remembers. Returns what was done.

    Raises:
        RetryableError: the cluster does not answer or refuses the job.
        FatalError: as in `run`.
    """
    folder = checkpoint_folder(settings)
    checkpoint = newest_checkpoint(folder)
    same_program(folder, fingerprint(settings), starts_empty=checkpoint is None)
    flink.submit(
        job_id=submission_id(checkpoint, {job.id for job in ended}),
        jar=functions_jar(settings),
        main_class=statements.MAIN_CLASS,
        arguments=statements.render(settings),
        configuration=statements.configuration(settings),
        checkpoint=checkpoint.as_uri() if checkpoint else None,
    )
    last = f" (the last one is {ended[-1].state}: {flink.root_cause(ended[-1].id)})" if ended else ""
    return f"submitted from {checkpoint.relative_to(folder) if checkpoint else 'the beginning of the topics'}{last}"


def state_of(flink: FlinkClient, job: Job) -> str:
    """A line about a job that is there; the cause, if it is not at work."""
    if job.state == "RUNNING" and job.running_tasks == job.tasks:
        return f"running as {job.id}"
    cause = flink.root_cause(job.id)
    return f"{job.state.lower()} as {job.id}" + (f": {cause}" if cause else "")


def await_ready(settings: Settings, flink: FlinkClient) -> None:
    """Everything the job needs is there.

    Raises:
        RetryableError: something is missing or does not answer yet.
    """
    catalog = lake.catalog(settings)
    try:
        missing = [table for table in SINK_TABLES if not catalog.table_exists(table)]
    except Exception as error:  # whatever driver error a database in the middle of its start leads to
        raise RetryableError(f"The lake's catalogue is not ready: {error!r:.200}", hint=lake_hint()) from error
    if missing:
        raise RetryableError(f"Waiting for the tables {', '.join(missing)}.", hint="`wavehouse lake init` makes them.")
    known = kafka.topic_ids(settings, TOPICS)
    if absent := [topic for topic in TOPICS if topic not in known]:
        raise RetryableError(f"Waiting for the topics {', '.join(absent)}.", hint="`wavehouse events init` makes them.")
    if not flink.free_slots():
        raise RetryableError("Waiting for a task manager.", hint="See `wavehouse logs flink-taskmanager`.")


def lake_hint() -> str:
    """What to do when the catalogue's database is away."""
    return "Start it with `wavehouse up --only lake`; see `wavehouse logs postgres`."


def checkpoint_folder(settings: Settings) -> Path:
    """Folder of the checkpoints of all runs: <run>/chk-<number>."""
    return settings.data / "flink" / "checkpoints"


def newest_checkpoint(folder: Path) -> Path | None:
    """The completed checkpoint with the highest number, or None.

    Numbers go on from run to run, and a checkpoint is complete when its `_metadata` is there (Flink writes it last). An
    older one must never be taken: Iceberg has committed the files of the newest.
    """
    completed = [found.parent for found in folder.glob("*/chk-*/_metadata")]
    return max(completed, key=lambda path: int(path.name.removeprefix("chk-")), default=None)


def submission_id(checkpoint: Path | None, used: set[str]) -> str:
    """Id (32 hex digits) of the next submission from `checkpoint`: the first of its series that is not in `used`."""
    base = f"{checkpoint.parent.name}/{checkpoint.name}" if checkpoint else "start"
    attempt = 0
    while (made := hashlib.md5(f"{base}#{attempt}".encode(), usedforsecurity=False).hexdigest()) in used:
        attempt += 1
    return made


def fingerprint(settings: Settings) -> str:
    """Hash of what the job computes: its statements without addresses, passwords and descriptions of columns."""
    text = "\n".join(
        s for s in statements.render(settings) if not s.startswith(("CREATE CATALOG", "CREATE TEMPORARY TABLE"))
    )
    text = text.replace(settings.registry.http, "")
    return hashlib.sha256(re.sub(r'"doc": "(?:[^"\\]|\\.)*"', "", text).encode()).hexdigest()


def same_program(folder: Path, program: str, *, starts_empty: bool) -> None:
    """Note the program of a first start; later, refuse checkpoints of another one.

    Raises:
        FatalError: the state in the checkpoint was computed by other rules than the job has now.
    """
    noted = folder / PROGRAM_FILE
    if starts_empty or not noted.is_file():
        noted.write_text(program)
    elif noted.read_text() != program:
        raise FatalError(
            "The stream job has changed since its checkpoint was made.",
            hint="Its running totals follow the old rules. docs/runbooks/stream-job.md says what to do.",
        )


def functions_jar(settings: Settings) -> Path:
    """The compiled flink_jobs/java that `wavehouse up` has put among the cluster's libraries.

    Raises:
        FatalError: it is not there.
    """
    jars = list((settings.run / "flink-lib").glob("wavehouse-flink-functions-*.jar"))
    if len(jars) != 1:
        raise FatalError("The functions of the stream job are not compiled.", hint="Run `wavehouse up`.")
    return jars[0]


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold a lock for as long as the process lives.

    Raises:
        FatalError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FatalError(
                "Another `wavehouse stream run` is at work.", hint="Leave it; `wavehouse status` shows it."
            ) from error
        yield
