"""Up, down and status of the local stack: the order of things. Processes are held by supervisord (supervise.py)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from threading import Event

import psutil
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from infra.local import prepare, secrets, supervise
from infra.local.services import Service, fingerprint, load_services, port_of, render_files, select, write_files
from infra.local.supervise import Supervisor
from lakehouse.adapters import probes
from lakehouse.config.settings import Settings, load_settings
from lakehouse.errors import FatalError, RetryableError, WavehouseError

#: The stack at rest shall fit in this.
MEMORY_GOAL_MB = 7 * 1024
#: Less free disk than this, in bytes, and nothing is started.
DISK_MINIMUM = 2**30
#: A service that ended this often while `up` waits for it will not come up by itself.
GIVE_UP_AFTER = 5
POLL_S = 0.5
#: Who listens on a port for longer than this is no service that is just ending or starting.
MOMENT_S = 3
PORT_HINT = "Stop that process, or set another port, e.g. WAVEHOUSE_TRINO__PORT=19443."


@dataclass(frozen=True)
class Ready:
    """A service that answered. `seconds` is 0 for one that was running."""

    name: str
    seconds: float


@dataclass(frozen=True)
class ServiceStatus:
    """One line of `wavehouse status`."""

    name: str
    group: str
    state: str
    pid: int | None
    uptime_s: int
    restarts: int
    memory_mb: int
    memory_limit_mb: int
    address: str
    error: str


@contextlib.contextmanager
def only_one(settings: Settings, what: str) -> Iterator[None]:
    """Let one process at a time do `what` to this installation.

    Raises:
        FatalError: another one is at it; the message names its process id.
    """
    settings.run.mkdir(parents=True, exist_ok=True)
    path = settings.run / "stack.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise FatalError(
                f"{holder} is working on this stack.", hint="Wait for it to end, or end it, then run this again."
            ) from error
        lock.truncate(0)
        lock.write(f"`wavehouse {what}` (process {os.getpid()})")
        lock.flush()
        yield
        lock.truncate(0)


def with_secrets(settings: Settings) -> Settings:
    """The same settings after missing passwords were generated."""
    return load_settings(settings.profile) if secrets.ensure(settings.home / "secrets.toml") else settings


def port_users(ports: Iterable[int]) -> dict[int, psutil.Process | None]:
    """Who listens on each of these ports of this machine; None for a process we may not see."""
    wanted = set(ports)
    users: dict[int, psutil.Process | None] = {}
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in wanted:
            try:
                users[connection.laddr.port] = psutil.Process(connection.pid) if connection.pid else None
            except psutil.NoSuchProcess:
                continue
    return users


def strangers(settings: Settings, services: Iterable[Service], ours: Callable[[], set[int]]) -> list[str]:
    """One line for each port of `services` that somebody else listens on; `ours` tells the process ids of the stack.

    Who is seen for a moment is none: of a service that supervisord starts again while we look, it may not be known
    which process listens.
    """
    ports = {port_of(settings, dotted): service.name for service in services for dotted in service.ports}

    def seen() -> list[str]:
        lines = []
        users = port_users(ports)
        known = ours()
        for port, process in users.items():
            if process is None:
                lines.append(f"Port {port} ({ports[port]}) is used by a process of another user.")
            elif process.pid not in known:
                with contextlib.suppress(psutil.Error):
                    lines.append(f"Port {port} ({ports[port]}) is used by process {process.pid} ({process.name()}).")
        return lines

    looking = Retrying(
        retry=retry_if_result(bool),
        stop=stop_after_delay(MOMENT_S),
        wait=wait_fixed(POLL_S),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else [],
    )
    return looking(seen)


def check_disk(settings: Settings) -> None:
    """Refuse to start on a disk that is all but full: databases that run out of space in mid-start are hard to read.

    Raises:
        FatalError: less than `DISK_MINIMUM` is free where the data lies.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free
    if free < DISK_MINIMUM:
        raise FatalError(
            f"The disk of {settings.home} is full: {free / 2**20:.0f} MB free.",
            hint="Free some disk space, or set WAVEHOUSE_HOME to a folder on another disk.",
        )


