"""What a user sees when a command meets an exception, a mismatch or a missing package: a line, a hint, an exit code."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from lakehouse.adapters import demo_audio, reconcile
from lakehouse.adapters.reconcile import Check
from lakehouse.cli import main
from lakehouse.cli.output import Output
from lakehouse.errors import FatalError, RetryableError
from lakehouse.failures import translate


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of its own."""
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["wavehouse", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return int(ended.value.code or 0)


def test_an_engine_that_is_away_may_be_tried_again() -> None:
    import psycopg
    import sqlalchemy

    away = sqlalchemy.exc.OperationalError("select 1", {}, psycopg.OperationalError("connection refused"))
    assert isinstance(translate(away), RetryableError)
    assert isinstance(translate(ConnectionResetError("reset by peer")), RetryableError)


def test_an_outage_is_found_among_the_causes() -> None:
    try:
        try:
            raise ConnectionRefusedError("no")
        except ConnectionRefusedError as cause:
            raise ValueError("could not read the table") from cause
    except ValueError as error:
        assert isinstance(translate(error), RetryableError)


def test_a_defect_is_kept_with_its_traceback(home: Path) -> None:
    try:
        raise KeyError("oops")
    except KeyError as error:
        shown = translate(error)
    assert isinstance(shown, FatalError)
    assert "KeyError" in shown.message
    log = home / "run" / "logs" / "defects.log"
    assert str(log) in shown.hint
    assert "Traceback" in log.read_text()


def test_a_full_disk_is_said_even_where_nothing_can_be_written(home: Path) -> None:
    log = home / "run" / "logs" / "defects.log"
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    assert "KeyError" in translate(KeyError("x")).message
    full = translate(OSError(errno.ENOSPC, "No space left on device"))
    assert full.message == "The disk is full."
    assert full.hint


def test_messages_are_text_and_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.error("No file [/x].ogg", "Look for [live] takes.")
    out.info("[bold] a.ogg")
    out.step("[live] b.ogg")
    shown = capsys.readouterr().err
    assert all(name in shown for name in ("[/x].ogg", "[live] takes", "[bold] a.ogg", "[live] b.ogg"))


def test_a_mismatch_fails_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    same, other = Check("plays", "ledger", 2, "silver", 2), Check("streams", "ledger", 2, "streams_daily", 1)
    monkeypatch.setattr(reconcile, "reconcile", lambda settings: [same])
    assert run(monkeypatch, "verify") == 0
    monkeypatch.setattr(reconcile, "reconcile", lambda settings: [same, other])
    assert run(monkeypatch, "verify") == 1
    assert "1 of 2 checks are equal" in capsys.readouterr().err


def test_without_the_music_package_the_alternative_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_audio.shutil, "which", lambda name: None)
    with pytest.raises(FatalError, match="no apt-get on this machine") as refused:
        demo_audio.fetch(home)
    assert "AUDIO=/path/to/music make demo" in refused.value.hint


@pytest.mark.parametrize("command", ["royalties run", "royalties write-dsr", "policies compare", "demo bad-batch"])
def test_a_month_that_is_none_is_refused_before_anything_is_asked(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command.split(), "--period", "2026-13") == 2
    assert "'2026-13' is no month" in capfd.readouterr().err
