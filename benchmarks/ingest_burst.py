"""A real burst of deliveries through the real queue, beside what the simulation says of the same burst.

A thousandth of 10 TB a day: at 320 kbit/s that is 2.9 seconds of audio a second. Files land in the bucket one by one,
at the moments at which a simulated day of that volume (`lakehouse/domain/capacity/queue.py`) has deliveries in its
first burst of half an hour at four times the rate. Worker processes run the loop of `wavehouse ingest work`: list,
claim, process, ledger. One of them does many times what a thousandth of a burst asks for: so that there is a queue at
all, time is compressed until the burst offers `load` times what the workers can do. The simulation gets the same
arrivals, as measured, and how long the work on each file took.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from threading import Event
from typing import Any, Protocol, cast

import numpy as np

from lakehouse.adapters import ingestion
from lakehouse.adapters.catalog_db import CatalogDb, Landed, Outcome
from lakehouse.adapters.objects import Objects
from lakehouse.config.settings import Settings
from lakehouse.domain.capacity import ingest, queue
from lakehouse.errors import FatalError

RATE_HZ = 44_100
#: Files for each worker before the burst: connections are open then, and what one file takes is known.
CALIBRATION = 4
#: 10 TB a day at 320 kbit/s, of which the burst is a thousandth.
TB_PER_DAY, KBIT_S, SCALE = 10.0, 320.0, 1000
#: A file that nothing is heard of for so long is lost.
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Done:
    """One file that a worker has brought to its outcome; moments in seconds of the machine's monotonic clock."""

    object_key: str
    started_s: float
    ended_s: float
    outcome: str


class Told(Protocol):
    """A queue of what workers say; None: one of them is ready."""

    def get(self, block: bool = True, timeout: float | None = None) -> Done | None:
        """The next one; raises `Empty` after `timeout` seconds."""


def arrivals(seed: int, seconds: float) -> list[float]:
    """When files of so many seconds of audio come in the first burst of a day at 1/1000, in seconds of that burst."""
    audio_s = ingest.plan(TB_PER_DAY, KBIT_S, ingest.measured()).audio_s_per_day / SCALE
    day = queue.Day(core_s=audio_s, batch_core_s=seconds)  # the cost is of no concern here
    start = queue.bursts(day, seed)[0]
    moments = [batch.arrived_s - start for batch in queue.deliveries(day, seed)]
    return [moment for moment in moments if 0 <= moment < day.burst_s]


def compressed(moments: Sequence[float], service_s: float, load: float, workers: int) -> list[float]:
    """`moments` from 0 on, in so much less time that `load` times what `workers` can do comes in."""
    length = len(moments) * service_s / (load * workers)
    first, span = moments[0], moments[-1] - moments[0]
    return [(moment - first) * length / span for moment in moments]


def apart(real_s: float, simulated_s: float, slack_s: float) -> float:
    """By which factor two delays differ, at least 1. `slack_s` is added to both: what a look may be late."""
    pair = real_s + slack_s, simulated_s + slack_s
    return max(pair) / min(pair)


def replay(
    land: Callable[[Path, str], object],
    told: Told,
    named: Sequence[tuple[str, Path]],
    moments: Sequence[float],
    *,
    patience_s: float = PATIENCE_S,
) -> list[tuple[float, Done]]:
    """Land files (key, path) at `moments` from now and wait for all of them; moments of landing [s], and what was done,
    in the order of landing. What is lost is left out.
    """
    start = time.monotonic()
    landed: dict[str, float] = {}
    for (key, path), moment in zip(named, moments, strict=True):
        time.sleep(max(0.0, moment - (time.monotonic() - start)))
        land(path, key)
        landed[key] = time.monotonic()
    done: dict[str, Done] = {}
    while len(done) < len(landed):
        try:
            one = told.get(timeout=patience_s)
        except Empty:
            break
        if one is not None and one.object_key in landed:
            done[one.object_key] = one
    return [(at, done[key]) for key, at in landed.items() if key in done]


def compared(found: Sequence[tuple[float, Done]], workers: int) -> dict[str, queue.Outcome]:
    """The `real` delays from landing to the start of the work, and the `simulated` ones of the same files."""
    first = min((at for at, _ in found), default=0.0)
    batches = [queue.Batch(at - first, one.ended_s - one.started_s) for at, one in found]
    # A worker may have begun before the call that landed the file was over here.
    delays = sorted(max(0.0, one.started_s - at) for at, one in found)
    fleet = queue.Fleet(least=workers, most=workers)
    real = queue.Outcome(len(found), len(found), 0, 0, workers, 0.0, delays)
    return {"real": real, "simulated": queue.replay(batches, fleet)}


