"""The demo's own logic: what it knows at each step, and what it tries again."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.local import secrets
from lakehouse.adapters import airflow
from lakehouse.cli import demo
from lakehouse.cli.output import Output
from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError, RetryableError


class EndHereError(Exception):
    """The part of the demo under test is over."""


def test_a_first_start_signs_in_with_the_passwords_it_has_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))

    def command(steps: demo.Steps, *arguments: str) -> None:
        if arguments == ("up",):
            secrets.ensure(tmp_path / "secrets.toml")

    def sign_in(settings: Settings) -> None:
        assert settings.airflow.admin_password.get_secret_value()
        raise EndHereError

    monkeypatch.setattr(demo.Steps, "command", command)
    monkeypatch.setattr(airflow, "AirflowClient", sign_in)
    with pytest.raises(EndHereError):
        demo.demo(
            type("Context", (), {"invoked_subcommand": None})(),  # type: ignore[arg-type]
            audio="",
            users=1,
            days=1,
            seed=1,
            as_json=False,
        )


@pytest.mark.parametrize(("codes", "fails"), [([75, 75, 0], False), ([75] * 5, True), ([1], True)])
def test_what_fails_in_passing_is_tried_again(codes: list[int], fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RetryableError.exit_code == 75
    left = iter(codes)

    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], next(left))

    monkeypatch.setattr(demo.subprocess, "run", run)
    monkeypatch.setattr(demo.time, "sleep", lambda _: None)
    steps = demo.Steps(Output())
    if fails:
        with pytest.raises(FatalError, match="`wavehouse x` failed"):
            steps.command("x")
    else:
        steps.command("x")
    assert next(left, None) is None
