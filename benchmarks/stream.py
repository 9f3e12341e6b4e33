"""The stream job: events per CPU second of a task manager, beside plain PyFlink and beside itself without exactly-once;
and the time from a play's sending to its being seen in ClickHouse.

Both need a running stack whose stream job has taken all slots of its cluster. `latency` sends plays to the real topic,
so it needs the stack of a profile whose numbers nobody reads (`WAVEHOUSE_PROFILE=test`).
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.kit import tree_cpu_s
from flink_jobs import service, statements
from infra.local.services import load_services, pyflink, venv
from lakehouse.adapters import clickhouse, kafka
from lakehouse.adapters.flink import FlinkClient
from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import CHECKOUT, Settings
from lakehouse.errors import FatalError, RetryableError

START = datetime(2026, 10, 1, tzinfo=UTC)
GOALS = {"events_per_cpu_s": 100_000, "times_python": 10.0, "of_without_exactly_once": 0.9, "latency_p95_s": 5.0}
#: Tracks that no catalogue has, for plays whose arrival is watched.
MARKERS = 2**62
WAIT_S = 900.0
POLL_S = 0.2
#: The measured part begins when this share of the records is out: until then Java compiles its code.
WARM_UP = 0.4
#: Plain PyFlink gets every eighth of the events: it has no compiler to warm up, and would take an hour for all.
PYTHON_SHARE = 8
PYTHON, BARE = "plain PyFlink", "without exactly-once"


@dataclass(frozen=True)
class Run:
    """One bounded run of a job on a task manager of its own, started for it and stopped after it. CPU is that of the
    task manager and its children: `cpu_s` of the whole run, `warm_cpu_s` of the `warm_events` after the warm-up.
    """

    events: int
    cpu_s: float
    wall_s: float
    records_out: int
    warm_events: int
    warm_cpu_s: float

    @property
    def events_per_cpu_s(self) -> float:
        """After the warm-up: what a job that runs for weeks costs."""
        return self.warm_events / self.warm_cpu_s


def unused(settings: Settings) -> None:
    """Refuse a stack whose plays are compared with what the simulator did.

    Raises:
        FatalError: it has a truth ledger.
    """
    if (settings.home / "truth").exists():
        raise FatalError(
            "This stack holds simulated plays, and a benchmark would add plays that no ledger knows.",
            hint="Use another profile: WAVEHOUSE_PROFILE=test wavehouse up --only stream, lake init, events init.",
        )


def play(number: int, moment: datetime, track_id: int) -> dict[str, Any]:
    """A play as Avro stores it (moments in microseconds); its identity follows from its number."""
    at = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return {
        "event_id": str(uuid.UUID(int=number, version=4)),
        "user_id": number % 5_000,
        "track_id": track_id,
        "session_id": str(uuid.UUID(int=number % 5_000, version=4)),
        "played_at": at,
        "received_at": at + 1_000_000,
        "ms_played": 1_000 + number % 200_000,
        "track_duration_ms": 200_000,
        "reason_start": "clickrow",
        "reason_end": "trackdone",
        "context": "album",
        "device": "phone",
        "user_agent": "Googlebot/2.1" if number % 50 == 0 else "wavehouse-ios/9",
        "tier": "free",
        "country": ("DE", "US", "SE")[number % 3],
        "time_zone": "Europe/Berlin",
        "is_offline": False,
    }


def cost(settings: Settings, *, events: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Ours, ours without exactly-once and plain PyFlink in turns, each on a fresh task manager.

    One play in twenty is sent twice, and no two plays share a minute's row: each contender must write exactly one
    record a play, else nothing is compared.

    Raises:
        FatalError: a job failed, or the contenders do not count alike.
    """
    topics = [f"bench_{uuid.uuid4().hex[:8]}_{name}" for name in ("in", "in_python", "ours", "bare", "python")]
    all_events, some_events, *targets = topics
    contenders = {
        "ours": (all_events, targets[0], events),
        BARE: (all_events, targets[1], events),
        PYTHON: (some_events, targets[2], events // PYTHON_SHARE),
    }
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    with scratch_topics(settings, topics):
        sent = {topic: fill(settings, topic, plays) for topic, _, plays in contenders.values() if topic == some_events}
        sent[all_events] = fill(settings, all_events, events)
        say(f"{sum(sent.values()):,} events sent")
        for number in range(rounds):
            names = list(contenders)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                source, target, plays = contenders[name]
                run = contend(settings, name, source, target, sent[source])
                if run.records_out != plays:
                    raise FatalError(
                        f"{name} wrote {run.records_out} records for {plays} plays.", hint="It does not count right."
                    )
                runs[name].append(run)
                say(
                    f"{name}: {run.events_per_cpu_s:,.0f} events per CPU second after the warm-up,"
                    f" {run.events / run.cpu_s:,.0f} with it, {run.wall_s:.0f} s"
                )
    median = {name: statistics.median(run.events_per_cpu_s for run in found) for name, found in runs.items()}
    return {
        "events": sent[all_events],
        "rounds": rounds,
        "load": os.getloadavg()[1],
        "events_per_cpu_s": median,
        "times_python": median["ours"] / median[PYTHON],
        "of_without_exactly_once": median["ours"] / median[BARE],
        "goals": GOALS,
        "runs": {name: [vars(run) for run in found] for name, found in runs.items()},
    }


def fill(settings: Settings, topic: str, events: int) -> int:
    """Send `events` plays and every twentieth again; returns how many records that made."""
    sent = 0
    with EventProducer(settings) as producer:
        encode = producer.batch_encoder("plays")
        for first in range(0, events, 10_000):
            plays = [
                play(n, START + timedelta(seconds=n // 50), n % 1_000)
                for n in range(first, min(first + 10_000, events))
            ]
            plays += plays[::20]
            for record, value in zip(plays, encode(plays), strict=True):
                producer.send_encoded(topic, str(record["user_id"]).encode(), value)
            sent += len(plays)
    return sent


def contend(settings: Settings, name: str, source: str, target: str, events: int) -> Run:
    """Run one contender to the end of the topic."""
    before = sum(kafka.end_offsets(settings, target).values())
    with FlinkClient(settings.flink.http) as flink, task_manager(settings, flink) as pid:
        cpu, wall = tree_cpu_s(pid), time.monotonic()
        job = (
            submit_python(settings, source, target) if name == PYTHON else submit(settings, flink, name, source, target)
        )
        spent = cpu
        done, warm = 0, None
        while (state := job_state(flink, job)) not in ("FINISHED", "FAILED", "CANCELED"):
            spent = max(spent, tree_cpu_s(pid))  # workers of PyFlink end before their job, and take their seconds along
            done = sum(kafka.end_offsets(settings, target).values()) - before
            if warm is None and done >= WARM_UP * events:
                warm = (done, spent)
            if time.monotonic() - wall > WAIT_S:
                flink.cancel(job)
                raise FatalError(f"{name} did not end in {WAIT_S:.0f} s.", hint="Use fewer --events.")
            time.sleep(POLL_S)
        if state != "FINISHED":
            raise FatalError(f"{name} ended as {state}: {flink.root_cause(job)}", hint="See Flink's page.")
        spent = max(spent, tree_cpu_s(pid))
    out = sum(kafka.end_offsets(settings, target).values()) - before
    if not out:
        raise FatalError(f"{name} wrote nothing.", hint="Then nothing was measured.")
    if warm is None or warm[0] >= out:
        raise FatalError(f"{name} was done before it was warm.", hint="Use more --events.")
    # A record out stands for the events in by the share of repetitions, which is the same all along.
    return Run(
        events=events,
        cpu_s=spent - cpu,
        wall_s=time.monotonic() - wall,
        records_out=out,
        warm_events=round((out - warm[0]) * events / out),
        warm_cpu_s=spent - warm[1],
    )


def job_state(flink: FlinkClient, job: str) -> str:
    """State of a job by its id."""
    return next((found.state for found in flink.jobs(JOB_NAME) if found.id == job), "CREATED")


JOB_NAME = "bench-stream"


def submit(settings: Settings, flink: FlinkClient, name: str, source: str, target: str) -> str:
    """Ours: the play minutes of the real job, with its own options; or those without checkpoints and guarantees."""
    [window] = [w for w in statements.WINDOWS if w.source == "plays"]
    options = statements.configuration(settings) | {
        "pipeline.name": JOB_NAME,
        "execution.checkpointing.dir": (settings.data / "flink" / "bench").as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "DELETE_ON_CANCELLATION",
        "restart-strategy.type": "none",
    }
    job = statements.render_window(settings, window, source=source, target=target)
    if name == BARE:
        options = {k: v for k, v in options.items() if not k.startswith("execution.checkpointing.")}
        options["execution.checkpointing.interval"] = "24 d"
        job = [
            text.replace("'sink.delivery-guarantee' = 'at-least-once'", "'sink.delivery-guarantee' = 'none'")
            for text in job
        ]
    job_id = uuid.uuid4().hex
    flink.submit(
        job_id=job_id,
        jar=service.functions_jar(settings),
        main_class=statements.MAIN_CLASS,
        arguments=job,
        configuration=options,
        checkpoint=None,
    )
    return job_id


def submit_python(settings: Settings, source: str, target: str) -> str:
    """The same logic in Python functions, submitted by a client of PyFlink."""
    with EventProducer(settings) as producer:
        producer.batch_encoder("plays")
    arguments = {
        "name": JOB_NAME,
        "kafka": settings.kafka.address,
        "registry": settings.registry.http,
        "source": source,
        "target": target,
        "python": str(venv("flink") / "bin" / "python"),
        "checkpoints": (settings.data / "flink" / "bench").as_uri(),
    }
    script = CHECKOUT / "benchmarks" / "stream_python.py"
    env = os.environ | flink_environment(settings)
    env.pop("PYTHONPATH", None)
    python = arguments["python"]
    command = [str(pyflink() / "bin" / "flink"), "run", "-d", "-m", settings.flink.address]
    command += ["-pyexec", python, "-pyclientexec", python, "-py", str(script), json.dumps(arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=WAIT_S)
    if done.returncode:
        raise FatalError(f"PyFlink does not submit: {done.stderr.strip()[-600:]}", hint="Run `make setup`.")
    # The client writes lines of its own around the one of the script.
    [job] = re.findall(r"^job ([0-9a-f]{32})$", done.stdout, re.MULTILINE)
    return str(job)


def flink_environment(settings: Settings) -> dict[str, str]:
    """Environment of the stack's own task manager."""
    return load_services(settings)["flink-taskmanager"].env


@contextmanager
def task_manager(settings: Settings, flink: FlinkClient) -> Iterator[int]:
    """A further task manager of the stack's cluster with two slots; gives its process id."""
    free = flink.free_slots()
    if free:
        raise FatalError(
            "The cluster has free slots, so that nobody knows where a job runs.", hint="Start the stream job."
        )
    command = ["bash", str(pyflink() / "bin" / "taskmanager.sh"), "start-foreground"]
    with subprocess.Popen(
        command,
        env=os.environ | flink_environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            deadline = time.monotonic() + WAIT_S
            while not flink.free_slots():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RetryableError("No task manager starts.", hint="Is there memory for one more (1.5 GB)?")
                time.sleep(POLL_S)
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)
    deadline = time.monotonic() + WAIT_S
    while flink.free_slots() and time.monotonic() < deadline:  # until the cluster has noticed
        time.sleep(POLL_S)


@contextmanager
def scratch_topics(settings: Settings, names: list[str]) -> Iterator[None]:
    """Topics for one measurement."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient(kafka.client_config(settings))
    for future in admin.create_topics([NewTopic(name, num_partitions=4) for name in names]).values():
        future.result(60)
    try:
        yield
    finally:
        for future in admin.delete_topics(names).values():
            future.result(60)


def latency(settings: Settings, *, per_second: int, seconds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Send plays at an even pace; ten of each second are of tracks of their own, and ClickHouse is asked for them again
    and again. The time of a play ends when a query that shows it has answered.

    Raises:
        RetryableError: plays did not become visible.
    """
    sent_at: dict[int, float] = {}
    seen_at: dict[int, float] = {}
    base = MARKERS + int.from_bytes(os.urandom(5), "big") * 2**20
    client = clickhouse.connect(settings, "reader")

    def look() -> None:
        rows = client.query(
            "SELECT DISTINCT track_id FROM live.play_minutes"
            " WHERE track_id >= {first:Int64} AND track_id < {last:Int64}"
            " AND window_start >= {since:DateTime64(6, 'UTC')}",
            parameters={"first": base, "last": base + 2**20, "since": START.strftime("%F %T.000000")},
        ).result_rows
        now = time.monotonic()
        for (track_id,) in rows:
            seen_at.setdefault(track_id, now)

    with EventProducer(settings) as producer:
        encode = producer.batch_encoder("plays")
        began, number, identity = time.monotonic(), 0, base % 2**60
        while number < per_second * seconds:
            # A burst each hundredth of a second is as even as a scheduler of a busy machine allows.
            burst = max(per_second // 100, 1)
            plays = [
                play(identity + n, START + timedelta(seconds=n // per_second), n % 1_000)
                for n in range(number, number + burst)
            ]
            marked = number // burst % 10 == 0
            if marked:
                plays[0]["track_id"] = base + number
            for record, value in zip(plays, encode(plays), strict=True):
                if record["track_id"] >= base:
                    sent_at[record["track_id"]] = time.monotonic()
                producer.send_encoded("plays", str(record["user_id"]).encode(), value)
            number += burst
            if marked:
                look()
            time.sleep(max(began + number / per_second - time.monotonic(), 0))
        took = time.monotonic() - began
    deadline = time.monotonic() + WAIT_S / 10
    while len(seen_at) < len(sent_at) and time.monotonic() < deadline:
        look()
        time.sleep(POLL_S / 4)
    client.close()
    if len(seen_at) < len(sent_at):
        raise RetryableError(
            f"{len(sent_at) - len(seen_at)} of {len(sent_at)} plays did not become visible.",
            hint="`wavehouse stream status`",
        )
    waits = sorted(seen_at[track] - sent_at[track] for track in sent_at)
    say(f"{number:,} plays in {took:.1f} s, {len(waits)} watched")
    return {
        "events_per_s": number / took,
        "watched": len(waits),
        "p50_s": waits[len(waits) // 2],
        "p95_s": waits[len(waits) * 95 // 100],
        "max_s": waits[-1],
        "goal_p95_s": GOALS["latency_p95_s"],
    }