def run(
    settings: Settings,
    *,
    files: int,
    seconds: float,
    load: float,
    workers: int,
    seed: int,
    every_s: float,
    factor: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Delays [s] from landing to the start of the work, real and simulated, at the 50th and 99th percentile, and
    whether the latter are `within` the `factor`.

    The first `files` of the burst (0: all) of `seconds` of sound each; workers look every `every_s` seconds. The files
    become tracks: use a stack that may be thrown away, where nothing else waits or takes files in.

    Raises:
        FatalError: the workers don't start.
    """
    moments = arrivals(seed, seconds)[: files or None]
    objects, calibration = Objects(settings), CALIBRATION * workers
    with tempfile.TemporaryDirectory(prefix="wavehouse-burst-") as folder:
        paths = list(_recordings(Path(folder), calibration + len(moments), seconds, seed))
        named = [(f"bench-burst/{seed}/{path.name}", path) for path in paths]
        with _crew(settings, workers, every_s) as told:
            first = replay(objects.put, told, named[:calibration], [0.0] * calibration)
            if not first:
                raise FatalError("No worker took a file.", hint="See `wavehouse ingest backlog`; is the lake running?")
            service_s = statistics.median(one.ended_s - one.started_s for _, one in first)
            planned = compressed(moments, service_s, load, workers)
            say(f"one takes {service_s:.2f} s; {len(moments)} files of the burst land within {planned[-1]:.0f} s")
            found = replay(objects.put, told, named[calibration:], planned)
    with CatalogDb(settings) as db:
        known = [db.outcome(objects.landed_one(key)) for key, _ in named[calibration:]]
    outcomes = [one.outcome for one in known if one is not None]
    delays = compared(found, workers)
    told_s = {f"delay_p{percent}_s": {name: of.delay_s(percent) for name, of in delays.items()} for percent in (50, 99)}
    difference = apart(*told_s["delay_p99_s"].values(), every_s)
    return {
        "files": len(moments),
        "workers": workers,
        "service_s": service_s,
        "burst_s": planned[-1],
        "compression": (moments[-1] - moments[0]) / planned[-1],
        "lost": len(moments) - min(len(found), len(outcomes)),
        "outcomes": {name: outcomes.count(name) for name in sorted(set(outcomes))},
        **told_s,
        "p99_apart": difference,
        "factor": factor,
        "within": difference <= factor,
    }


@contextmanager
def _crew(settings: Settings, workers: int, every_s: float) -> Iterator[Told]:
    """Worker processes that run the loop of `wavehouse ingest work`, ready, and what they tell."""
    context = multiprocessing.get_context("spawn")
    told, stop = context.Queue(), context.Event()
    crew = [
        context.Process(target=_work, args=(settings, f"burst-{n}", every_s, stop, told), daemon=True)
        for n in range(workers)
    ]
    for one in crew:
        one.start()
    try:
        for _ in crew:
            try:
                told.get(timeout=PATIENCE_S)
            except Empty:
                raise FatalError("The workers do not start.") from None
        yield told
    finally:
        stop.set()
        for one in crew:
            one.join(PATIENCE_S)


def _work(settings: Settings, name: str, every_s: float, stop: Any, told: Any) -> None:
    def take(objects: Objects, db: CatalogDb, landed: Landed) -> Outcome:
        started = time.monotonic()
        outcome = ingestion.process(objects, db, landed)
        told.put(Done(landed.object_key, started, time.monotonic(), outcome.outcome))
        return outcome

    told.put(None)
    ingestion.work(settings, cast(Event, stop), every_s=every_s, worker=name, say=lambda _: None, take=take)


def _recordings(folder: Path, number: int, seconds: float, seed: int) -> Iterator[Path]:
    import soundfile

    rng = np.random.default_rng(seed)
    moments = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    for n in range(number):
        path = folder / f"{n:05}.ogg"
        tones = rng.uniform(110, 880, 4)
        samples = 0.1 * sum(np.sin(2 * np.pi * tone * moments) for tone in tones) + rng.normal(0, 0.01, len(moments))
        with soundfile.SoundFile(path, "w", RATE_HZ, 1, format="OGG", subtype="VORBIS") as sound:
            sound.title, sound.artist = f"Burst {seed}-{n}", "Burst"
            for part in np.array_split(samples, max(1, len(samples) // RATE_HZ)):
                sound.write(part)
        yield path
