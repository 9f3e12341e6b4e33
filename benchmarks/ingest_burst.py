"""A real burst of deliveries through the real ingest, beside what the simulation says of the same burst.

A thousandth of 10 TB a day: at 320 kbit/s that is 2.9 seconds of audio a second, and half an hour at four times the
rate is a burst; one worker does many times that. So that there is a queue at all, the burst is shortened until it
offers `load` times what the workers can do, and everything else (Poisson arrivals, order of the queue, tries) is as in
`lakehouse/domain/capacity/queue.py`.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from lakehouse.adapters import ingestion
from lakehouse.adapters.catalog_db import CatalogDb, Landed
from lakehouse.adapters.objects import Objects
from lakehouse.config.settings import Settings
from lakehouse.domain.capacity import queue

RATE_HZ = 44_100
CALIBRATION = 6


def run(
    settings: Settings, *, files: int, seconds: float, load: float, workers: int, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Delays [s] from arrival to the start of the work, real and simulated, at the 50th and 99th percentile.

    `files` of `seconds` of sound arrive as a Poisson process at `load` times what `workers` can do one file after
    another, as measured on a few files just before. The files become tracks: use a stack that may be thrown away.
    """
    objects = Objects(settings)
    with tempfile.TemporaryDirectory(prefix="wavehouse-burst-") as folder, CatalogDb(settings) as db:
        landed = [_land(objects, path) for path in _recordings(Path(folder), CALIBRATION + files, seconds, seed)]
        say(f"{len(landed)} files of {seconds:g} s have landed")
        took = [_timed(lambda one=one: ingestion.process(objects, db, one)) for one in landed[:CALIBRATION]]
        service_s = statistics.median(took[1:])  # the first one opens connections
        rng = random.Random(seed)  # noqa: S311 - a simulation, no secret
        arrivals = [0.0]
        while len(arrivals) < files:
            arrivals.append(arrivals[-1] + rng.expovariate(load * workers / service_s))
        say(f"one takes {service_s:.2f} s; the burst lasts {arrivals[-1]:.0f} s")
        delays, outcomes = _replay(objects, db, landed[CALIBRATION:], arrivals, workers)
    fleet = queue.Fleet(least=workers, most=workers)
    simulated = queue.replay([queue.Batch(at, service_s) for at in arrivals], fleet, seed)
    real = queue.Outcome(files, len(delays), 0, workers, 0.0, sorted(delays))
    return {
        "files": files,
        "service_s": service_s,
        "burst_s": arrivals[-1],
        "lost": files - len(outcomes),
        "outcomes": {name: outcomes.count(name) for name in sorted(set(outcomes))},
        "delay_p50_s": {"real": real.delay_s(50), "simulated": simulated.delay_s(50)},
        "delay_p99_s": {"real": real.delay_s(99), "simulated": simulated.delay_s(99)},
        "p99_real_of_simulated": real.delay_s(99) / simulated.delay_s(99) if simulated.delay_s(99) else None,
    }


def _replay(
    objects: Objects, db: CatalogDb, landed: Sequence[Landed], arrivals: Sequence[float], workers: int
) -> tuple[list[float], list[str]]:
    waiting: SimpleQueue[tuple[float, Landed] | None] = SimpleQueue()
    delays: list[float] = []
    outcomes: list[str] = []
    start = time.monotonic()

    def work() -> None:
        while (found := waiting.get()) is not None:
            at, one = found
            delays.append(time.monotonic() - start - at)
            outcomes.append(ingestion.process(objects, db, one).outcome)

    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(work) for _ in range(workers)]
        for at, one in zip(arrivals, landed, strict=True):
            time.sleep(max(0.0, at - (time.monotonic() - start)))
            waiting.put((at, one))
        for _ in running:
            waiting.put(None)
        for worker in running:
            worker.result()
    return delays, outcomes


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


def _land(objects: Objects, path: Path) -> Landed:
    key = f"bench-burst/{path.name}"
    objects.put(path, key)
    return objects.landed_one(key)


def _timed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start