def our_pids(supervisor: Supervisor) -> set[int]:
    """Process ids of everything supervisord holds."""
    pid = supervisor.pid()
    return {p.pid for p in supervise.family(pid)} if pid else set()


def ask(settings: Settings, service: Service, supervisor: Supervisor) -> str | None:
    """None when the service is ready, else why not."""
    probe = service.probe
    kind = probe["kind"]
    if kind == "alive":
        process = supervisor.processes().get(service.name)
        up = process is not None and process.state == "RUNNING" and process.uptime_s >= probe["seconds"]
        return None if up else "it has not stayed up yet"
    if kind == "http":
        return probes.http(probe["url"], matches=probe.get("matches", ""))
    named: dict[str, Callable[[Settings], str | None]] = {
        "postgres": probes.postgres,
        "trino": probes.trino,
        "kafka": probes.kafka,
        "redis": probes.redis,
    }
    return named[kind](settings)


def tail(settings: Settings, name: str, lines: int) -> list[str]:
    """The last lines of a service's log."""
    path = supervise.log_file(settings, name)
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - 400 * (lines + 1)))
        return stream.read().decode(errors="replace").splitlines()[-lines:]


def bring_up(settings: Settings, service: Service, supervisor: Supervisor, stop: Event) -> Ready:
    """Prepare, start, await and initialise one service whose needs are ready.

    Raises:
        RetryableError: it keeps ending, or does not answer within its time.
    """
    start = time.monotonic()
    running = supervisor.processes().get(service.name)
    fresh = running is None or running.state not in ("RUNNING", "STARTING")
    if fresh:
        if service.prepare:
            try:
                prepare.PREPARE[service.prepare](settings, service)
            except OSError as error:
                raise FatalError(
                    f"{service.name} cannot be prepared: {error}.", hint="Run: wavehouse doctor"
                ) from error
        if running is not None and running.state == "BACKOFF":
            supervisor.stop(service.name)
        supervisor.launch(service.name)
    ends_before = supervisor.restarts()[service.name]
    while (reason := ask(settings, service, supervisor)) is not None:
        if stop.is_set():
            raise RetryableError(f"{service.name}: given up, because another service failed.")
        ended = supervisor.restarts()[service.name] - ends_before
        if ended >= GIVE_UP_AFTER:
            last = next((line for line in reversed(tail(settings, service.name, 20)) if line.strip()), "no output")
            raise RetryableError(
                f"{service.name} ended {ended} times while starting: {last[:300]}",
                hint=f"See `wavehouse logs {service.name}`, then run `wavehouse doctor`.",
            )
        if time.monotonic() - start > service.timeout_s:
            raise RetryableError(
                f"{service.name} does not answer after {service.timeout_s:.0f} s: {reason}",
                hint=f"See `wavehouse logs {service.name}`, then run `wavehouse doctor`.",
            )
        stop.wait(POLL_S)
    if service.init:
        prepare.INIT[service.init](settings)
    return Ready(service.name, time.monotonic() - start if fresh else 0)


def up(settings: Settings, *, only: Iterable[str] = (), report: Callable[[str], None]) -> list[Ready]:
    """Start the chosen services, each as soon as what it needs is ready, and wait for all of them.

    Services whose configuration changed since they started are restarted.

    Raises:
        FatalError: the disk is full, a port is taken, an engine or JDK is missing, another `up` runs.
        RetryableError: a service did not come up; the others keep running.
    """
    check_disk(settings)
    with only_one(settings, "up"):
        settings = with_secrets(settings)
        services = load_services(settings)
        chosen = select(services, only)
        files = render_files(settings)
        supervisor = Supervisor(settings)
        if supervisor.pid() is None:
            # Children of a supervisor that was killed: nobody restarts them any more, and they hold the ports.
            supervise.end(supervise.stragglers(settings))
        if taken := strangers(settings, chosen.values(), partial(our_pids, supervisor)):
            raise FatalError(" ".join(taken), hint=PORT_HINT)
        write_files(files)
        marks = {name: fingerprint(service, files, settings) for name, service in services.items()}
        marks |= {
            name: f"{marks[name]}-{prepare.functions_digest()}"
            for name, service in services.items()
            if service.prepare == "flink_libraries"
        }
        supervisor.start(supervise.configuration(settings, services, marks))
        supervisor.apply(set(chosen))
        return _bring_up_all(settings, chosen, supervisor, report)


