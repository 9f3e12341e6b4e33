"""Makes a bare machine ready: system packages, Python environments, engines. `make setup` runs it.

Needs only the standard library of Python 3.11 or 3.12. Every step looks first whether there is anything to do, may be
interrupted at any point and run again. Slow steps run side by side: the engines' downloads, MinIO's build and the
environments do not wait for one another.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
HOME = CHECKOUT / ".wavehouse"
VENVS = HOME / "venvs"
REQUIREMENTS = CHECKOUT / "requirements"
UV = VENVS / "tools" / "bin" / "uv"
#: Free disk, in bytes, for environments, data of the demo, logs and checkpoints.
DISK_HOME = 8 * 2**30
ENVIRONMENTS = ("main", "airflow", "dbt", "flink")


class SetupError(Exception):
    """A step failed; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


_printing = threading.Lock()


def say(text: str) -> None:
    """One line of progress."""
    with _printing:
        sys.stderr.write(f"==> {text}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Say how long something took; silent about what took no time because it was there."""
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    say(f"{name}: {'there' if seconds < 0.5 else f'{seconds:.0f} s'}")  # noqa: PLR2004


def run(command: list[str], *, hint: str, env: dict[str, str] | None = None) -> str:
    """Run a command quietly and return what it printed; its last lines become the error."""
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=os.environ | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode:
        last = " / ".join(line.strip() for line in done.stdout.strip().splitlines()[-4:])
        raise SetupError(f"{Path(command[0]).name} {command[1] if len(command) > 1 else ''} failed: {last}", hint)
    return done.stdout


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Refuse to run twice at once in one checkout."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(
                "Another `make setup`, `make demo` or `make test` is setting up here.", "Wait for it to end."
            ) from error
        yield


def check_machine() -> None:
    """Refuse before any work what cannot succeed; `wavehouse doctor` looks closer once it is installed."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError(f"This is {platform.system()} on {platform.machine()}.", "Use Linux on x86-64.")
    free = shutil.disk_usage(CHECKOUT).free
    if free < DISK_HOME:
        raise SetupError(
            f"The disk of {CHECKOUT} has {free / 2**30:.1f} GB free; environments and data need {DISK_HOME >> 30}.",
            "Free some disk space, or clone to another disk.",
        )


def has_java_17() -> bool:
    """Whether a JDK 17 (with a compiler) is where the stack looks for it."""
    homes = [
        os.environ.get("JAVA_HOME_17", ""),
        os.environ.get("JAVA_HOME", ""),
        *map(str, Path("/usr/lib/jvm").glob("*")),
    ]
    found = False
    for home in homes:
        release = Path(home) / "release"
        if home and (Path(home) / "bin" / "javac").exists() and release.is_file():
            found = found or 'JAVA_VERSION="17' in release.read_text()
    return found


def has_venv() -> bool:
    """Whether this Python can make environments; Debian and Ubuntu pack that separately."""
    with contextlib.suppress(ImportError):
        import ensurepip
        import venv

        return bool(ensurepip and venv)
    return False


#: Debian and Ubuntu packages, each with the test of whether it is needed.
PACKAGES: dict[str, Callable[[], bool]] = {
    "python3-venv": has_venv,
    "postgresql": lambda: bool(shutil.which("postgres") or any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))),
    "redis-server": lambda: bool(shutil.which("redis-server")),
    "openjdk-17-jdk-headless": has_java_17,
    "maven": lambda: bool(shutil.which("mvn")),
    "ffmpeg": lambda: bool(shutil.which("ffmpeg")),
    "libchromaprint-tools": lambda: bool(shutil.which("fpcalc")),
}
TEST_PACKAGES: dict[str, Callable[[], bool]] = {
    "chromium": lambda: any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    "chromium-driver": lambda: bool(shutil.which("chromedriver")),
}


def system_packages(*, tests: bool) -> None:
    """Install the packages that are missing, with sudo where we are not root."""
    wanted = PACKAGES | (TEST_PACKAGES if tests and debian() else {})
    missing = [name for name, there in wanted.items() if not there()]
    if not missing:
        return
    by_hand = f"Run as root: apt-get update && apt-get install {' '.join(missing)}"
    if not shutil.which("apt-get"):
        raise SetupError(
            f"Missing: {', '.join(missing)}; this is no Debian or Ubuntu.", "Install them with your package manager."
        )
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    if sudo and not shutil.which("sudo"):
        raise SetupError(f"Missing packages: {', '.join(missing)}; neither root nor sudo is at hand.", by_hand)
    say(f"installing {', '.join(missing)}")
    if sudo:  # ask for the password now, in the open, rather than in a silent step
        subprocess.run(["sudo", "-v"], check=False)
    apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    run([*apt, "update"], hint=by_hand)
    run([*apt, "install", "-y", "--no-install-recommends", *missing], hint=by_hand)
    if still := [name for name in missing if not wanted[name]()]:
        raise SetupError(f"Installed, but still not found: {', '.join(still)}.", by_hand)


def debian() -> bool:
    """Ubuntu's chromium package is a snap, which does not run everywhere; the tests that need it say so there."""
    with contextlib.suppress(OSError):
        return "ID=debian" in Path("/etc/os-release").read_text().splitlines()
    return False


