"""Tools that a machine may lack come as wheels, and run."""

from __future__ import annotations

import subprocess

import pytest

from infra.local import engines


def test_a_machine_without_go_gets_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.shutil, "which", lambda _: None)
    said = subprocess.run([engines.go_tool(), "version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("go version go1.")
