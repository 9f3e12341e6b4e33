"""The stack that chaos tests break: its own profile, ports and folder (lakehouse/config/profiles/chaos.toml)."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lakehouse.config.settings import Settings, load_settings
from lakehouse.errors import RetryableError
from tests.chaos.truth import Truth
from tests.conftest import wavehouse, wavehouse_json

PROFILE = "chaos"
#: Draws of the long run (`make chaos SEEDS=200`); 0 is the short set, of which CI runs all.
SEEDS = int(os.environ.get("WAVEHOUSE_CHAOS_SEEDS", "0"))
long_run = pytest.mark.skipif(SEEDS == 0, reason="part of the long run: SEEDS=1")


#: How long an engine may be away after it was killed.
AWAY_S = 240.0


@dataclass(frozen=True)
class Victim:
    """A running stack, with a hand on its processes."""

    settings: Settings

    def command(self, *arguments: str, timeout_s: float = 900, attempts: int = 1) -> str:
        """Standard output of `wavehouse`, which must succeed, at the last of so many attempts. That an engine which was
        killed a moment ago does not answer yet is no attempt.
        """
        deadline = time.monotonic() + AWAY_S
        while True:
            done = wavehouse(*arguments, check=False, timeout_s=timeout_s, profile=PROFILE)
            if not done.returncode:
                return done.stdout
            if done.returncode != RetryableError.exit_code or time.monotonic() > deadline:
                attempts -= 1
                if attempts <= 0:
                    pytest.fail(f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
            time.sleep(1)

    def json(self, *arguments: str, check: bool = True) -> Any:
        """The JSON document that `wavehouse ... --json` prints."""
        return wavehouse_json(*arguments, check=check, profile=PROFILE)

    def pids(self) -> dict[str, int]:
        """Process ids of the running services."""
        # It ends with an error when a part of the stack does not run.
        status = self.json("status", check=False)
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
    broken.command("catalog", "migrate")
    broken.command("events", "init")
    yield Victim(load_settings(PROFILE))
    if not keep:
        broken.command("down")


@pytest.fixture(scope="session")
def truth(victim: Victim) -> Truth:
    """What the tests of this session sent to the victim's topics, and what was there before the first of them."""
    return Truth.of(victim.settings)
