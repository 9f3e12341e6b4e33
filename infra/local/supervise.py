"""Talks to supervisord, which holds the processes: writes its configuration, starts it, asks it, ends it.

Every process of the stack carries `WAVEHOUSE_STACK=<home>` in its environment. That is how processes that outlived
a killed supervisor are told from strangers.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import resource
import shlex
import subprocess
import tempfile
import time
import xmlrpc.client
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.local.prepare import become
from infra.local.services import Service, search_path, venv
from lakehouse.config.settings import CHECKOUT, Settings
from lakehouse.errors import FatalError, RetryableError

MARK = "WAVEHOUSE_STACK"
#: A unix socket's path is at most 107 bytes on Linux; supervisord appends its process id while it binds.
SOCKET_LIMIT = 90
#: A process that ends sooner counts as failing to start and is retried with a growing delay: 1 s, 2 s, 3 s, ...
START_SECONDS = 3
START_RETRIES = 1000
#: How far the kernel's and the log's word on when a process started may lie apart, in seconds.
SAME_START_S = 5
#: All that services take over from whoever ran `wavehouse up`.
INHERITED = {
    *("HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "XDG_CACHE_HOME"),
    *("http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"),
}
#: Trino, Kafka and MinIO complain below this.
OPEN_FILES = 65_536


@dataclass(frozen=True)
class Process:
    """What supervisord says of one service. `state` is one of supervisord's names: RUNNING, BACKOFF, STOPPED, ..."""

    name: str
    state: str
    pid: int
    uptime_s: int
    error: str


def socket_path(settings: Settings) -> Path:
    """Where supervisord listens: in <run>, or in the temporary folder where that path would be too long."""
    usual = settings.run / "supervisor.sock"
    if len(str(usual)) <= SOCKET_LIMIT:
        return usual
    digest = hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"wavehouse-{os.geteuid()}-{digest}.sock"


def _quoted(value: str) -> str:
    """A value for supervisord's `environment=`: quoted, with its own expansion sign doubled."""
    if '"' in value or "\n" in value:
        raise ValueError("a service's environment may hold neither quotes nor line breaks")
    return '"' + value.replace("%", "%%") + '"'


