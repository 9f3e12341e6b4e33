"""The truth ledger: every record a simulation produced, written down before the first one is sent.

    <home>/truth/<run-id>/
        <topic>.parquet   one row a record of each simulated topic, in order of delivery
        users.parquet     who listened
        manifest.json     arguments, counts, SHA-256 of the files, state

The columns are those of the topic and the labels of `lakehouse.domain.simulation.events.Simulation`. Records are
produced from the files, so that an interrupted run sends the same events again, with the same ids.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import Settings
from lakehouse.contracts import SIMULATED_TOPICS, load
from lakehouse.domain.simulation import Scenario, Simulation, Tracks
from lakehouse.domain.simulation.defects import payload
from lakehouse.errors import FatalError, RetryableError

LABELS = pa.schema(
    [
        pa.field("is_duplicate", pa.bool_(), nullable=False),
        pa.field("is_late", pa.bool_(), nullable=False),
        pa.field("is_bot", pa.bool_(), nullable=False),
        pa.field("artificial", pa.string()),
        pa.field("defect", pa.string()),
    ]
)
WRITTEN, PRODUCED = "written", "produced"
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Run:
    """One simulation in the ledger."""

    path: Path
    manifest: dict[str, Any]

    @property
    def is_produced(self) -> bool:
        """Whether every record was acknowledged by Kafka."""
        return bool(self.manifest["state"] == PRODUCED)

    def is_for(self, topic_ids: dict[str, str]) -> bool:
        """Whether the topics with these ids are those that it was written for. A topic that the simulator did not know
        then has nothing of it, and does not count.
        """
        return all(topic_ids.get(topic) == known for topic, known in self.manifest["topic_ids"].items())

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A topic's records in order of delivery, or `users`.

        A run that was written before the simulator knew a topic has sent it nothing.
        """
        if name in SIMULATED_TOPICS and name not in self.manifest["counts"]:
            empty = _schema(name).empty_table()
            return empty.select(columns) if columns else empty
        return pq.read_table(self.path / f"{name}.parquet", columns=columns)

    def is_intact(self) -> bool:
        """Whether every file is still what was written."""
        return all(
            (self.path / name).is_file() and _sha256(self.path / name) == written["sha256"]
            for name, written in self.manifest["files"].items()
        )


def folder(settings: Settings) -> Path:
    """Where the ledgers of all runs are."""
    return settings.home / "truth"


def runs(settings: Settings) -> list[Run]:
    """All runs, by id."""
    found = sorted(folder(settings).glob("*/manifest.json"))
    return [Run(path.parent, json.loads(path.read_text())) for path in found if not path.parent.name.startswith(".")]


def find(settings: Settings, run_id: str) -> Run | None:
    """The run called `run_id`."""
    return next((run for run in runs(settings) if run.manifest["run_id"] == run_id), None)


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Hold the ledger for one simulation; the kernel frees it however the process ends.

    Raises:
        RetryableError: another simulation of this installation is running.
    """
    folder(settings).mkdir(parents=True, exist_ok=True)
    with (folder(settings) / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RetryableError(
                "Another simulation is running here.", hint="Run it again when that is done."
            ) from error
        yield


def write(
    settings: Settings, scenario: Scenario, tracks: Tracks, made: Simulation, *, topic_ids: dict[str, str]
) -> Run:
    """Write a run down as a whole, in place of an earlier one with the same arguments.

    `topic_ids` are the topics it is for: a ledger whose topics are gone says nothing about the present ones.
    """
    final = folder(settings) / scenario.run_id
    draft = folder(settings) / f".{scenario.run_id}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    tables = {topic: _conform(topic, getattr(made, topic)) for topic in SIMULATED_TOPICS} | {"users": made.users}
    files = {}
    for name, table in tables.items():
        path = draft / f"{name}.parquet"
        pq.write_table(table, path, compression="zstd")
        files[path.name] = {"rows": table.num_rows, "sha256": _sha256(path)}
    received = [
        pc.min_max(tables[topic]["received_at"]).as_py() for topic in SIMULATED_TOPICS if tables[topic].num_rows
    ]
    manifest = {
        "run_id": scenario.run_id,
        "arguments": asdict(scenario),
        "first_day": scenario.start,
        "received_from": min(span["min"] for span in received) if received else None,
        "received_to": max(span["max"] for span in received) if received else None,
        "catalogue": {"tracks": len(tracks), "sha256": tracks.fingerprint},
        "counts": {topic: counts(tables[topic]) for topic in SIMULATED_TOPICS},
        "files": files,
        "topic_ids": topic_ids,
        "state": WRITTEN,
    }
    _write_manifest(draft, manifest)
    if final.exists():
        shutil.rmtree(final)
    draft.rename(final)
    return Run(final, json.loads((final / "manifest.json").read_text()))


def counts(table: pa.Table) -> dict[str, Any]:
    """How many records a topic's table has, and how many with each label; bad ones count under their defect only."""
    good = table.filter(pc.is_null(table["defect"]))
    bad = table["defect"].drop_null().value_counts().to_pylist()
    return {
        "records": table.num_rows,
        "events": good.num_rows - _true(good, "is_duplicate"),
        "duplicates": _true(good, "is_duplicate"),
        "late": _true(good, "is_late"),
        "bots": _true(good, "is_bot"),
        "artificial": good.num_rows - good["artificial"].null_count,
        "defects": {entry["values"]: entry["counts"] for entry in sorted(bad, key=lambda e: str(e["values"]))},
    }


