"""The services of the stack as values: reads services.yaml, fills its templates, orders by need."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml
from pydantic import SecretStr

from infra.local import engines
from lakehouse.config.settings import CHECKOUT, Settings
from lakehouse.errors import FatalError

HERE = Path(__file__).resolve().parent
SERVICES_FILE = HERE / "services.yaml"
TEMPLATES = HERE / "templates"
VENVS = CHECKOUT / ".wavehouse" / "venvs"
GROUPS = ("lake", "stream", "serving", "airflow")
#: Programs that services call, and the Debian or Ubuntu package that brings each.
TOOLS = {
    "redis-server": "redis-server",
    "tar": "tar",
    "bash": "bash",
}
STOP = {"signal": "TERM", "seconds": 20}


@dataclass(frozen=True)
class Service:
    """One service; the fields are described at the top of services.yaml."""

    name: str
    group: str
    command: tuple[str, ...]
    probe: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    memory_mb: int = 0
    user: str = ""
    prepare: str = ""
    config: str = ""
    init: str = ""
    stop: dict[str, Any] = field(default_factory=lambda: dict(STOP))
    enabled: bool = True
    timeout_s: float = 900


def venv(name: str) -> Path:
    """Folder of one of the four Python environments."""
    return VENVS / name


def pyflink() -> Path:
    """Flink's own folder, inside the apache-flink wheel.

    Raises:
        FatalError: the flink environment has not been built.
    """
    found = next(venv("flink").glob("lib/python3*/site-packages/pyflink"), None)
    if not found:
        raise FatalError("The flink environment has not been built.", hint="Run: make setup")
    return found


def postgres_bin(data: Path) -> Path:
    """Folder of PostgreSQL's programs: the version that made the data, else the newest.

    Raises:
        FatalError: PostgreSQL is not installed, or not in the version of the data.
    """
    found = {int(p.parents[1].name): p.parent for p in Path("/usr/lib/postgresql").glob("[0-9]*/bin/postgres")}
    if not found and (postgres := shutil.which("postgres")):
        return Path(postgres).resolve().parent
    version_file = data / "postgres" / "PG_VERSION"
    wanted = max(found, default=0)
    with contextlib.suppress(OSError):  # no data yet
        wanted = int(version_file.read_text())
    if wanted not in found:
        raise FatalError(
            f"PostgreSQL {wanted or ''} is not installed.".replace("  ", " "),
            hint="Run `make setup` as root or with sudo, or install the package 'postgresql'.",
        )
    return found[wanted]


def search_path() -> str:
    """PATH of every service: our own command, where the tools are, and the system's folders.

    Not the caller's PATH: services would then depend on who ran `wavehouse up`, and be restarted for the difference.
    """
    tools = [str(Path(found).parent) for tool in TOOLS if (found := shutil.which(tool))]
    system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return os.pathsep.join(dict.fromkeys([str(venv("main") / "bin"), *tools, *system]))


def _secret(value: SecretStr) -> str:
    text = value.get_secret_value()
    if not text:
        raise FatalError("A password is missing from secrets.toml.", hint="Run: wavehouse up")
    return text


def context(settings: Settings) -> dict[str, Any]:
    """Names that templates may use; see the top of services.yaml."""
    return {
        "settings": settings,
        "home": settings.home,
        "data": settings.data,
        "run": settings.run,
        "checkout": CHECKOUT,
        "engine": engines.engine_path,
        "java": engines.java_home,
        "venv": venv,
        "path": search_path(),
        "pyflink": pyflink(),
        "postgres_bin": postgres_bin(settings.data),
    }


def environment() -> jinja2.Environment:
    """Jinja2, strict: an unknown name is an error, not an empty string."""
    made = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - config files, not pages
    made.filters["secret"] = _secret
    return made


def load_services(settings: Settings, path: Path = SERVICES_FILE) -> dict[str, Service]:
    """All services with their templates filled, in start order.

    Raises:
        FatalError: an engine, a JDK or an environment is missing.
    """
    names, jinja = context(settings), environment()

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return jinja.from_string(value).render(names)
        if isinstance(value, list):
            return tuple(fill(item) for item in value)
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return value

    try:
        services = {
            n: Service(name=n, **fill(entry)) for n, entry in yaml.safe_load(path.read_text())["services"].items()
        }
    except engines.EngineError as error:
        raise FatalError(str(error), hint=error.hint) from error
    check_order(services.values())
    return services


def check_order(services: Iterable[Service]) -> None:
    """Refuse a list in which a service stands before one that it needs: their order is the start order.

    Raises:
        ValueError: an unknown need, or one that stands further down.
    """
    before: set[str] = set()
    for service in services:
        if late := set(service.needs) - before:
            raise ValueError(f"services.yaml: {service.name} must stand after {', '.join(sorted(late))}")
        before.add(service.name)


def select(services: dict[str, Service], only: Iterable[str] = ()) -> dict[str, Service]:
    """Enabled services of the named groups (or names) with everything they need; all when nothing is named.

    Raises:
        FatalError: a name is neither a group nor a service.
    """
    chosen: set[str] = set()
    asked = list(only) or list(services)
    for name in asked:
        members = [s.name for s in services.values() if name in (s.group, s.name)]
        if not members:
            raise FatalError(
                f"There is no group or service '{name}'.",
                hint=f"Groups: {', '.join(GROUPS)}. Services: {', '.join(services)}.",
            )
        chosen |= {m for m in members if services[m].enabled}
    waiting = list(chosen)
    while waiting:
        for need in services[waiting.pop()].needs:
            if need not in chosen and services[need].enabled:
                chosen.add(need)
                waiting.append(need)
    return {name: service for name, service in services.items() if name in chosen}


def port_of(settings: Settings, dotted: str) -> int:
    """The value of a port named like `trino.http_port`."""
    value: Any = settings
    for part in dotted.split("."):
        value = getattr(value, part)
    return int(value)


def render_files(settings: Settings) -> dict[Path, str]:
    """The text of every configuration file, by its place below <run>."""
    names, jinja = context(settings), environment()
    try:
        return {
            settings.run / path.relative_to(TEMPLATES): jinja.from_string(path.read_text()).render(names)
            for path in sorted(TEMPLATES.rglob("*"))
            if path.is_file()
        }
    except engines.EngineError as error:
        raise FatalError(str(error), hint=error.hint) from error


def write_files(files: dict[Path, str]) -> None:
    """Write configuration files, readable by their owner alone (they hold passwords); unchanged ones are left alone."""
    for path, text in files.items():
        if path.is_file() and path.read_text() == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.new")
        scratch.write_text(text)
        scratch.chmod(0o600)
        scratch.replace(path)


def fingerprint(service: Service, files: dict[Path, str], settings: Settings) -> str:
    """A digest of the configuration files a service reads: when it changes, `up` restarts the service."""
    folder = settings.run / (service.config or service.name)
    own = {str(path): text for path, text in files.items() if path.is_relative_to(folder)}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]
