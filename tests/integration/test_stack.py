"""The stack itself: real processes under a real supervisor, killed, crowded out and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from lakehouse.config.settings import CHECKOUT, Settings
from tests.conftest import WAVEHOUSE, wavehouse_json
from tests.waiting import until

pytestmark = pytest.mark.stack


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Installation:
    """A small stack of its own (PostgreSQL and Redis), with its own folder and ports."""

    home: Path
    env: dict[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [WAVEHOUSE, *arguments], env=self.env, capture_output=True, text=True, timeout=300, check=False
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.run("up", "--only", "postgres,redis")

    def status(self, name: str) -> dict[str, Any]:
        document = json.loads(self.run("status", "--json").stdout.splitlines()[-1])
        return next(s for s in document["services"] if s["name"] == name)

    def running(self, name: str) -> dict[str, Any]:
        """The state of a service once its supervisor counts it as running: it may answer a moment before that."""

        def state() -> dict[str, Any] | None:
            return now if (now := self.status(name))["state"] == "RUNNING" else None

        return dict(until(state, f"the start of {name}"))


@pytest.fixture
def installation() -> Iterator[Installation]:
    # Beside the other data and not in pytest's folder: PostgreSQL's user may not enter that one.
    (CHECKOUT / ".wavehouse").mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(dir=CHECKOUT / ".wavehouse", prefix="stack-test-"))
    ports = {f"WAVEHOUSE_{name}__PORT": str(free_port()) for name in ("POSTGRES", "REDIS")}
    made = Installation(home, os.environ | {"WAVEHOUSE_HOME": str(home), "WAVEHOUSE_PROFILE": "test"} | ports)
    yield made
    made.run("down")
    shutil.rmtree(home)


def test_a_killed_service_comes_back_and_is_counted(installation: Installation) -> None:
    assert installation.up().returncode == 0
    before = installation.running("redis")
    assert before["restarts"] == 0 and before["memory_mb"] > 0

    os.kill(before["pid"], signal.SIGKILL)

    until(lambda: installation.status("redis")["restarts"] == 1, "the restart of redis")
    assert installation.running("redis")["pid"] != before["pid"]
    assert installation.status("postgres")["restarts"] == 0
    assert installation.up().returncode == 0


def test_data_and_passwords_survive_a_restart(installation: Installation) -> None:
    assert installation.up().returncode == 0
    secrets = (installation.home / "secrets.toml").read_text()
    script = (
        "import psycopg; from lakehouse.config.settings import load_settings as l\n"
        "with psycopg.connect(l().postgres.url('catalog', driver='postgresql'), autocommit=True) as c:\n"
        "    c.execute('create table if not exists kept (n int)'); c.execute('insert into kept values (1)')\n"
        "    print(c.execute('select count(*) from kept').fetchone()[0])\n"
    )

    def insert() -> str:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=installation.env,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert insert() == "1"
    assert installation.run("down").returncode == 0
    assert installation.up().returncode == 0
    assert insert() == "2"
    assert (installation.home / "secrets.toml").read_text() == secrets


def test_up_again_changes_nothing(installation: Installation) -> None:
    assert installation.up().returncode == 0
    pids = [installation.running(name)["pid"] for name in ("postgres", "redis")]
    again = installation.up()
    assert again.returncode == 0
    assert again.stderr.count("was running") == 2
    assert [installation.running(name)["pid"] for name in ("postgres", "redis")] == pids


def test_a_changed_setting_restarts_only_its_service(installation: Installation) -> None:
    assert installation.up().returncode == 0
    pids = {name: installation.running(name)["pid"] for name in ("postgres", "redis")}
    template = installation.home / "run" / "redis" / "redis.conf"
    assert "maxmemory 200mb" in template.read_text()
    secrets = installation.home / "secrets.toml"
    password = next(line for line in secrets.read_text().split("[redis]")[1].splitlines() if "password" in line)
    secrets.write_text(secrets.read_text().replace(password, 'password = "another-password-for-redis"'))
    assert installation.up().returncode == 0
    assert installation.status("postgres")["pid"] == pids["postgres"]
    assert installation.status("redis")["pid"] != pids["redis"]


def test_a_port_in_use_is_one_line(installation: Installation) -> None:
    port = int(installation.env["WAVEHOUSE_REDIS__PORT"])
    with socket.create_server(("127.0.0.1", port)):
        refused = installation.up()
    assert refused.returncode == 1
    assert f"Port {port} (redis) is used by process {os.getpid()}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (installation.home / "run" / "supervisord.pid").exists()  # nothing was started


def test_a_service_that_cannot_start_is_named_with_its_last_words(installation: Installation) -> None:
    assert installation.up().returncode == 0
    installation.run("down")
    control = installation.home / "data" / "postgres" / "PG_VERSION"
    control.unlink()
    failed = installation.up()
    assert failed.returncode == 75
    assert "postgres ended 5 times while starting" in failed.stderr
    assert "Traceback" not in failed.stderr
    # It is tried again with a growing delay, for ever: the state between two tries is shown, with what to look at.
    until(lambda: installation.status("postgres")["state"] == "BACKOFF", "the pause between two tries")
    doctor = until(
        lambda: (said := installation.run("doctor")) and "postgres keeps ending" in said.stdout + said.stderr and said,
        "the doctor's finding",
    )
    assert "wavehouse logs postgres" in doctor.stdout + doctor.stderr
    assert "Traceback" not in doctor.stdout + doctor.stderr
    assert "postgres" in installation.run("logs", "postgres", "-n", "3").stdout


def test_orphans_of_a_killed_supervisor_are_ended_before_the_next_start(installation: Installation) -> None:
    assert installation.up().returncode == 0
    orphan = installation.running("redis")["pid"]
    supervisor = psutil.Process(orphan).parent()
    assert supervisor is not None
    supervisor.kill()
    until(lambda: not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE, "the supervisor's end")
    assert psutil.pid_exists(orphan)
    assert installation.up().returncode == 0
    # Whoever inherits an orphan may take its time to collect it.
    until(lambda: not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE, "its end")
    assert installation.running("redis")["pid"] != orphan


def test_down_leaves_nothing_behind_and_may_be_repeated(installation: Installation) -> None:
    assert installation.up().returncode == 0
    family = psutil.Process(installation.running("redis")["pid"]).parent()
    assert family is not None
    members = [family, *family.children(recursive=True)]
    assert installation.run("down").returncode == 0
    assert not [p for p in members if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    again = installation.run("down")
    assert again.returncode == 0
    assert "Nothing was running" in again.stderr


def test_the_whole_stack_runs_within_its_memory(stack: Settings) -> None:
    def everything_runs() -> dict[str, Any] | None:
        document = wavehouse_json("status")
        return document if all(s["state"] == "RUNNING" for s in document["services"]) else None

    document = until(everything_runs, "the start of every service", seconds=180)
    assert {s["group"] for s in document["services"]} == {"lake", "stream", "serving", "airflow"}
    assert 1000 < document["memory_mb"] <= document["memory_goal_mb"]


def test_the_service_user_reaches_our_buckets_and_no_others(stack: Settings) -> None:
    from minio import Minio, S3Error

    s3 = stack.s3
    root = Minio(s3.address, s3.root_user, s3.root_password.get_secret_value(), secure=False, region=s3.region)
    if not root.bucket_exists("somebody-elses"):
        root.make_bucket("somebody-elses")
    client = Minio(s3.address, s3.access_key, s3.secret_key.get_secret_value(), secure=False, region=s3.region)
    for bucket in ("landing", "audio", "lake", "audit"):
        assert client.bucket_exists(bucket)
    with pytest.raises(S3Error, match="AccessDenied"):
        list(client.list_objects("somebody-elses"))


def test_roles_reach_their_own_database_only(stack: Settings) -> None:
    import psycopg

    password = stack.postgres.catalog_password.get_secret_value()
    with psycopg.connect(stack.postgres.url("catalog", driver="postgresql")):
        pass
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(f"postgresql://catalog:{password}@{stack.postgres.address}/iceberg")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://catalog:wrong@{stack.postgres.address}/catalog")


@pytest.mark.parametrize(
    "statement",
    [
        "create schema lake.mine",
        "create table lake.gold.mine (n int)",
        "drop view lake.gold.streams_daily",
        "select * from lake.bronze.plays",
        "delete from lake.bronze.plays",
        'select * from lake.bronze."plays$snapshots"',
        "select * from system.runtime.queries",
    ],
)
def test_an_analyst_only_reads_what_is_published(stack: Settings, statement: str) -> None:
    from lakehouse.adapters.trino import query
    from lakehouse.errors import FatalError

    with pytest.raises(FatalError, match="Access Denied"):
        query(stack, statement, user="analyst")


def test_an_analyst_reads_published_views(stack: Settings) -> None:
    """A view runs with its maker's rights, so the analyst reads it without reaching the table below it."""
    from lakehouse.adapters.trino import query
    from lakehouse.errors import FatalError

    query(stack, "create schema if not exists lake.gold_audit")
    query(stack, "create schema if not exists lake.gold")
    query(stack, "drop view if exists lake.gold.stack_test")
    query(stack, "drop table if exists lake.gold_audit.stack_test")
    query(stack, "create table lake.gold_audit.stack_test as select 7 as n")
    query(stack, "create view lake.gold.stack_test as select * from lake.gold_audit.stack_test")
    try:
        assert query(stack, "select n from lake.gold.stack_test", user="analyst").rows == [(7,)]
        assert ("stack_test",) in query(stack, "show tables from lake.gold", user="analyst").rows
        with pytest.raises(FatalError, match="Access Denied"):
            query(stack, "select n from lake.gold_audit.stack_test", user="analyst")
        with pytest.raises(FatalError, match="Access Denied"):
            query(stack, "drop view lake.gold.stack_test", user="analyst")
        assert query(stack, "select n from lake.gold_audit.stack_test", user="auditor").rows == [(7,)]
        for refused in ("delete from lake.gold_audit.stack_test", "select * from lake.bronze.plays"):
            with pytest.raises(FatalError, match="Access Denied"):
                query(stack, refused, user="auditor")
    finally:
        query(stack, "drop view lake.gold.stack_test")
        query(stack, "drop table lake.gold_audit.stack_test")