def _bring_up_all(
    settings: Settings, chosen: dict[str, Service], supervisor: Supervisor, report: Callable[[str], None]
) -> list[Ready]:
    ready: dict[str, Ready] = {}
    running: dict[Future[Ready], str] = {}
    failures: list[BaseException] = []
    stop = Event()
    with ThreadPoolExecutor(max_workers=len(chosen) or 1) as pool:
        try:
            while len(ready) < len(chosen) and not failures:
                for name, service in chosen.items():
                    needs = [need for need in service.needs if need in chosen]
                    if name not in ready and name not in running.values() and all(need in ready for need in needs):
                        running[pool.submit(bring_up, settings, service, supervisor, stop)] = name
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    if (failure := future.exception()) is not None:
                        failures.append(failure)
                        continue
                    ready[name] = future.result()
                    took = f"{ready[name].seconds:.0f} s" if ready[name].seconds else "was running"
                    report(f"{name} is ready ({took})")
        finally:
            stop.set()
    if failures:
        raise failures[0]
    return [ready[name] for name in chosen]


def down(settings: Settings, *, report: Callable[[str], None]) -> int:
    """Stop everything, dependants first; end what outlived its supervisor. Returns how many processes were stopped."""
    with only_one(settings, "down"):
        supervisor = Supervisor(settings)
        stopped = 0
        if supervisor.pid() is not None:
            running = {n for n, p in supervisor.processes().items() if p.state in ("RUNNING", "STARTING", "BACKOFF")}
            stopped = len(running)
            _stop_in_order(settings, supervisor, running, report)
            supervisor.shutdown()
        left = supervise.stragglers(settings)
        supervise.end(left)
        with contextlib.suppress(OSError):
            supervise.socket_path(settings).unlink()
        return stopped + len(left)


def _stop_in_order(
    settings: Settings, supervisor: Supervisor, running: set[str], report: Callable[[str], None]
) -> None:
    try:
        services = load_services(settings)
    except WavehouseError:  # an engine was removed meanwhile: stop without an order
        services = {}
    dependants = {name: {s.name for s in services.values() if name in s.needs} & running for name in running}
    stopping: dict[Future[None], str] = {}
    stopped: set[str] = set()
    with ThreadPoolExecutor(max_workers=len(running) or 1) as pool:
        while len(stopped) < len(running):
            for name in running - stopped - set(stopping.values()):
                if dependants[name] <= stopped:
                    stopping[pool.submit(supervisor.stop, name)] = name
            for future in wait(stopping, return_when=FIRST_COMPLETED).done:
                name = stopping.pop(future)
                future.result()
                stopped.add(name)
                report(f"{name} stopped")


def status(settings: Settings) -> list[ServiceStatus]:
    """Every service that is enabled, with what supervisord and the kernel say of it."""
    services = load_services(settings)
    supervisor = Supervisor(settings)
    processes, restarts = supervisor.processes(), supervisor.restarts()
    lines = []
    for service in services.values():
        process = processes.get(service.name)
        if not service.enabled and (process is None or process.state == "STOPPED"):
            continue
        alive = process is not None and process.pid > 0
        lines.append(
            ServiceStatus(
                name=service.name,
                group=service.group,
                state=process.state if process else "STOPPED",
                pid=process.pid if process and alive else None,
                uptime_s=process.uptime_s if process else 0,
                restarts=restarts[service.name],
                memory_mb=supervise.resident_bytes(process.pid) // 2**20 if process and alive else 0,
                memory_limit_mb=service.memory_mb,
                address=", ".join(f"127.0.0.1:{port_of(settings, port)}" for port in service.ports),
                error=process.error if process else "",
            )
        )
    return lines
