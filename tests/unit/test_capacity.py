"""The plan for ingest: arithmetic by hand, and the simulation against queueing theory."""

from __future__ import annotations

import heapq
import json
import math
import random
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import sqlalchemy as sa
import yaml
from sqlalchemy import QueuePool
from typer.testing import CliRunner

from lakehouse.adapters import intake, lake
from lakehouse.adapters.catalog_db import CatalogDb, Landed
from lakehouse.adapters.objects import LANDING, Objects
from lakehouse.cli.ingest import app as ingest_app
from lakehouse.cli.plan import app as plan_app
from lakehouse.config.settings import CHECKOUT, Settings, load_settings
from lakehouse.domain.capacity import backlog, ingest, queue
from lakehouse.errors import FatalError, RejectedInputError
from serving.backlog.app import Counted, assemble, create_app
from spark_jobs import session
from spark_jobs.extract_features import PER_TASK
from tests.asgi import get

RATES = ingest.Rates(200.0, 100.0, 0.0, 10**9)


def test_ten_terabytes_at_320_kbit_are_2894_times_real_time() -> None:
    """10^13 bytes x 8 bits / 320,000 bits a second / 86,400 s a day; each second costs 1/200 + 1/100 CPU seconds."""
    plan = ingest.plan(10, 320, RATES)
    assert plan.times_real_time == pytest.approx(2893.5, abs=0.1)
    assert plan.busy_cores == pytest.approx(2893.5 * 0.015, rel=1e-4)
    assert plan.memory_bytes == 44 * 10**9


@pytest.mark.parametrize(
    "values",
    [
        {},
        {**vars(RATES), "probe_audio_s_per_core_s": "fast"},
        {**vars(RATES), "more": 1},
        {**vars(RATES), "overhead": -1},
    ],
)
def test_wrong_rates_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(RejectedInputError):
        ingest.rates(values)


def test_the_measured_rates_are_rates() -> None:
    assert ingest.measured().core_s_per_audio_s > 0


def waits_s(batches: list[queue.Batch], servers: int) -> list[float]:
    """Waits in the queue G/G/c, each served in order by the server free first (Kiefer and Wolfowitz 1955)."""
    free, waits = [0.0] * servers, []
    for batch in batches:
        start = max(heapq.heappop(free), batch.arrived_s)
        waits.append(start - batch.arrived_s)
        heapq.heappush(free, start + batch.core_s)
    return waits


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (4, 3.2), (12, 13.0)])
def test_a_fixed_fleet_waits_as_queueing_theory_says(servers: int, load: float) -> None:
    rng = random.Random(servers)
    moment, batches = 0.0, []
    for _ in range(10_000):
        moment += rng.expovariate(load / 10)
        batches.append(queue.Batch(moment, rng.expovariate(1 / 10)))
    outcome = queue.replay(batches, queue.Fleet(least=servers, most=servers, start_s=0))
    assert outcome.delays_s == pytest.approx(sorted(waits_s(batches, servers)), abs=1e-6)


DAY = queue.Day(core_s=40 * 86_400, batch_core_s=600)


def test_a_day_brings_its_volume_in_order_and_the_same_again() -> None:
    batches = list(queue.deliveries(DAY, seed=1))
    assert batches == list(queue.deliveries(DAY, seed=1)) != list(queue.deliveries(DAY, seed=2))
    moments = [batch.arrived_s for batch in batches]
    assert moments == sorted(moments) and moments[0] >= 0 and moments[-1] < 86_400
    assert sum(batch.core_s for batch in batches) == pytest.approx(DAY.core_s, rel=0.1)


def test_nothing_is_lost_when_workers_die_and_the_fleet_keeps_to_its_limits() -> None:
    batches = list(queue.deliveries(DAY, seed=3))
    outcome = queue.replay(batches, queue.Fleet(least=5, most=120, failure_s=3600), seed=3)
    assert outcome.done == outcome.arrived == len(batches)
    assert outcome.tried_again > 100
    assert 5 <= outcome.most_workers <= 120
    assert outcome.worker_s >= sum(batch.core_s for batch in batches)


