"""`wavehouse stream`: the jobs between Kafka, the lake and the live counts."""

from __future__ import annotations

import signal
import threading
from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings

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
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    loader = WindowLoader(load_settings(), say=out.info)
    if rebuild:
        loader.rebuild()
    counts = loader.run(stop, until_caught_up=once)
    out.info(f"{counts.rows} rows in {counts.batches} batches loaded")
    out.result(asdict(counts))
