"""The stack that chaos tests break: its own profile, ports and folder (lakehouse/config/profiles/chaos.toml)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lakehouse.config.settings import CHECKOUT, Settings, load_settings

PROFILE = "chaos"


@dataclass(frozen=True)
class Victim:
    """A running stack, with a hand on its processes."""

    settings: Settings

    def command(self, *arguments: str, timeout_s: float = 900, check: bool = True) -> str:
        """Standard output of `wavehouse`, which must succeed unless `check` is off."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("wavehouse")), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=CHECKOUT,
            env=os.environ | {"WAVEHOUSE_PROFILE": PROFILE},
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"`wavehouse {' '.join(arguments)}` ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def pids(self) -> dict[str, int]:
        """Process ids of the running services."""
        # It ends with an error when a part of the stack does not run.
        status = json.loads(self.command("status", "--json", check=False).strip().splitlines()[-1])
        return {s["name"]: s["pid"] for s in status["services"] if s["pid"]}

    def kill(self, pids: list[int]) -> None:
        """As a power cut would: no warning, and children too (a service may be a shell around its engine)."""
        import psutil

        for pid in pids:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            for process in family:
                os.kill(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def victim() -> Iterator[Victim]:
    """A stack with empty tables and topics. WAVEHOUSE_KEEP_STACK=1 keeps it and its data for the next time."""
    keep = bool(os.environ.get("WAVEHOUSE_KEEP_STACK"))
    home = load_settings(PROFILE).home
    broken = Victim(load_settings(PROFILE))
    if not keep:
        broken.command("down")
        shutil.rmtree(home, ignore_errors=True)
    broken.command("up")
    broken.command("lake", "init")
    broken.command("events", "init")
    yield Victim(load_settings(PROFILE))
    if not keep:
        broken.command("down")
