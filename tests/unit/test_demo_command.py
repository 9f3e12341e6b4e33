"""The demo's own logic: what it knows at each step, and what it tries again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.local import secrets
from lakehouse.adapters import airflow, audit
from lakehouse.adapters.audit import Finding, Verdict
from lakehouse.cli import demo, main
from lakehouse.cli.output import Output
from lakehouse.config.settings import Settings, load_settings
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


NEGATIVE = Finding(
    severity="fail",
    expectation="expect_query_to_find_no_rows",
    arguments={"unexpected_rows_query": "select 1"},
    observed={"observed_value": 1200},
    why="Revenue is not negative.",
    todo="Ask finance for a corrected delivery.",
)
UNUSUAL = Finding("warn", NEGATIVE.expectation, {}, {"observed_value": 1}, "A market earns what it earns.", "")
BadBatch = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bad_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> BadBatch:
    """Runs `demo bad-batch` where the DAG fails at a task and the audit leaves a verdict; code, output and messages."""
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))

    def run(*arguments: str, failed: str, verdict: Verdict) -> tuple[int, str, str]:
        class Airflow:
            def __init__(self, settings: Settings) -> None:
                pass

            def trigger(self, dag_id: str, conf: object) -> str:
                return "run"

            def wait(self, dag_id: str, run_id: str, **_: object) -> str:
                audit._keep(load_settings(), verdict)
                raise airflow.RunFailedError("failed\n[raw log line]", hint="", tasks=[failed], log="http://air/log")

        monkeypatch.setattr(demo.Steps, "command", lambda *_: None)
        monkeypatch.setattr(airflow, "AirflowClient", Airflow)
        monkeypatch.setattr(sys, "argv", ["wavehouse", "demo", "bad-batch", "--period", "2026-09", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run


def test_a_bad_batch_shows_the_file_and_the_reasons_and_no_log(bad_batch: BadBatch, tmp_path: Path) -> None:
    verdict = Verdict("silver_audit.revenue", 1, 9, (NEGATIVE, UNUSUAL))
    code, out, told = bad_batch(failed="audit_silver", verdict=verdict)
    assert code == 0
    assert f"took in {tmp_path}/deliveries/finance/revenue-2026-09.csv" in told
    assert all(text in out for text in ("silver_audit.revenue", "Revenue is not negative.", "1,200 rows"))
    assert "A market earns" not in out
    assert "Ask finance for a corrected delivery." in told and "Log: http://air/log" in told
    assert "--clear --period 2026-09" in told
    assert "[raw log line]" not in out + told
    code, out, _ = bad_batch("--json", failed="audit_silver", verdict=verdict)
    assert json.loads(out) == {
        "stopped": True,
        "reason": "silver_audit.revenue: Revenue is not negative.",
        "file": f"{tmp_path}/deliveries/finance/revenue-2026-09.csv",
        "log": "http://air/log",
        "data_docs": f"{tmp_path}/data_docs/index.html",
    }


def test_a_run_that_broke_is_not_taken_for_an_audit_that_stopped_it(bad_batch: BadBatch) -> None:
    refused = Verdict("silver_audit.revenue", 1, 9, (NEGATIVE,))
    passed = Verdict("silver_audit.revenue", 1, 9, (UNUSUAL,))
    for failed, verdict in (("gold", refused), ("audit_silver", passed)):
        code, _, told = bad_batch(failed=failed, verdict=verdict)
        assert (code, "[raw log line]" in told) == (1, True)
