"""What the chaos tests draw: a seed picks who dies and when."""

from __future__ import annotations

import random
from dataclasses import dataclass

#: Services that the long run (`make chaos SEEDS=200`) picks from; `flink-job` is the supervisor of the job.
MORTAL = (
    "flink-taskmanager",
    "flink-jobmanager",
    "flink-job",
    "kafka",
    "registry",
    "clickhouse",
    "loader",
    "minio",
    "postgres",
)
#: Records sent before the moment is looked for: from a part of a checkpoint's interval to several, at the tests' pace.
RECORDS = (500, 10_000)
#: Events a second of a producer that dies: slow, so that it is in the middle of them however late the test, on a busy
#: machine, hears of an acknowledgement.
PRODUCER_PACE = 300
#: Most that it is let go on after an acknowledgement before it dies [s]: the time until the next, a hundred events on.
PRODUCER_SECONDS = 100 / PRODUCER_PACE


@dataclass(frozen=True)
class Death:
    """Who dies, and when: so much of a checkpoint's interval after the first checkpoint that completes once so many
    records are sent.
    """

    seed: int
    services: tuple[str, ...]
    records: int
    share: float

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {', '.join(self.services)} after {self.records} records, "
            f"{self.share:.2f} of an interval after a checkpoint"
        )


def death(seed: int, services: tuple[str, ...] | None = None) -> Death:
    """What `seed` draws, of the services too unless they are given.

    A third of all moments are right after a checkpoint: the sharpest one, as Flink has completed it and Iceberg has not
    committed its files yet. The others are any.
    """
    chance = random.Random(seed)
    drawn = tuple(chance.sample(MORTAL, chance.randint(1, 3)))
    records = chance.randint(*RECORDS)
    share = 0.0 if chance.random() < 1 / 3 else chance.random()
    return Death(seed, services or drawn, records, share)


@dataclass(frozen=True)
class ProducerDeath:
    """When a producer dies: so many seconds after it said that so many of its events are acknowledged."""

    seed: int
    acknowledged: int
    seconds: float

    def __str__(self) -> str:
        return f"seed {self.seed}: {1000 * self.seconds:.1f} ms after {self.acknowledged} are acknowledged"


def producer_death(seed: int, *, events: int) -> ProducerDeath:
    """What `seed` draws for a producer of `events` events, in their first half."""
    chance = random.Random(seed)
    return ProducerDeath(seed, 100 * chance.randrange(1, events // 200), chance.uniform(0, PRODUCER_SECONDS))
