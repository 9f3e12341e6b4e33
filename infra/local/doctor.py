"""What on this machine would keep the stack from running, each in one line with what to do about it."""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import psutil

from infra.local import engines, stack
from infra.local.prepare import become, can_enter
from infra.local.services import TOOLS, load_services, postgres_bin, pyflink, venv
from infra.local.setup import DISK_HOME, ENVIRONMENTS
from infra.local.supervise import Supervisor
from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError, WavehouseError

GIB = 2**30
#: A "16 GB" machine shows a little less than 16 GiB.
MEMORY_TOTAL = 14 * GIB
#: What the stack and one Spark job need on top of what runs already.
MEMORY_FREE = 8 * GIB
#: Engines and the packages they came in.
DISK_CACHE = 4 * GIB


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what to do."""

    problem: str
    remedy: str


def gib(size: float) -> str:
    """A size in GiB, for people."""
    return f"{size / GIB:.1f} GB"


def machine(_settings: Settings) -> Iterator[Finding]:
    """The processor: the engines' native libraries are fetched for x86-64 Linux."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        found = f"{platform.system()} on {platform.machine()}"
        yield Finding(
            f"This is {found}; the local stack needs Linux on x86-64.", "Use such a machine or a virtual one."
        )


def memory(settings: Settings) -> Iterator[Finding]:
    """Enough in the machine and, unless the stack runs, enough that is free."""
    found = psutil.virtual_memory()
    if found.total < MEMORY_TOTAL:
        yield Finding(
            f"The machine has {gib(found.total)} of memory; the whole stack needs a 16 GB machine.",
            "Start a part of it: wavehouse up --only lake",
        )
    elif found.available < MEMORY_FREE and Supervisor(settings).pid() is None:
        biggest = max(psutil.process_iter(["name", "pid", "memory_info"]), key=_resident)
        yield Finding(
            f"Only {gib(found.available)} of memory is free; the stack needs {gib(MEMORY_FREE)}.",
            f"End something; the biggest process is {biggest.pid} ({biggest.info['name']}, {gib(_resident(biggest))}).",
        )


def _resident(process: psutil.Process) -> int:
    info = process.info.get("memory_info")
    return info.rss if info else 0


def disk(settings: Settings) -> Iterator[Finding]:
    """Room for data and, while engines are missing, for them."""
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free
    if free < DISK_HOME:
        yield Finding(
            f"{settings.home} has {gib(free)} free; the demo needs {gib(DISK_HOME)}.", "Free some disk space."
        )
    cache = engines.cache_root()
    if any(not engine.ready for engine in engines.load_lock().values()):
        place = next(folder for folder in (cache, *cache.parents) if folder.exists())
        free = shutil.disk_usage(place).free
        if free < DISK_CACHE:
            yield Finding(
                f"{place} has {gib(free)} free; the engines need {gib(DISK_CACHE)}.",
                "Free some disk space, or set WAVEHOUSE_CACHE to a folder on another disk.",
            )


def java(_settings: Settings) -> Iterator[Finding]:
    """JDK 17 and 25."""
    for major in (17, 25):
        try:
            home = engines.java_home(major)
        except engines.EngineError as error:
            yield Finding(str(error), error.hint)
            continue
        run = subprocess.run([str(home / "bin" / "java"), "-version"], capture_output=True, text=True, check=False)
        if run.returncode:
            yield Finding(f"The JDK {major} in {home} does not run.", f"Install it again, or set JAVA_HOME_{major}.")


def tools(settings: Settings) -> Iterator[Finding]:
    """Programs of the system's packages."""
    missing = {package: name for name, package in TOOLS.items() if not shutil.which(name)}
    for package, name in missing.items():
        yield Finding(f"The program '{name}' is not installed.", f"Run `make setup`, or: apt-get install {package}")
    try:
        postgres_bin(settings.data)
    except FatalError as error:
        yield Finding(error.message, error.hint)


def environments(_settings: Settings) -> Iterator[Finding]:
    """The Python environments."""
    for name in ENVIRONMENTS:
        python = venv(name) / "bin" / "python"
        if not python.exists():
            yield Finding(f"The Python environment '{name}' has not been built.", "Run: make setup")
            continue
        run = subprocess.run([str(python), "-c", ""], capture_output=True, check=False)
        if run.returncode:
            yield Finding(
                f"The Python of the environment '{name}' does not run.", f"Remove {venv(name)}; run: make setup"
            )
    if venv("flink").exists():
        with contextlib.suppress(FatalError):
            pyflink()
            return
        yield Finding("The flink environment has no Flink in it.", f"Remove {venv('flink')}; run: make setup")


def engine_folders(_settings: Settings) -> Iterator[Finding]:
    """Everything in engines.lock.yaml."""
    missing = [engine.name for engine in engines.load_lock().values() if not engine.ready]
    if missing:
        yield Finding(f"Engines that have not been fetched: {', '.join(missing)}.", "Run: make setup")


def postgres_user(settings: Settings) -> Iterator[Finding]:
    """Started by root, PostgreSQL runs as the user `postgres`, who must reach its data."""
    if os.geteuid() != 0:
        return
    try:
        pwd.getpwnam("postgres")
        service = load_services(settings)["postgres"]
    except KeyError:
        yield Finding(
            "There is no system user 'postgres', and PostgreSQL refuses to run as root.", "apt-get install postgresql"
        )
        return
    except WavehouseError:
        return  # said by another check
    settings.home.mkdir(parents=True, exist_ok=True)
    if not can_enter(become(settings, service), settings.home):
        yield Finding(
            f"The user 'postgres' may not enter {settings.home}, where PostgreSQL's data lies.",
            "chmod o+x the folders above it, or set WAVEHOUSE_HOME to a folder elsewhere.",
        )


def ports(settings: Settings) -> Iterator[Finding]:
    """Ports of the stack that somebody else listens on."""
    try:
        services = load_services(settings)
    except WavehouseError:
        return  # said by another check
    for line in stack.strangers(settings, services.values(), partial(stack.our_pids, Supervisor(settings))):
        yield Finding(line, stack.PORT_HINT)


def services(settings: Settings) -> Iterator[Finding]:
    """Services that keep ending."""
    for process in Supervisor(settings).processes().values():
        if process.state in ("BACKOFF", "FATAL"):
            yield Finding(f"{process.name} keeps ending: {process.error}", f"See: wavehouse logs {process.name}")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    machine,
    memory,
    disk,
    tools,
    java,
    environments,
    engine_folders,
    postgres_user,
    ports,
    services,
)


def examine(settings: Settings) -> list[Finding]:
    """Everything that is wrong, in the order in which to mend it."""
    return [finding for check in CHECKS for finding in check(settings)]
