"""What a service needs before its first start (`prepare`) and once it answers (`init`), by the names in services.yaml.

Each step may be interrupted and run again; it does nothing when there is nothing to do.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from infra.local import certificates, engines
from infra.local.services import Service, pyflink, venv
from lakehouse.adapters import provision
from lakehouse.config.settings import CHECKOUT, Settings
from lakehouse.errors import FatalError

#: Java sources of the functions that Flink jobs call.
FUNCTIONS = CHECKOUT / "flink_jobs" / "java"
PBKDF2_ROUNDS = 20_000


def _run(command: list[str], *, what: str, env: dict[str, str] | None = None) -> None:
    """Run a set-up command; its last line becomes the error."""
    done = subprocess.run(
        command,
        env=os.environ | (env or {}),
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        last = [line for line in done.stdout.strip().splitlines() if line.strip()][-1:] or ["no output"]
        raise FatalError(f"{what} failed: {last[0]}", hint=f"Run it by hand to see more: {' '.join(command[:3])} ...")


def system_user(service: Service) -> str | None:
    """The system user a service runs as: its own when we are root (PostgreSQL refuses root), else ours."""
    return service.user if service.user and os.geteuid() == 0 else None


def become(settings: Settings, service: Service) -> list[str]:
    """What to put before a command to run it as the service's system user; nothing where that is us.

    A checkout in /root is closed to everybody else. The user then keeps one right of root, to pass such folders, rather
    than us opening /root or putting the data somewhere unexpected.
    """
    user = system_user(service)
    if not user:
        return []
    prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    if not can_enter([*prefix, "--"], settings.home):
        prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [*prefix, "--"]


def can_enter(prefix: list[str], folder: Path) -> bool:
    """Whether a process started with `prefix` reaches into a folder (`test -x` would not see granted capabilities)."""
    command = [*prefix, "stat", f"{folder}/."]
    return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0


def own(paths: list[Path], user: str | None) -> None:
    """Give files to the service's system user; nothing to do where that is us."""
    if not user:
        return
    entry = pwd.getpwnam(user)
    for path in paths:
        os.chown(path, entry.pw_uid, entry.pw_gid)


def data_folder(settings: Settings, service: Service) -> None:
    """An empty folder for the service's data."""
    (settings.data / service.name).mkdir(parents=True, exist_ok=True)


def postgres_cluster(settings: Settings, service: Service) -> None:
    """`initdb` with a password for the administrator, into a temporary folder that is renamed when complete."""
    user, data = system_user(service), settings.data / "postgres"
    config = settings.run / "postgres"
    own([config, *config.iterdir()], user)
    if data.exists():
        return
    settings.data.mkdir(parents=True, exist_ok=True)
    for leftover in settings.data.glob(".postgres-*"):
        shutil.rmtree(leftover)
    scratch = Path(tempfile.mkdtemp(dir=settings.data, prefix=".postgres-"))
    scratch.chmod(0o755)
    cluster, password = scratch / "cluster", scratch / "password"
    password.touch(mode=0o600)
    password.write_text(settings.postgres.postgres_password.get_secret_value())
    own([scratch, password], user)
    initdb = Path(service.command[0]).with_name("initdb")
    command = [
        *become(settings, service),
        str(initdb),
        "-D",
        str(cluster),
        "-U",
        "postgres",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]
    _run([*command, "--auth=scram-sha-256", f"--pwfile={password}"], what="initdb")
    cluster.rename(data)
    shutil.rmtree(scratch)


def minio_drives(settings: Settings, service: Service) -> None:
    """Four drives."""
    for number in range(1, 5):
        (settings.data / service.name / f"d{number}").mkdir(parents=True, exist_ok=True)


def trino_identity(settings: Settings, service: Service) -> None:
    """Certificates and the password file."""
    folder = settings.run / service.name
    certificates.make(folder, host=settings.trino.host)
    (settings.data / service.name).mkdir(parents=True, exist_ok=True)
    passwords, known = folder / "password.db", folder / "password.sha256"
    users = {
        "engine": settings.trino.engine_password.get_secret_value(),
        "analyst": settings.trino.analyst_password.get_secret_value(),
        "auditor": settings.trino.auditor_password.get_secret_value(),
    }
    digest = hashlib.sha256(repr(users).encode()).hexdigest()
    if passwords.is_file() and known.is_file() and known.read_text() == digest:
        return
    passwords.touch(mode=0o600)
    passwords.write_text("".join(f"{user}:{pbkdf2(password)}\n" for user, password in users.items()))
    known.touch(mode=0o600)
    known.write_text(digest)


