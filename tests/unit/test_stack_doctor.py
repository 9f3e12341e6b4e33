"""Each thing that can be wrong with a machine is one line and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.local import doctor, engines, setup
from infra.local.doctor import GIB, Finding
from lakehouse.config.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WAVEHOUSE_CACHE", str(tmp_path / "cache"))
    return load_settings("test")


def found(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> list[Finding]:
    findings = list(check(settings))
    for finding in findings:
        assert finding.problem and finding.remedy
        assert "\n" not in finding.problem + finding.remedy
    return findings


def test_a_small_machine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=8 * GIB, available=6 * GIB)
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: memory)
    (finding,) = found(doctor.memory, settings)
    assert "8.0 GB of memory" in finding.problem
    assert "--only lake" in finding.remedy


def test_a_busy_machine_names_the_biggest_process(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=16 * GIB, available=2 * GIB)
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: memory)
    (finding,) = found(doctor.memory, settings)
    assert "Only 2.0 GB" in finding.problem
    assert "biggest process is" in finding.remedy
    memory.available = 12 * GIB
    assert found(doctor.memory, settings) == []


def test_a_full_disk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=GIB))
    home, cache = found(doctor.disk, settings)
    assert str(settings.home) in home.problem and "1.0 GB free" in home.problem
    assert "WAVEHOUSE_CACHE" in cache.remedy  # the empty cache needs room for the engines, too


def test_a_missing_jdk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "java_homes", list)
    monkeypatch.setattr(engines, "TOOLS", settings.home / "nowhere")
    seventeen, twenty_five = found(doctor.java, settings)
    assert "No JDK 17" in seventeen.problem
    assert "jdk" in twenty_five.problem and twenty_five.remedy == "Run: make setup"


def test_missing_tools(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None if name == "redis-server" else f"/usr/bin/{name}")
    (finding,) = found(doctor.tools, settings)
    assert finding.problem == "The program 'redis-server' is not installed."
    assert "redis-server" in finding.remedy


def test_missing_environments_and_engines(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "venv", lambda name: settings.home / name)
    assert len(found(doctor.environments, settings)) == len(setup.ENVIRONMENTS)
    (finding,) = found(doctor.engine_folders, settings)
    assert "trino" in finding.problem and finding.remedy == "Run: make setup"


def test_a_port_in_use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "load_services", lambda _: {})
    monkeypatch.setattr(doctor.stack, "strangers", lambda *_: ["Port 1 (trino) is used by process 2 (nginx)."])
    (finding,) = found(doctor.ports, settings)
    assert "nginx" in finding.problem and "WAVEHOUSE_TRINO__PORT" in finding.remedy


def test_the_packages_of_setup_bring_the_tools_that_doctor_wants() -> None:
    assert set(doctor.TOOLS.values()) - {"tar", "bash"} <= set(setup.PACKAGES)


def test_missing_packages_without_root_or_sudo_say_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "PACKAGES", {"thing": lambda: False, "there": lambda: True})
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup.shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    with pytest.raises(setup.SetupError, match="Missing packages: thing;") as missing:
        setup.system_packages(tests=False)
    assert missing.value.hint == "Run as root: apt-get update && apt-get install thing"


def test_a_failing_step_shows_its_last_lines() -> None:
    with pytest.raises(setup.SetupError, match="sh -c failed: one / two") as failed:
        setup.run(["sh", "-c", "echo one; echo two; exit 3"], hint="Try again.")
    assert failed.value.hint == "Try again."


def test_an_environment_is_left_alone_until_its_pins_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    pins = tmp_path / "requirements"
    pins.mkdir()
    (pins / "dbt.txt").write_text("one")
    monkeypatch.setattr(setup, "VENVS", tmp_path / "venvs")
    monkeypatch.setattr(setup, "REQUIREMENTS", pins)
    monkeypatch.setattr(setup, "works", lambda venv: venv.exists())

    def run(command: list[str], **_: object) -> str:
        calls.append(command)
        (tmp_path / "venvs" / "dbt").mkdir(parents=True, exist_ok=True)
        return ""

    monkeypatch.setattr(setup, "run", run)
    setup.environment("dbt", tests=False)
    assert [c[1] for c in calls] == ["venv", "pip"]
    calls.clear()
    setup.environment("dbt", tests=False)
    assert calls == []
    (pins / "dbt.txt").write_text("two")
    setup.environment("dbt", tests=False)
    assert [c[1] for c in calls] == ["pip"]


def test_an_interrupted_environment_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = tmp_path / "requirements"
    pins.mkdir()
    (pins / "dbt.txt").write_text("one")
    venv = tmp_path / "venvs" / "dbt"
    venv.mkdir(parents=True)
    monkeypatch.setattr(setup, "VENVS", tmp_path / "venvs")
    monkeypatch.setattr(setup, "REQUIREMENTS", pins)
    monkeypatch.setattr(setup, "works", lambda _: True)

    def interrupted(command: list[str], **_: object) -> str:
        raise KeyboardInterrupt

    (venv / ".built-from").write_text("something older")
    monkeypatch.setattr(setup, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        setup.environment("dbt", tests=False)
    assert setup.stamped(venv) == ""
