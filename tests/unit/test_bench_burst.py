"""The burst benchmark without a stack: its arrivals, and what it makes of workers that are late or lose a file."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import ingest_burst
from benchmarks.ingest_burst import Done, apart, arrivals, compared, compressed, replay
from lakehouse.adapters import ingestion
from lakehouse.adapters.catalog_db import CatalogDb, Landed, Outcome
from lakehouse.adapters.objects import Objects
from lakehouse.cli.bench import app
from lakehouse.config.settings import Settings
from lakehouse.domain.catalog.ids import EPOCH
from lakehouse.errors import FatalError


def test_a_thousandth_of_a_burst_comes_in_as_in_the_simulated_day() -> None:
    """10 GB at 320 kbit/s are 250,000 s of audio: 8,333 files of 30 s a day, of which half an hour at four times the
    rate has 4 / 48 of 1 / 1.1875 of the day, more or less the wave of half of it.
    """
    moments = arrivals(3, 30.0)
    assert moments == arrivals(3, 30.0) != arrivals(4, 30.0)
    assert moments == sorted(moments) and moments[0] >= 0 and moments[-1] < 1800
    assert 0.4 < len(moments) / (8333 / 1.1875 * 4 / 48) < 1.6
    assert len(arrivals(3, 60.0)) < 0.7 * len(moments)


def test_time_is_compressed_until_the_load_is_offered() -> None:
    """Ten files of 2 s for two workers at 1.25 times what they can do: 8 s."""
    moments = compressed([100.0 + 7 * n for n in range(10)], 2.0, 1.25, 2)
    assert moments[0] == 0
    assert moments[-1] == pytest.approx(8.0)
    assert moments[1] == pytest.approx(8.0 / 9)


def test_delays_are_apart_by_a_factor_beyond_what_a_look_may_be_late() -> None:
    assert apart(3.0, 1.0, 1.0) == apart(1.0, 3.0, 1.0) == 2.0
    assert apart(0.4, 0.0, 1.0) == pytest.approx(1.4)


def test_real_delays_stand_beside_those_of_the_same_arrivals_and_work() -> None:
    """One worker, by hand: two files land at once and take 2 s each, but the second begins 3 s late."""
    found = [(10.0, Done("a", 10.0, 12.0, "accepted")), (10.0, Done("b", 15.0, 17.0, "accepted"))]
    outcomes = compared(found, 1)
    assert outcomes["real"].delays_s == [0.0, 5.0]
    assert outcomes["simulated"].delays_s == [0.0, 2.0]
    assert compared([], 1)["real"].delay_s(99) == 0.0


@pytest.mark.parametrize("lost", [set(), {"k2"}])
def test_a_burst_is_landed_on_time_and_what_nobody_takes_is_left_out(lost: set[str]) -> None:
    """Against a queue in memory; what workers say of other files is passed over."""
    landed: Queue[str | None] = Queue()
    told: Queue[Done | None] = Queue()

    def work() -> None:
        while (key := landed.get()) is not None:
            if key not in lost:
                told.put(Done(key, time.monotonic(), time.monotonic(), "accepted"))
            told.put(Done("another's", 0.0, 0.0, "accepted"))

    worker = Thread(target=work)
    worker.start()
    start = time.monotonic()
    named = [(f"k{n}", Path(f"{n}.ogg")) for n in range(4)]
    found = replay(lambda _, key: landed.put(key), told, named, [0.0, 0.05, 0.1, 0.15], patience_s=0.3)
    landed.put(None)
    worker.join()
    assert [one.object_key for _, one in found] == [key for key, _ in named if key not in lost]
    for at, one in found:
        assert at - start >= 0.05 * int(one.object_key[1])
        assert one.started_s >= at - 0.05


def test_a_worker_of_the_burst_runs_the_loop_of_ingest_work_and_tells_when(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, told, done = Event(), Queue[Done | None](), set[str]()
    landed = [Landed(f"{name}.ogg", "e", 1, EPOCH) for name in "ab"]

    def process(_objects: object, _db: object, one: Landed) -> Outcome:
        done.add(one.object_key)
        if len(done) == len(landed):
            stop.set()
        time.sleep(0.01)
        return Outcome(one.object_key, "accepted", "0" * 64)

    monkeypatch.setattr(Objects, "landed", lambda *_: landed)
    monkeypatch.setattr(CatalogDb, "unprocessed", lambda _db, todo: [one for one in todo if one.object_key not in done])
    monkeypatch.setattr(CatalogDb, "claimed", lambda *_: nullcontext(True))
    monkeypatch.setattr(CatalogDb, "outcome", lambda *_: None)
    monkeypatch.setattr(ingestion, "process", process)
    ingest_burst._work(settings, "burst-0", 0.01, stop, told)
    ready, *said = [told.get(block=False) for _ in range(told.qsize())]
    assert ready is None
    assert sorted(one.object_key for one in said if one) == ["a.ogg", "b.ogg"]
    assert all(one and one.ended_s - one.started_s >= 0.01 for one in said)


FOUND: dict[str, Any] = {
    "files": 9, "lost": 0, "compression": 20.0, "p99_apart": 1.2, "within": True,
    "delay_p50_s": {"real": 1.0, "simulated": 1.0}, "delay_p99_s": {"real": 2.0, "simulated": 1.5},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "says"),
    [({}, None), ({"lost": 1}, "1 files were lost"), ({"within": False, "p99_apart": 3.0}, "3.00 times apart")],
)
def test_a_burst_that_loses_a_file_or_differs_from_the_simulation_fails(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], says: str | None
) -> None:
    monkeypatch.setattr(ingest_burst, "run", lambda *_, **__: FOUND | changed)
    for more in ([], ["--json"]):
        done = CliRunner().invoke(app, ["burst", *more])
        assert done.exit_code == (1 if says else 0)
        if says and not more:
            assert isinstance(done.exception, FatalError)
            assert says in done.exception.message