def pbkdf2(password: str) -> str:
    """A password as Trino's file authenticator reads it: rounds:salt:hash (PBKDF2WithHmacSHA1, in hex)."""
    salt = secrets.token_bytes(16)
    digest = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, PBKDF2_ROUNDS, dklen=32)
    return f"{PBKDF2_ROUNDS}:{salt.hex()}:{digest.hex()}"


def kafka_storage(settings: Settings, service: Service) -> None:
    """Format the log folder once, under a cluster id of its own."""
    if (settings.data / "kafka" / "meta.properties").is_file():
        return
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    java, classes, config = service.command[0], service.command[-3], service.command[-1]
    command = [java, "-cp", classes, "kafka.tools.StorageTool", "format", "-t", cluster_id.lstrip("-_"), "-c", config]
    _run([*command, "--ignore-formatted"], what="Formatting Kafka's log folder")


def flink_libraries(settings: Settings, _service: Service) -> None:
    """One folder of links: Flink's own jars, the connectors and our compiled functions."""
    folder = settings.run / "flink-lib"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("checkpoints", "savepoints", "tmp", "rocksdb"):
        (settings.data / "flink" / name).mkdir(parents=True, exist_ok=True)
    jars = [*(pyflink() / "lib").glob("*.jar"), *engines.engine_path("flink-jars").glob("*.jar")]
    if (functions := functions_jar()) is not None:
        jars.append(functions)
    wanted = {jar.name: jar for jar in jars}
    for link in folder.iterdir():
        if link.name not in wanted or link.readlink() != wanted[link.name]:
            link.unlink()
    for name, jar in wanted.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(jar)


def functions_digest() -> str:
    """A digest of the functions' sources and of what they are compiled against."""
    digest = hashlib.sha256()
    for source in sorted(FUNCTIONS.rglob("*.java")):
        digest.update(str(source.relative_to(FUNCTIONS)).encode() + b"\0" + source.read_bytes())
    digest.update(str(engines.load_lock()["flink-jars"].spec).encode())
    return digest.hexdigest()[:16]


def functions_jar() -> Path | None:
    """The jar of flink_jobs/java, compiled when a source or Flink's version changed; None when there is no source.

    Raises:
        FatalError: a source does not compile.
    """
    sources = sorted(FUNCTIONS.rglob("*.java"))
    if not sources:
        return None
    jar = engines.cache_root() / "flink-functions" / f"wavehouse-flink-functions-{functions_digest()}.jar"
    if jar.is_file():
        return jar
    classpath = [*(pyflink() / "lib").glob("*.jar"), *engines.engine_path("flink-jars").glob("*.jar")]
    jar.parent.mkdir(parents=True, exist_ok=True)
    bin_folder = engines.java_home(17) / "bin"
    with tempfile.TemporaryDirectory(dir=jar.parent) as scratch:
        classes, made = Path(scratch) / "classes", Path(scratch) / jar.name
        javac = [str(bin_folder / "javac"), "--release", "17", "-nowarn", "-d", str(classes)]
        _run([*javac, "-cp", os.pathsep.join(map(str, classpath)), *map(str, sources)], what="javac")
        _run([str(bin_folder / "jar"), "--create", "--file", str(made), "-C", str(classes), "."], what="jar")
        made.rename(jar)
    return jar


def airflow_metadata(settings: Settings, service: Service) -> None:
    """Migrate Airflow's database and create its pools, once a version."""
    folder = settings.data / "airflow"
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    pools = settings.run / "airflow" / "pools.json"
    version = next(venv("airflow").glob("lib/python3*/site-packages/apache_airflow_core-*.dist-info")).name
    state = hashlib.sha256(version.encode() + pools.read_bytes()).hexdigest()
    done = folder / "migrated"
    if done.is_file() and done.read_text() == state:
        return
    airflow = service.command[0]
    _run([airflow, "db", "migrate"], env=service.env, what="Migrating Airflow's database")
    _run([airflow, "pools", "import", str(pools)], env=service.env, what="Creating Airflow's pools")
    done.write_text(state)


#: Steps that bring the engine itself to a state, once it answers.
INIT: dict[str, Callable[[Settings], None]] = {
    "postgres_databases": provision.postgres_databases,
    "minio_buckets": provision.minio_buckets,
}
PREPARE: dict[str, Callable[[Settings, Service], None]] = {
    step.__name__: step
    for step in (
        data_folder,
        postgres_cluster,
        minio_drives,
        trino_identity,
        kafka_storage,
        flink_libraries,
        airflow_metadata,
    )
}