def test_the_smallest_fleet_keeps_the_goal_and_a_smaller_one_does_not() -> None:
    batches = list(queue.deliveries(DAY, seed=4))
    limits = queue.Fleet(least=10, most=320, failure_s=86_400)
    found = queue.smallest_fleet(batches, limits, 900, seed=4)
    assert found is not None
    assert queue.replay(batches, found, 4).delay_s(99) < 900
    smaller = queue.Fleet(**{**vars(found), "most": int(found.most * 0.9)})
    assert queue.replay(batches, smaller, 4).delay_s(99) >= 900


def test_a_goal_that_no_fleet_keeps_is_told_from_one_that_the_largest_keeps() -> None:
    """One batch comes while the store is away for 20 minutes: no number of workers makes it wait less."""
    batches, limits = [queue.Batch(100.0, 10.0)], queue.Fleet(least=1, most=8)
    away = [queue.Outage(0.0, 1200.0)]
    assert queue.smallest_fleet(batches, limits, 900, away=away) is None
    assert queue.smallest_fleet(batches, limits, 1200, away=away) == queue.Fleet(least=1, most=1)


def test_an_outage_cuts_off_what_is_under_way_and_loses_nothing() -> None:
    """By hand: the first batch starts at 0, is cut off at 60 and starts again when the worker looks after 360; the
    second, which comes meanwhile, after it.
    """
    batches = [queue.Batch(0.0, 100.0), queue.Batch(200.0, 50.0)]
    outcome = queue.replay(batches, queue.Fleet(least=1, most=1), away=[queue.Outage(60.0, 360.0)])
    assert (outcome.arrived, outcome.done, outcome.cut_off, outcome.tried_again) == (2, 2, 1, 0)
    second, first = outcome.delays_s
    assert 360 <= first < 360 + queue.LOOK_S
    assert second == pytest.approx(first + 100 - 200)


def test_a_day_with_deaths_and_outages_loses_nothing_and_nobody_works_in_an_outage() -> None:
    batches = list(queue.deliveries(DAY, seed=5))
    away = queue.outages(3, 600, seed=5)
    outcome = queue.replay(batches, queue.Fleet(least=5, most=120, failure_s=3600), 5, away)
    assert outcome.done == outcome.arrived == len(batches)
    assert outcome.tried_again > 100 and outcome.cut_off > 10
    assert outcome.delay_s(100) > max(one.ends_s - one.starts_s for one in away) / 2


def test_outages_are_drawn_again_the_same_in_order_and_apart() -> None:
    drawn = queue.outages(200, 600, seed=1)
    assert drawn == queue.outages(200, 600, seed=1) != queue.outages(200, 600, seed=2)
    assert all(before.ends_s < after.starts_s for before, after in pairwise(drawn))
    assert min(one.ends_s - one.starts_s for one in drawn) >= 300
    assert len(queue.outages(2, 300, seed=0)) == 2
    assert queue.outages(0, 300, seed=0) == []
    with pytest.raises(RejectedInputError):
        queue.outages(-1, 300, seed=0)


def test_no_deliveries_take_no_time() -> None:
    outcome = queue.replay([], queue.Fleet(least=0, most=1))
    assert (outcome.arrived, outcome.done, outcome.delay_s(99)) == (0, 0, 0.0)


def test_a_fleet_without_workers_is_refused() -> None:
    with pytest.raises(RejectedInputError):
        queue.Fleet(least=0, most=0)


@cache
def planned() -> dict[str, Any]:
    """What `wavehouse plan ingest` says of 10 TB a day, with deaths and outages."""
    done = CliRunner().invoke(plan_app, ["ingest", "--json"])
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_ten_terabytes_a_day_wait_less_than_a_quarter_of_an_hour_with_deaths_and_outages() -> None:
    """NFR-S2, of the fleet that infra/cluster has: nothing is lost either."""
    told = planned()
    assert told["goal_met"] and told["goal_s"] == 900
    assert told["delay_p99_s"] < 900
    assert told["done"] == told["batches"] > 40_000
    assert told["tried_again"] > 10
    assert told["outages"] == 2 and told["outages_s"] > 300 and told["cut_off"] > 10


def test_a_plan_that_misses_its_goal_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    path.write_text(json.dumps(vars(RATES)))
    missed = ["ingest", "--tb-per-day", "0.05", "--rates", str(path), "--outages", "1", "--outage-minutes", "600"]
    done = CliRunner().invoke(plan_app, missed)
    assert done.exit_code == 1
    assert isinstance(done.exception, FatalError)
    assert "The goal is missed" in done.exception.message
    told = CliRunner().invoke(plan_app, [*missed, "--json"])
    assert told.exit_code == 1
    values = json.loads(told.stdout)
    assert not values["goal_met"] and values["delay_p99_s"] >= values["goal_s"]