def configuration(settings: Settings, services: dict[str, Service], fingerprints: dict[str, str]) -> str:
    """The text of supervisord.conf. Nothing starts by itself: `up` starts services in order, awaiting each probe."""
    run = settings.run
    lines = [
        "[supervisord]",
        f"identifier=wavehouse-{settings.profile}",
        f"logfile={run}/logs/supervisord.log",
        "logfile_maxbytes=0",
        f"pidfile={run}/supervisord.pid",
        f"childlogdir={run}/logs",
        "umask=022",
        f"minfds={open_files()}",
        *(["user=root"] if os.geteuid() == 0 else []),
        "[unix_http_server]",
        f"file={socket_path(settings)}",
        "chmod=0700",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    base = {
        MARK: str(settings.home),
        "WAVEHOUSE_PROFILE": settings.profile,
        "PATH": search_path(),
        # Settings given by environment reach the services too; see lakehouse/config/settings.py.
        **{key: value for key, value in os.environ.items() if re.match(r"WAVEHOUSE_(HOME$|CACHE$|\w+__)", key)},
    }
    for service in services.values():
        env = base | {"WAVEHOUSE_CONFIG": fingerprints.get(service.name, "")} | service.env
        prefix = become(settings, service)
        lines += [
            f"[program:{service.name}]",
            f"command={shlex.join([*prefix, *service.command]).replace('%', '%%')}",
            "environment=" + ",".join(f"{key}={_quoted(str(value))}" for key, value in env.items()),
            f"directory={'/' if prefix else CHECKOUT}",
            "autostart=false",
            "autorestart=true",
            f"startsecs={START_SECONDS}",
            f"startretries={START_RETRIES}",
            f"stopsignal={service.stop['signal']}",
            f"stopwaitsecs={service.stop['seconds']}",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={log_file(settings, service.name)}",
            "stdout_logfile_maxbytes=20MB",
            "stdout_logfile_backups=2",
        ]
    return "\n".join(lines) + "\n"


def open_files() -> int:
    """How many files a service may open: as many as the engines ask for, if we may grant that."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)


def log_file(settings: Settings, name: str) -> Path:
    """Where a service's output goes."""
    return settings.run / "logs" / f"{name}.log"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        import socket

        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _UnixConnection(self._path)


class Supervisor:
    """The supervisord of one installation, running or not. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._config = settings.run / "supervisord.conf"

    def _call(self, method: str, *args: Any) -> Any:
        """One call over its socket; a connection of its own, since the proxy is not thread-safe."""
        transport = _UnixTransport(socket_path(self._settings))
        with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*args)

    def pid(self) -> int | None:
        """Process id of supervisord, or None when it does not run."""
        try:
            return int(self._call("getPID"))
        except (OSError, xmlrpc.client.Fault, http.client.HTTPException):
            return None

    def start(self, text: str) -> None:
        """Write the configuration and start supervisord in the background, or let the running one read it.

        Raises:
            FatalError: it did not come up within 20 seconds.
        """
        self._config.parent.mkdir(parents=True, exist_ok=True)
        (self._settings.run / "logs").mkdir(exist_ok=True)
        scratch = self._config.with_name(".supervisord.new")
        scratch.touch(mode=0o600)
        scratch.write_text(text)
        scratch.replace(self._config)
        if self.pid() is not None:
            return
        log = self._settings.run / "logs" / "supervisord.log"
        if log.exists():  # restarts are counted from it, since this start
            log.replace(log.with_suffix(".log.1"))
        command = [str(venv("main") / "bin" / "python"), "-m", "infra.local.supervisord", "-c", str(self._config)]
        inherited = {key: value for key, value in os.environ.items() if key in INHERITED or key.lower() in INHERITED}
        env = inherited | {MARK: str(self._settings.home), "PATH": search_path()}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        deadline = time.monotonic() + 20
        while self.pid() is None:
            if done.returncode or time.monotonic() > deadline:
                said = (done.stderr or done.stdout).strip().splitlines()[-1:]
                raise FatalError(f"supervisord does not start: {said}", hint=f"See {log}")
            time.sleep(0.1)

    def apply(self, names: set[str]) -> set[str]:
        """Make supervisord use the configuration on disk for these services. Returns those it had to stop for it."""
        added, changed, removed = self._call("reloadConfig")[0]
        stopped = set()
        for name in [n for n in [*changed, *removed] if n in names or n in removed]:
            self.stop(name)
            self._call("removeProcessGroup", name)
            if name in changed:
                stopped.add(name)
                self._call("addProcessGroup", name)
        for name in added:
            self._call("addProcessGroup", name)
        return stopped

    def processes(self) -> dict[str, Process]:
        """Every known service; empty when supervisord does not run."""
        try:
            found = self._call("getAllProcessInfo")
        except (OSError, http.client.HTTPException):
            return {}
        return {
            p["name"]: Process(
                name=p["name"],
                state=p["statename"],
                pid=p["pid"],
                uptime_s=max(0, p["now"] - p["start"]) if p["statename"] == "RUNNING" else 0,
                error=p["spawnerr"] or (p["description"] if p["statename"] in ("BACKOFF", "FATAL") else ""),
            )
            for p in found
        }

    def launch(self, name: str) -> None:
        """Start one service without waiting for it; one that runs already is left alone.

        Raises:
            RetryableError: supervisord could not start the program.
        """
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise RetryableError(
                    f"{name} cannot be started: {fault.faultString}.", hint=f"See `wavehouse logs {name}`."
                ) from fault

    def stop(self, name: str) -> None:
        """Stop one service and wait for its end; one that does not run is left alone."""
        try:
            self._call("stopProcess", name, True)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise RetryableError(f"{name} cannot be stopped: {fault.faultString}.") from fault

    def shutdown(self, *, timeout_s: float = 90) -> None:
        """End supervisord and what it still holds."""
        pid = self.pid()
        if pid is None:
            return
        with contextlib.suppress(OSError, xmlrpc.client.Fault, http.client.HTTPException):
            self._call("shutdown")
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(timeout_s)

    def restarts(self) -> Counter[str]:
        """How often each service has ended by itself since supervisord started, from its log."""
        try:
            text = (self._settings.run / "logs" / "supervisord.log").read_text(errors="replace")
        except OSError:
            return Counter()
        return count_restarts(text)


def count_restarts(log: str) -> Counter[str]:
    """Ends that nobody asked for, by service. With `autorestart=true` each of them is followed by a start."""
    return Counter(re.findall(r"exited: (\S+) \(", log))


def spawned(log: str) -> dict[int, float]:
    """Process ids that supervisord started, each with when (seconds since the epoch), from its log."""
    lines = re.findall(r"^(\S+ \S+),\d+ INFO spawned: '\S+' with pid (\d+)", log, re.MULTILINE)
    # The log is in local time, without a zone.
    return {int(pid): time.mktime(time.strptime(at, "%Y-%m-%d %H:%M:%S")) for at, pid in lines}


def stragglers(settings: Settings) -> list[psutil.Process]:
    """Processes of this installation (and no other), whoever their parent is now; never this process or its parents.

    Told by the mark in their environment. PostgreSQL and Redis write their titles over theirs: those are told by the
    supervisor's log, if they started when it says that it started them (an id may be another process's by now).
    """
    mine = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    log = settings.run / "logs" / "supervisord.log"
    started = spawned(log.read_text(errors="replace")) if log.is_file() else {}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if abs(process.create_time() - started.get(process.pid, 0)) < SAME_START_S:
                found |= {p.pid: p for p in family(process.pid)}
            elif process.environ().get(MARK) == str(settings.home):
                found[process.pid] = process
    return [process for pid, process in found.items() if pid not in mine]


def end(processes: list[psutil.Process], *, timeout_s: float = 20) -> None:
    """Ask processes to end, then make them."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=10)


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, each shared page counted once."""
    total = 0
    for process in family(pid):
        with contextlib.suppress(psutil.Error):
            try:
                total += process.memory_full_info().pss
            except (psutil.AccessDenied, AttributeError):
                total += process.memory_info().rss
    return total