def works(venv: Path) -> bool:
    """Whether an environment's Python still runs (the system's may have been replaced under it)."""
    python = venv / "bin" / "python"
    return python.exists() and subprocess.run([str(python), "-c", ""], capture_output=True, check=False).returncode == 0


def digest(*paths: Path) -> str:
    """One SHA-256 over files."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def stamped(folder: Path) -> str:
    """What an environment, or what is made with one, was last completely built from."""
    with contextlib.suppress(OSError):
        return (folder / ".built-from").read_text()
    return ""


def tools() -> None:
    """The small environment that holds uv and PyYAML."""
    venv, pins = VENVS / "tools", REQUIREMENTS / "tools.txt"
    wanted = digest(pins)
    if stamped(venv) == wanted and works(venv):
        return
    hint = "Check the network (pip's index), then run this again."
    run([sys.executable, "-m", "venv", "--clear", str(venv)], hint="Install python3-venv.")
    run([str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(pins)], hint=hint)
    (venv / ".built-from").write_text(wanted)


def environment(name: str, *, tests: bool) -> None:
    """One environment, exactly as pinned; rebuilt in place when its pins changed."""
    venv, pins = VENVS / name, [REQUIREMENTS / f"{name}.txt"]
    had_tests = stamped(venv).endswith("+tests")  # a demo after a test run does not take the test tools out again
    if name == "main" and (tests or had_tests):
        pins.append(REQUIREMENTS / "test.txt")
    sources = [*pins, CHECKOUT / "pyproject.toml"] if name == "main" else pins
    wanted = digest(*sources) + ("+tests" if len(pins) > 1 else "")
    if stamped(venv) == wanted and works(venv):
        return
    hint = "Check the network (uv's index) and disk space, then run this again."
    env = {"VIRTUAL_ENV": str(venv), "UV_NO_PROGRESS": "1"}
    if not works(venv):
        shutil.rmtree(venv, ignore_errors=True)
        run([str(UV), "venv", "-q", "--no-project", "--python", sys.executable, str(venv)], hint=hint)
    (venv / ".built-from").unlink(missing_ok=True)
    run([str(UV), "pip", "sync", "-q", "--require-hashes", *map(str, pins)], hint=hint, env=env)
    if name == "main":
        # `compat` puts the checkout itself on the path, so that new packages are found without installing again.
        editable = ["--no-deps", "--config-settings", "editable_mode=compat", "-e", str(CHECKOUT)]
        constraints = ["--build-constraints", str(REQUIREMENTS / "tools.txt")]
        run([str(UV), "pip", "install", "-q", *editable, *constraints], hint=hint, env=env)
    (venv / ".built-from").write_text(wanted)


def compiled() -> None:
    """Let librosa compile its functions, once an environment."""
    cache, wanted = HOME / "numba", stamped(VENVS / "main")
    if stamped(cache) == wanted:
        return
    run(
        [str(VENVS / "main" / "bin" / "python"), "-m", "spark_jobs.compiled"], hint="Remove .wavehouse/numba and retry."
    )
    (cache / ".built-from").write_text(wanted)


def engines(kind: str) -> None:
    """Fetch one kind of engine in the tool environment."""
    hint = "See the message above; run this again, it goes on where it stopped."
    said = run([str(VENVS / "tools" / "bin" / "python"), "-m", "infra.local.engines", kind], hint=hint)
    for line in said.strip().splitlines():
        say(f"  {line}")


def main() -> int:
    """All steps; exit code 1 with one line and a hint when one fails."""
    parser = argparse.ArgumentParser(description="Make this machine ready for Wavehouse.")
    parser.add_argument("--tests", action="store_true", help="also what the tests need")
    tests = parser.parse_args().tests
    start = time.monotonic()
    os.chdir(CHECKOUT)

    def environments() -> None:
        for name in ENVIRONMENTS:
            with step(f"Python environment {name}"):
                environment(name, tests=tests)
        with step("compiled audio functions"):
            compiled()

    def fetched(kind: str, title: str) -> None:
        with step(title):
            engines(kind)

    try:
        check_machine()
        with only_one():
            with step("system packages"):
                system_packages(tests=tests)
            with step("tools"):
                tools()
            with ThreadPoolExecutor() as pool:
                jobs = [
                    pool.submit(fetched, "go", "engine MinIO (built from source)"),
                    pool.submit(fetched, "maven", "engines from Maven"),
                    pool.submit(fetched, "jdk", "JDK 25"),
                    pool.submit(environments),
                ]
                for job in as_completed(jobs):
                    job.result()
    except SetupError as error:
        sys.stderr.write(f"error: {error}\n  try: {error.hint}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Run it again: it goes on where it stopped.\n")
        return 130
    say(f"set-up done in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
