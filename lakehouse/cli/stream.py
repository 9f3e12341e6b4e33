"""`wavehouse stream`: the jobs between Kafka, the lake and the live counts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.cli.output import Output
from lakehouse.cli.services import log, stopped_by_signals
from lakehouse.config.settings import load_settings

if TYPE_CHECKING:
    from flink_jobs.progress import Progress

app = typer.Typer(help="The jobs between Kafka, the lake and the live counts.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("load-windows")
def load_windows(
    once: Annotated[bool, typer.Option("--once", help="Stop when all that is committed by now is loaded.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Empty the live tables first and load all again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Load the one-minute windows from Kafka into ClickHouse, until stopped.

    It goes on behind the last row that ClickHouse has, waits for engines that are away, and may be killed at any time.

    Example: wavehouse stream load-windows --once
    """
    from lakehouse.adapters.window_loader import WindowLoader

    out = Output(as_json=as_json)
    stop = stopped_by_signals()
    loader = WindowLoader(load_settings(), say=out.info)
    if rebuild:
        loader.rebuild()
    counts = loader.run(stop, until_caught_up=once)
    out.info(f"{counts.rows} rows in {counts.batches} batches loaded")
    out.result(asdict(counts))


@app.command()
def run(as_json: AsJson = False) -> None:
    """Keep the Flink job running that takes events from Kafka to the lake and to the live counts, until stopped.

    It submits the job where it is missing, from its newest checkpoint. The job itself goes on when this command ends.

    Example: wavehouse stream run
    """
    from flink_jobs import service

    out = Output(as_json=as_json)
    service.run(load_settings(), stopped_by_signals(), say=log(out))
    out.result({"stopped": True})


@app.command()
def wait(
    timeout: Annotated[float, typer.Option(min=1, help="Give up after so many seconds.")] = 900,
    as_json: AsJson = False,
) -> None:
    """Wait until every event sent so far is in the lake (or among its dead letters) and in the live counts.

    Example: wavehouse stream wait --timeout 300
    """
    from flink_jobs import progress

    out = Output(as_json=as_json)
    _show(out, progress.wait(load_settings(), timeout_seconds=timeout, say=out.info))


@app.command()
def status(as_json: AsJson = False) -> None:
    """How far the stream job is: records in Kafka against rows in the lake, and its newest checkpoint.

    Example: wavehouse stream status
    """
    from flink_jobs import progress, statements
    from lakehouse.adapters.flink import FlinkClient

    out, settings = Output(as_json=as_json), load_settings()
    with FlinkClient(settings.flink.http) as flink:
        jobs = flink.jobs(statements.JOB_NAME)
        job: dict[str, Any] = {"state": jobs[-1].state, "id": jobs[-1].id} if jobs else {"state": "MISSING", "id": None}
        if jobs:
            job |= asdict(flink.checkpoints(jobs[-1].id)) | {"last_failure": flink.root_cause(jobs[-1].id)}
    out.table("Stream job", ["what", "value"], list(job.items()))
    _show(out, progress.measure(settings), job=job)


def _show(out: Output, found: Progress, **more: object) -> None:
    rows = [(topic, found.records[topic], found.rows[topic]) for topic in found.records]
    out.table("Events", ["topic", "records", "rows in bronze"], [*rows, ("dead letters", "", found.dead_letters)])
    out.info(found.line())
    out.result(found.as_dict() | more)
