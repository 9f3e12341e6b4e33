"""`wavehouse demo`: the main job from audio files and plays to royalties, Wrapped and live counts.

Every step is a command or a DAG that a user can run alone; the demo only puts them in order, follows them and shows
the time each took. Steps are idempotent, so an interrupted demo is simply started again.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli.options import Period
from lakehouse.cli.output import Output
from lakehouse.config.settings import Settings, load_settings
from lakehouse.errors import FatalError, RetryableError

if TYPE_CHECKING:
    from lakehouse.adapters.airflow import AirflowClient
    from lakehouse.adapters.audit import Finding, Verdict

app = typer.Typer()

END = date(2026, 10, 31)
LAST_MONTH = END.isoformat()[:7]

#: In the order the demo meets them; unpaused first, so that the assets of one can start another.
DAGS = ("ingest_audio", "extract_features", "transform_plays", "maintain_tables")
#: Starts the first of them once the demo has left the stack to its user.
WATCH = "watch_landing"

#: Tasks of transform_plays that refuse what is wrong.
AUDITS = frozenset(("audit_silver", "audit_gold"))

#: Seconds before a step is tried again while an engine is away; a service that died is back within a minute.
PAUSES = (5, 15, 30, 60)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the demo's lock; the kernel frees it however the process ends.

    Raises:
        FatalError: another demo of this installation holds it.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    path = settings.home / "demo.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise FatalError(
                f"Another `make demo` is running here (process {lock.read().strip() or 'unknown'}).",
                hint="Wait for it to end, or stop it with Ctrl-C in its terminal; nothing was changed.",
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


class Steps:
    """Runs steps one after the other and keeps the wall seconds each took."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step and time it."""
        self._out.step(title)
        started = time.monotonic()
        yield
        self.seconds[title] = round(time.monotonic() - started, 1)

    def command(self, *arguments: str) -> None:
        """Run `wavehouse ARGUMENTS` as a step; its own output is shown. What failed in passing is tried again.

        Raises:
            FatalError: it failed; the demo stops there.
        """
        command = [str(Path(sys.executable).with_name("wavehouse")), *arguments]
        with self.step("wavehouse " + " ".join(arguments)):
            code = self._run(command)
            for pause in PAUSES:
                if code != RetryableError.exit_code:
                    break
                self._out.info(f"    trying again in {pause} s")
                time.sleep(pause)
                code = self._run(command)
        if code:
            raise FatalError(
                f"`wavehouse {' '.join(arguments)}` failed with exit code {code}.",
                hint="Mend what it says above and start again; finished steps are not repeated.",
            )

    def _run(self, command: list[str]) -> int:
        return subprocess.run(command, stdout=sys.stderr if self._out.as_json else None, check=False).returncode

    def dag(self, airflow: AirflowClient, dag_id: str, conf: dict[str, str] | None = None) -> str:
        """Run a DAG as a step and follow it to its end; returns the run id."""
        with self.step(f"Airflow: {dag_id}"):
            run_id = airflow.trigger(dag_id, conf)
            airflow.wait(dag_id, run_id, progress=lambda line: self._out.info(f"    {line}"))
        return run_id


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    audio: Annotated[str, typer.Option(envvar="AUDIO", help="A folder of audio files instead of the demo music.")] = "",
    users: Annotated[int, typer.Option(help="Simulated listeners.")] = 2000,
    days: Annotated[int, typer.Option(help=f"Days of plays, ending {END}.")] = 90,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 42,
    as_json: JsonFlag = False,
) -> None:
    """Run the main job end to end and leave the stack running; or try what happens to a bad batch.

    Example: wavehouse demo --users 2000 --days 90
    """
    if context.invoked_subcommand:
        return
    from lakehouse.adapters.airflow import AirflowClient
    from lakehouse.domain.simulation.scenario import MAX_LATE_DAYS

    settings = load_settings()
    out = Output(as_json=as_json)
    steps = Steps(out)
    start = END - timedelta(days=days - 1)
    received = {"from": start.isoformat(), "to": (END + timedelta(days=MAX_LATE_DAYS)).isoformat()}
    with only_one(settings):
        steps.command("doctor")
        steps.command("up")
        steps.command("lake", "init")
        steps.command("catalog", "migrate")
        steps.command("royalties", "migrate")
        steps.command("events", "init")
        if audio:
            steps.command("ingest", "upload", audio)
        else:
            steps.command("ingest", "fetch-demo-audio")
        airflow = AirflowClient(load_settings())  # again: a first start has made the passwords
        for dag_id in DAGS:
            airflow.unpause(dag_id)
        ingest = steps.dag(airflow, "ingest_audio")
        with steps.step("Airflow: asset-triggered DAGs are starting"):
            started = airflow.wait_started_by(ingest)
        simulation = ("--users", str(users), "--days", str(days), "--end", END.isoformat(), "--seed", str(seed))
        steps.command("simulate", "plays", *simulation)
        steps.command("simulate", "revenue", *simulation)
        steps.command("revenue", "load")
        steps.command("stream", "wait")
        steps.dag(airflow, "transform_plays", received)
        for dag_id, run_id in started:
            with steps.step(f"Airflow: {dag_id} (started by ingest_audio)"):
                airflow.wait(dag_id, run_id, progress=lambda line: out.info(f"    {line}"))
        steps.dag(airflow, "maintain_tables")
        steps.command("report")
        steps.command("verify")
        airflow.unpause(WATCH)
    out.table(
        "Time by step", ["step", "seconds"], [*steps.seconds.items(), ("total", f"{sum(steps.seconds.values()):.0f}")]
    )
    out.result({"seconds": steps.seconds})


