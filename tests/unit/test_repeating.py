"""What a service says and does when its step fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
import sqlalchemy as sa

from lakehouse.adapters.repeating import repeat
from lakehouse.errors import FatalError, RejectedInputError, RetryableError


def steps(*answers: Exception | None) -> tuple[Event, list[str]]:
    """What a service says whose step has these answers, and then is told to stop."""
    stop, said = Event(), list[str]()
    left: Iterator[Exception | None] = iter(answers)

    def step() -> None:
        answer = next(left, KeyboardInterrupt)
        if answer is KeyboardInterrupt:
            stop.set()
        elif isinstance(answer, Exception):
            raise answer

    repeat(step, stop, every_s=0, say=said.append)
    return stop, said


def test_what_is_away_is_waited_out_and_said_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also what a driver raises by itself, and a defect of ours; after a good step it is news again."""
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))
    away = RetryableError("The store is away.")
    raw = sa.exc.InterfaceError("select 1", None, Exception("connection is closed"))
    _, said = steps(away, away, FatalError("No tables."), None, away, raw, ZeroDivisionError("ours"))
    assert said[:3] == [
        "The store is away. Trying again every 0 s.",
        "No tables. Trying again every 0 s.",
        "The store is away. Trying again every 0 s.",
    ]
    assert said[3].startswith("An engine does not answer: InterfaceError")
    assert said[4].startswith("A defect of Wavehouse: ZeroDivisionError: ours")
    assert "ZeroDivisionError" in (tmp_path / "run" / "logs" / "defects.log").read_text()


def test_what_waiting_does_not_mend_ends_the_service() -> None:
    with pytest.raises(RejectedInputError):
        steps(None, RejectedInputError("There is no folder 'x'.", reason="no_such_folder"))
