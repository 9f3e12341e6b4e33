"""Fixtures of all tests. Tests use the `test` profile: its own ports and folder, never a running demo's.

`stack` is the empty running stack; `played` is the stack after a small main job. Both are made once a session. Set
WAVEHOUSE_KEEP_STACK=1 to leave the stack running afterwards and to start from its data the next time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

os.environ["WAVEHOUSE_PROFILE"] = "test"

from lakehouse.config.settings import CHECKOUT, Settings, load_settings
from spark_jobs import compiled

os.environ |= compiled.ENVIRONMENT

#: Small enough for a few minutes on two cores, large enough for months, markets, bots, late and bad events.
SIMULATION = ("--users", "120", "--days", "40", "--seed", "7")

hypothesis.settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True)
hypothesis.settings.register_profile("dev", deadline=None, max_examples=30)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


#: The command as a user has it.
WAVEHOUSE = str(Path(sys.executable).with_name("wavehouse"))


def wavehouse(
    *arguments: str, check: bool = True, timeout_s: float = 1800, profile: str = "test"
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would; with `check`, a failure shows what it printed."""
    done = subprocess.run(
        [WAVEHOUSE, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=CHECKOUT,
        env=os.environ | {"WAVEHOUSE_PROFILE": profile},
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"`wavehouse {' '.join(arguments)}` ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def wavehouse_json(*arguments: str, check: bool = True, profile: str = "test") -> Any:
    """The JSON document that `wavehouse ... --json` prints."""
    return json.loads(wavehouse(*arguments, "--json", check=check, profile=profile).stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Settings of the test profile; after `stack` they hold the generated passwords."""
    return load_settings()


@pytest.fixture(scope="session")
def stack() -> Iterator[Settings]:
    """The running stack with an empty lake."""
    keep = bool(os.environ.get("WAVEHOUSE_KEEP_STACK"))
    home = load_settings().home
    if not keep:
        wavehouse("down", check=False)
        shutil.rmtree(home, ignore_errors=True)
    wavehouse("up")
    for command in (("lake", "init"), ("catalog", "migrate"), ("events", "init")):
        wavehouse(*command)
    yield load_settings()
    if not keep:
        wavehouse("down")


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tagged audio and of files that must be refused; see tests/audio_files.py."""
    from tests.audio_files import write_library

    folder = tmp_path_factory.mktemp("music")
    write_library(folder)
    return folder


@pytest.fixture(scope="session")
def played(stack: Settings, music: Path) -> Settings:
    """The stack after the main job on a small library and a small crowd."""
    play(music)
    return stack


def play(music: Path) -> None:
    """The main job. In its profile the clock starts no DAG: files that tests land are theirs."""
    wavehouse("demo", "--audio", str(music), *SIMULATION)