@app.command("bad-batch")
def bad_batch(
    period: Period = LAST_MONTH,
    clear: Annotated[bool, typer.Option("--clear", help="Deliver the right file again and publish.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Deliver a month of revenue that is well-formed but wrong, and see the audit stop it.

    Gold keeps what was published before. Shown are the file, the audit's reasons, and where to read more. `--clear`
    mends it.

    Example: wavehouse demo bad-batch && wavehouse demo bad-batch --clear
    """
    from lakehouse.adapters import audit, finance_files
    from lakehouse.adapters.airflow import AirflowClient, RunFailedError

    settings = load_settings()
    out = Output(as_json=as_json)
    steps = Steps(out)
    began = time.time() - 1  # the times of files may lag behind the clock by a little
    refused: list[Verdict] = []
    log = ""
    with only_one(settings):
        steps.command("simulate", "revenue", "--good" if clear else "--bad", period)
        steps.command("revenue", "load")
        airflow = AirflowClient(settings)
        interval = {"from": f"{period}-01", "to": f"{period}-01"}
        try:
            steps.dag(airflow, "transform_plays", interval)
        except RunFailedError as error:
            refused = [verdict for verdict in audit.kept(settings, began) if not verdict.passed]
            if not refused or not set(error.tasks) <= AUDITS:
                raise  # something else broke; the message has the end of the log
            log = error.log
    causes = [(v.table, f) for v in refused for f in v.findings if f.severity == audit.FAIL]
    docs = audit.data_docs(settings)
    file = finance_files.delivery(settings, period)
    if causes:
        out.info(f"The audit stopped the run that took in {file}. Readers see what they saw before.")
        out.table("Why", ["table", "what is not so", "seen"], [(table, f.why, _seen(f)) for table, f in causes])
        for todo in dict.fromkeys(f.todo for _, f in causes if f.todo):
            out.info(f"What to do: {todo}")
        if not clear:
            out.info(f"In this demo, `wavehouse demo bad-batch --clear --period {period}` delivers the right file.")
        out.info(f"Log: {log}")
    else:
        out.info("Audited and published.")
    out.info(f"Data Docs: {docs}")
    by_table = {table: "; ".join(f.why for name, f in causes if name == table) for table, _ in causes}
    reason = "; ".join(f"{table}: {whys}" for table, whys in by_table.items())
    out.result({"stopped": bool(causes), "reason": reason, "file": str(file), "log": log, "data_docs": str(docs)})
    if bool(causes) == clear:
        raise FatalError("The audit did not do what this demonstrates.", hint="Look at the run in the Airflow UI.")


def _seen(finding: Finding) -> str:
    """What an audit saw, in a few words; for most checks how many rows are wrong."""
    if finding.expectation == "expect_query_to_find_no_rows":
        rows = finding.observed["observed_value"]
        return f"{rows:,} row{'' if rows == 1 else 's'}"
    return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in finding.observed.items())[:80]