def test_the_command_plans_with_rates_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    path.write_text(json.dumps(vars(RATES)))
    done = CliRunner().invoke(plan_app, ["ingest", "--tb-per-day", "0.5", "--rates", str(path), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["done"] == told["batches"] > 0
    assert told["delay_p99_s"] < told["goal_s"]
    assert told["most_cores"] >= told["busy_cores"]


def test_the_scaler_of_the_cluster_follows_the_simulated_fleet() -> None:
    """infra/cluster holds the numbers of `Fleet` and of the plan for 10 TB a day."""
    spec = yaml.safe_load((CHECKOUT / "infra" / "cluster" / "ingest-scaledobject.yaml").read_text())["spec"]
    fleet = queue.Fleet(least=0, most=1)
    [trigger] = spec["triggers"]
    assert trigger["metadata"]["valueLocation"] == backlog.SCALED
    assert float(trigger["metadata"]["targetValue"]) == fleet.drain_s
    assert spec["pollingInterval"] == queue.SCALER_S
    assert spec["cooldownPeriod"] == fleet.idle_s
    assert spec["maxReplicaCount"] == planned()["most_cores"]
    assert spec["minReplicaCount"] == math.ceil(math.ceil(planned()["busy_cores"]) / 4)


def test_the_scaler_of_the_cluster_scales_workers_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run a command that exists, with settings that exist, and the memory that the plan counts."""
    folder = CHECKOUT / "infra" / "cluster"
    scaler = yaml.safe_load((folder / "ingest-scaledobject.yaml").read_text())["spec"]
    scaled = scaler["scaleTargetRef"]
    worker = yaml.safe_load((folder / "ingest-worker.yaml").read_text())
    assert (worker["kind"], worker["metadata"]["name"]) == ("Deployment", scaled["name"])
    assert "replicas" not in worker["spec"]  # KEDA's
    pod = worker["spec"]["template"]
    assert pod["metadata"]["labels"] == worker["spec"]["selector"]["matchLabels"]
    [container] = pod["spec"]["containers"]
    assert {float(sizes["memory"]) for sizes in container["resources"].values()} == {
        ingest.measured().memory_bytes_per_core
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["spec"]["volumes"]
    }
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "hidden"))
    settings = load_settings()
    assert (settings.s3.address, settings.postgres.address) == ("minio:9000", "postgres:5432")
    assert settings.s3.secret_key.get_secret_value() == "hidden"
    assert "hidden" in settings.postgres.url("catalog")
    with CatalogDb(settings) as db:  # the connections that it keeps are those that a worker needs at once
        needed = cast(QueuePool, db._engine.pool).size() * scaler["maxReplicaCount"]
    assert int(worker["metadata"]["annotations"]["postgres-connections"]) == needed
    assert f"must be above {needed}" in (CHECKOUT / "docs" / "architecture" / "ingest.md").read_text()
    program, *arguments = container["command"]
    assert program == "wavehouse"
    assert CliRunner().invoke(ingest_app, [*arguments[1:], "--help"]).exit_code == 0
    assert arguments[0] == "ingest"


def test_the_scaler_of_the_cluster_asks_a_service_that_is_there_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its URL leads through the Service to the container, whose program answers that path with the metric it names."""
    folder = CHECKOUT / "infra" / "cluster"
    scaler = yaml.safe_load((folder / "ingest-scaledobject.yaml").read_text())["spec"]
    [trigger] = scaler["triggers"]
    assert trigger["type"] == "metrics-api"
    deployment, service, policy = yaml.safe_load_all((folder / "ingest-backlog.yaml").read_text())
    pod = deployment["spec"]["template"]
    [container] = pod["spec"]["containers"]
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    assert pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    [port], [listens] = service["spec"]["ports"], container["ports"]
    url = httpx.URL(trigger["metadata"]["url"])
    # KEDA asks from another namespace.
    assert (url.host, url.port) == (service["metadata"]["name"] + ".wavehouse", port["port"])
    assert port["targetPort"] == listens["name"]
    probes = [container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")]
    assert [(probe["path"], probe["port"]) for probe in probes] == [("/healthz", "http"), ("/readyz", "http")]
    command = container["command"]
    assert command[command.index("--port") + 1] == str(listens["containerPort"])
    module, _, factory = command[command.index("--factory") + 1].partition(":")
    assert getattr(import_module(module), factory) is create_app
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "hidden"))
    settings = load_settings()
    assert (settings.s3.address, settings.postgres.address) == ("minio:9000", "postgres:5432")
    found = backlog.Backlog(3, 8_000_000, 300.0, 1234.5), backlog.Deliveries(0, 0, 0.0)
    counted = Counted(lambda: found, backlog.LandingAge, every_s=15.0, stale_s=300.0)
    app = assemble(settings, landing=counted, features=counted)
    assert [get(app, probe["path"]).status_code for probe in probes] == [200, 503]
    counted.refresh()
    assert get(app, url.path).json()[trigger["metadata"]["valueLocation"]] == 1234.5
    assert [get(app, probe["path"]).status_code for probe in probes] == [200, 200]
    # What it may reach, and who may reach it.
    spec = policy["spec"]
    assert (policy["kind"], spec["podSelector"], spec["policyTypes"]) == (
        *("NetworkPolicy", deployment["spec"]["selector"], ["Ingress", "Egress"]),
    )
    [asks] = spec["ingress"]
    assert asks["ports"] == [{"protocol": "TCP", "port": listens["name"]}]
    asked = {one["port"] for rule in spec["egress"] for one in rule["ports"]}
    assert asked == {settings.s3.port, settings.postgres.port, 53}


def test_the_service_that_counts_for_the_scaler_may_only_read_what_it_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its rights name the columns that it asks for; its users and its secret are not those of the workers."""
    folder = CHECKOUT / "infra" / "cluster"
    deployment, *_ = yaml.safe_load_all((folder / "ingest-backlog.yaml").read_text())
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    secrets = {one["valueFrom"]["secretKeyRef"]["name"] for one in variables if "valueFrom" in one}
    assert secrets == {"wavehouse-backlog"}
    for variable in variables:
        monkeypatch.setenv(variable["name"], variable.get("value", "hidden"))
    settings = load_settings()
    addresses = {settings.postgres.url(name) for name in ("catalog", "iceberg")}
    assert addresses == {
        f"postgresql+psycopg://wavehouse_backlog:hidden@postgres:5432/{name}" for name in ("catalog", "iceberg")
    }
    assert settings.s3.access_key == "wavehouse-backlog"
    sql = "".join(line for line in (folder / "rights" / "backlog.sql").open() if not line.startswith(("--", "\\")))
    statements = [" ".join(statement.split()) for statement in sql.split(";") if statement.strip()]
    grants = [statement for statement in statements if statement.startswith("grant")]
    assert all(statement.startswith(("grant select ", "grant usage ", "grant connect ")) for statement in grants)
    assert set(statements) - set(grants) == {
        "create role wavehouse_backlog login",
        "alter role wavehouse_backlog set default_transaction_read_only = on",
    }
    granted = {
        (found["table"], column.strip())
        for statement in grants
        if (found := re.fullmatch(r"grant select \((?P<columns>.*)\) on catalog\.(?P<table>\w+) to .*", statement))
        for column in found["columns"].split(",")
    }
    assert columns_that_a_count_reads(settings, monkeypatch) == granted
    statement, *_ = policy = json.loads((folder / "rights" / "backlog-s3.json").read_text())["Statement"]
    assert statement["Resource"] == [f"arn:aws:s3:::{LANDING}"]
    assert {action for one in policy for action in one["Action"]} == {"s3:ListBucket", "s3:GetObject"}
    assert policy[1]["Resource"] == [f"arn:aws:s3:::{lake.WAREHOUSE.removeprefix('s3://')}/*"]


def columns_that_a_count_reads(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """Tables and columns of the catalogue that a count names in its statements."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.begin() as connection:
        for statement in (
            "attach ':memory:' as catalog",
            "create table catalog.ingest_ledger (object_key text, etag text)",
            "create table catalog.delivery (root text, source text, beside text)",
        ):
            connection.execute(sa.text(statement))
    asked: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    with monkeypatch.context() as patched:
        patched.setattr(sa, "create_engine", lambda *_, **__: engine)
        patched.setattr(Objects, "landed", lambda *_: [Landed("a.ogg", "e", 1, datetime(2026, 1, 1, tzinfo=UTC))])
        intake.backlog(settings, 320.0)
    return {(table, column) for text in asked for table, column in re.findall(r"catalog\.(\w+)\.(\w+)", text)}


def test_executors_of_the_cluster_are_the_simulated_fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The settings of the config map are settings, and win over what local mode needs."""
    data = yaml.safe_load((CHECKOUT / "infra" / "cluster" / "spark-executors.yaml").read_text())["data"]
    for name, value in data.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(session, "engine_path", lambda _: tmp_path)
    settings = load_settings()
    told = session.options(settings, memory="1g")
    fleet = queue.Fleet(least=0, most=1)
    prefix = "spark.dynamicAllocation."
    allocation = {name.removeprefix(prefix): value for name, value in told.items() if name.startswith(prefix)}
    assert settings.spark.master.startswith("k8s://")
    assert allocation == {
        "enabled": "true",
        "shuffleTracking.enabled": "true",
        "minExecutors": "0",
        "maxExecutors": str(planned()["most_cores"]),
        "executorIdleTimeout": f"{fleet.idle_s:g}s",
        "schedulerBacklogTimeout": f"{queue.SCALER_S:g}s",
    }
    assert told["spark.executor.memoryOverhead"] == f"{ingest.measured().memory_bytes_per_core}b"
    assert settings.spark.per_commit >= planned()["most_cores"] * PER_TASK
    assert told["spark.driver.bindAddress"] == "0.0.0.0"  # noqa: S104 - in its pod
    assert told["spark.sql.session.timeZone"] == "UTC"


def test_the_cores_of_a_job_are_one_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Local mode has as many threads as a shuffle has parts."""
    monkeypatch.setattr(session, "engine_path", lambda _: tmp_path)
    monkeypatch.setenv("WAVEHOUSE_SPARK__CORES", "3")
    settings = load_settings()
    assert session.options(settings, memory="1g")["spark.sql.shuffle.partitions"] == "3"
    assert session.master(settings) == "local[3]"
    monkeypatch.setenv("WAVEHOUSE_SPARK__MASTER", "k8s://somewhere")
    assert session.master(load_settings()) == "k8s://somewhere"


def test_a_backlog_is_counted_and_costed_by_hand() -> None:
    """Two files of 4 MB at 320 kbit/s are 200 s of sound; each costs 1/200 + 1/100 CPU seconds: three in all."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    files = [(4_000_000, now - timedelta(minutes=5)), (4_000_000, now)]
    found = backlog.backlog(files, now, RATES, 320)
    assert (found.files, found.size_bytes, found.oldest_age_s) == (2, 8_000_000, 300)
    assert found.core_s == pytest.approx(3.0)
    assert backlog.backlog([], now, RATES, 320) == backlog.Backlog(0, 0, 0.0, 0.0)
    text = backlog.exposition(found)
    assert "wavehouse_ingest_backlog_oldest_age_seconds 300.0\n" in text
    assert text.count("# TYPE") == len(backlog.METRICS[backlog.Backlog])


def test_deliveries_and_features_that_wait_are_counted_by_hand() -> None:
    """Two recordings, 200 s together, cost 1/100 CPU second each second."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    delivered = backlog.deliveries([now - timedelta(minutes=3), now], 70, now)
    assert delivered == backlog.Deliveries(2, 70, 180.0)
    recordings = backlog.features([(150_000, now - timedelta(hours=1)), (50_000, now)], now, RATES)
    assert recordings == backlog.Features(2, 200.0, 3600.0, pytest.approx(2.0))
    assert backlog.deliveries([], 0, now) == backlog.Deliveries(0, 0, 0.0)
    told = backlog.values(delivered, recordings)
    assert told["wavehouse_deliveries_backlog_oldest_age_seconds"] == 180
    assert told["wavehouse_features_backlog_core_seconds"] == pytest.approx(2.0)
    names = [name for fields in backlog.METRICS.values() for name, _ in fields.values()]
    assert len(names) == len(set(names))
    text = backlog.exposition(delivered, recordings)
    assert "wavehouse_deliveries_backlog 2\n" in text
    assert text.count("# HELP") == 7


@pytest.mark.parametrize(("backlog_s", "workers"), [(0, 2), (300, 2), (601, 3), (1e9, 5)])
def test_the_fleet_wants_workers_for_what_waits(backlog_s: float, workers: int) -> None:
    assert queue.Fleet(least=2, most=5).wanted(backlog_s) == workers