def test_airflow_wants_its_password(stack: Settings) -> None:
    import httpx

    user, password = stack.airflow.admin_user, stack.airflow.admin_password.get_secret_value()
    right = httpx.post(f"{stack.airflow.http}/auth/token", json={"username": user, "password": password}, timeout=60)
    assert right.is_success and right.json()["access_token"]
    wrong = httpx.post(f"{stack.airflow.http}/auth/token", json={"username": user, "password": "x"}, timeout=60)
    assert wrong.status_code == httpx.codes.UNAUTHORIZED
    assert httpx.get(f"{stack.airflow.http}/api/v2/dags", timeout=60).status_code == httpx.codes.UNAUTHORIZED


def test_schemas_survive_a_killed_registry(stack: Settings) -> None:
    import httpx

    subjects = f"{stack.registry.http}/apis/ccompat/v7/subjects"
    schema = {"schema": json.dumps({"type": "record", "name": "T", "fields": [{"name": "n", "type": "int"}]})}
    made = httpx.post(f"{subjects}/stack-test-value/versions", json=schema, timeout=30).json()["id"]
    pid = next(s["pid"] for s in wavehouse_json("status")["services"] if s["name"] == "registry")
    os.kill(pid, signal.SIGKILL)

    def answers() -> int | None:
        try:
            answer = httpx.get(f"{subjects}/stack-test-value/versions/latest", timeout=5)
        except httpx.HTTPError:
            return None
        return int(answer.json()["id"]) if answer.is_success else None

    assert until(answers, "the registry's return", seconds=180) == made
    httpx.delete(f"{subjects}/stack-test-value", timeout=30)
