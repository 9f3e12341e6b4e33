"""What commands that services and schedulers run have in common: how they end, and that they date what they say."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event

from lakehouse.cli.output import Output

#: Airflow marks a task that ends with this code as skipped.
SKIPPED = 99


def stopped_by_signals() -> Event:
    """An event that SIGTERM and SIGINT set: what is under way is finished."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def log(out: Output) -> Callable[[str], None]:
    """Says a line with its moment (UTC) in front."""
    return lambda line: out.info(f"{datetime.now(UTC):%FT%TZ} {line}")