def mark_produced(run: Run) -> Run:
    """Record that Kafka has acknowledged everything."""
    manifest = run.manifest | {"state": PRODUCED}
    _write_manifest(run.path, manifest)
    return Run(run.path, manifest)


def produce(settings: Settings, run: Run, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Send every record of `run` in order of delivery, day by day across the topics; returns their number.

    `progress` hears of the records sent and of all there are after each day.

    Raises:
        RetryableError: Kafka or the registry does not answer, or stopped to. Running it again sends everything again;
            the event ids tell the repetitions.
    """
    tables = {topic: run.table(topic) for topic in SIMULATED_TOPICS}
    received_us = {topic: table["received_at"].cast(pa.int64()).to_numpy() for topic, table in tables.items()}
    total = sum(table.num_rows for table in tables.values())
    days = np.unique(np.concatenate([np.unique(moments // DAY_US) for moments in received_us.values()]))
    sent = 0
    with EventProducer(settings) as producer:
        for day in days.tolist():
            for topic, table in tables.items():
                begin, end = np.searchsorted(received_us[topic], [day * DAY_US, (day + 1) * DAY_US]).tolist()
                _send(producer, topic, table.slice(begin, end - begin), begin)
                sent += end - begin
            progress(sent, total)
    return sent


def _send(producer: EventProducer, topic: str, rows: pa.Table, first: int) -> None:
    """Send `rows` of the ledger; `first` is the number of the first of them within its topic."""
    contract = load(f"topics.{topic}")
    names = [column.name for column in contract.columns]
    values = zip(*(_plain(rows[name]) for name in names), strict=True)
    messages = producer.batch_encoder(topic)(dict(zip(names, row, strict=True)) for row in values)
    keys = _plain(rows[contract.properties["partitionKey"]])
    defects = rows["defect"].to_pylist()
    for number, (key, defect, message) in enumerate(zip(keys, defects, messages, strict=True), start=first):
        producer.send_encoded(topic, str(key).encode(), payload(defect, message, number) if defect else message)


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """Python values as Avro takes them; moments as the microseconds they are, which is far quicker than as objects."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_integer(column.type) and not column.null_count:
        values: list[Any] = column.to_numpy().tolist()
        return values
    return column.to_pylist()  # type: ignore[no-any-return]


def _schema(topic: str) -> pa.Schema:
    return pa.schema([*load(f"topics.{topic}").arrow_schema(), *LABELS])


def _conform(topic: str, table: pa.Table) -> pa.Table:
    schema = _schema(topic)
    return table.select(schema.names).cast(schema).combine_chunks()


def _true(table: pa.Table, column: str) -> int:
    return int(pc.sum(table[column]).as_py() or 0)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    draft = path / ".manifest.json"
    with draft.open("w") as file:
        json.dump(manifest, file, indent=2, default=lambda value: value.isoformat())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path / "manifest.json")


def require_topics(topic_ids: dict[str, str]) -> None:
    """Check that all topics are there.

    Raises:
        FatalError: one is missing.
    """
    missing = [topic for topic in SIMULATED_TOPICS if topic not in topic_ids]
    if missing:
        raise FatalError(f"Kafka has no topic {', '.join(missing)}.", hint="Run `wavehouse events init` first.")
