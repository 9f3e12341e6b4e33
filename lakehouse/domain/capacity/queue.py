"""A day of deliveries through a fleet of workers that grows with its backlog, event by event (simpy).

Workers behave as executors under Spark's dynamic allocation and a backlog scaler such as KEDA do: the wanted number
follows the queue, a new worker needs time to start, an idle one leaves after a while, and one that dies is replaced
while its batch goes back to the head of the queue, to be done from its start (every step of ingest may be repeated).
While the object store or the database is away nobody works: what was under way is done again from its start, deliveries
go on coming, and the scaler, which sees no queue then, leaves the fleet as it is.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import simpy

from lakehouse.domain.capacity.ingest import DAY_S
from lakehouse.errors import RejectedInputError

#: How often the scaler looks at the queue (KEDA's default polling interval), in seconds.
SCALER_S = 30.0
#: How long after an outage workers look again (`wavehouse ingest work --every`), in seconds.
LOOK_S = 15.0


@dataclass(frozen=True)
class Batch:
    """Files that one task takes: when they arrived (seconds of the day) and what they cost (CPU seconds)."""

    arrived_s: float
    core_s: float


@dataclass(frozen=True)
class Fleet:
    """Workers of one core. `drain_s`: the scaler wants so many that the backlog is gone in this time. Seconds all."""

    least: int
    most: int
    drain_s: float = 300.0
    start_s: float = 90.0
    idle_s: float = 60.0
    #: Mean time between failures of one worker; infinite: none fails.
    failure_s: float = math.inf

    def __post_init__(self) -> None:
        """Refuse a fleet that could never work.

        Raises:
            RejectedInputError: fewer than one worker at most, or more at least than at most.
        """
        if not 0 <= self.least <= self.most or self.most < 1:
            raise RejectedInputError(
                f"A fleet of {self.least} to {self.most} workers does no work.",
                reason="bad_argument",
                value=self.most,
            )

    def wanted(self, backlog_s: float) -> int:
        """Workers for so many CPU seconds in the queue: enough to be done in `drain_s`, between `least` and `most`."""
        return max(self.least, min(math.ceil(backlog_s / self.drain_s), self.most))


@dataclass(frozen=True)
class Day:
    """Shape of a day of deliveries: a wave with its peak in the evening, and bursts in which far more comes in."""

    core_s: float
    batch_core_s: float
    wave: float = 0.5
    bursts: int = 3
    burst_times: float = 4.0
    burst_s: float = 1800.0


@dataclass(frozen=True)
class Outage:
    """The object store or the database is away: from when, until when (seconds of the day)."""

    starts_s: float
    ends_s: float


@dataclass(frozen=True)
class Outcome:
    """What became of a day. Delays in seconds, in order: from arrival to the start of the try that succeeded.

    `tried_again` counts batches that a worker's death cut off, `cut_off` those that an outage did.
    """

    arrived: int
    done: int
    tried_again: int
    cut_off: int
    most_workers: int
    worker_s: float
    delays_s: Sequence[float]

    def delay_s(self, percent: float) -> float:
        """The delay that `percent` of the batches do not exceed (nearest rank)."""
        if not self.delays_s:
            return 0.0
        return self.delays_s[max(math.ceil(percent / 100 * len(self.delays_s)), 1) - 1]


def bursts(day: Day, seed: int) -> list[float]:
    """When the bursts of `deliveries` of this seed begin, in order (seconds of the day)."""
    return _bursts(day, random.Random(seed))  # noqa: S311 - a simulation, no secret


def _bursts(day: Day, rng: random.Random) -> list[float]:
    return sorted(rng.uniform(0, DAY_S - day.burst_s) for _ in range(day.bursts))


def deliveries(day: Day, seed: int) -> Iterator[Batch]:
    """Batches of a day in order of arrival: a Poisson process whose intensity follows the day's shape (thinning, Lewis
    and Shedler 1979), with exponentially distributed sizes. The same seed gives the same day.
    """
    rng = random.Random(seed)  # noqa: S311 - a simulation, no secret
    starts = _bursts(day, rng)

    def shape(moment: float) -> float:
        wave = 1 + day.wave * math.sin(2 * math.pi * (moment / DAY_S - 0.5))
        return wave * (day.burst_times if any(start <= moment < start + day.burst_s for start in starts) else 1.0)

    step = 60.0
    mean = sum(shape(i * step) for i in range(int(DAY_S / step))) * step / DAY_S
    per_s = day.core_s / day.batch_core_s / DAY_S / mean
    highest = per_s * (1 + day.wave) * day.burst_times
    moment = 0.0
    while (moment := moment + rng.expovariate(highest)) < DAY_S:
        if rng.random() * highest < per_s * shape(moment):
            yield Batch(moment, rng.expovariate(1 / day.batch_core_s))


def outages(number: int, mean_s: float, seed: int) -> list[Outage]:
    """Outages of a day in order, apart from one another: each at a moment drawn evenly and lasting half to one and a
    half times `mean_s`. Those that would overlap are one. The same seed gives the same ones.

    Raises:
        RejectedInputError: fewer than none, or they last no time.
    """
    if number < 0 or mean_s <= 0:
        raise RejectedInputError(
            f"{number} outages of {mean_s:g} s are none.", reason="bad_argument", value=[number, mean_s]
        )
    rng = random.Random(f"outages {seed}")  # noqa: S311 - a simulation, no secret
    drawn = sorted((rng.uniform(0, DAY_S), mean_s * rng.uniform(0.5, 1.5)) for _ in range(number))
    found: list[Outage] = []
    for start, length in drawn:
        if found and start <= found[-1].ends_s:
            found[-1] = replace(found[-1], ends_s=max(found[-1].ends_s, start + length))
        else:
            found.append(Outage(start, start + length))
    return found


def replay(batches: Iterable[Batch], fleet: Fleet, seed: int = 0, away: Sequence[Outage] = ()) -> Outcome:
    """Take `batches` (in order of arrival) through the fleet, until the last is done; `away` in order, apart."""
    run = _Run(fleet, random.Random(seed), away)  # noqa: S311 - a simulation, no secret
    run.env.process(run.arrivals(batches))
    run.env.process(run.scaler())
    run.env.run()
    return Outcome(
        run.arrived, len(run.delays), run.tried_again, run.cut_off, run.most, run.worker_s, sorted(run.delays)
    )


Process = Generator[simpy.Event, Any, None]
_NEVER = Outage(math.inf, math.inf)


class _Run:
    """The state of one replay."""

    def __init__(self, fleet: Fleet, rng: random.Random, away: Sequence[Outage]) -> None:
        self.env = simpy.Environment()
        self.fleet, self.rng = fleet, rng
        self.away = deque(away)  # what is not over yet
        self.waiting: deque[Batch] = deque()
        self.idle: deque[simpy.Event] = deque()
        self.backlog_s = 0.0  # CPU seconds in the queue
        self.workers = self.most = self.arrived = self.tried_again = self.cut_off = 0
        self.worker_s = 0.0
        self.delays: list[float] = []
        self.over = False
        for _ in range(fleet.least):
            self.hire(0.0)

    def arrivals(self, batches: Iterable[Batch]) -> Process:
        for batch in batches:
            yield self.env.timeout(max(batch.arrived_s - self.env.now, 0))
            self.arrived += 1
            self.enqueue(batch)
        self.over = True

    def enqueue(self, batch: Batch, *, first: bool = False) -> None:
        self.backlog_s += batch.core_s
        if first:
            self.waiting.appendleft(batch)
        else:
            self.waiting.append(batch)
        if self.idle:
            self.idle.popleft().succeed()

    @property
    def finished(self) -> bool:
        return self.over and len(self.delays) == self.arrived

    def next_outage(self) -> Outage:
        """The outage that goes on now, else the next one; one that never comes when there is no other."""
        while self.away and self.away[0].ends_s <= self.env.now:
            self.away.popleft()
        return self.away[0] if self.away else _NEVER

    def scaler(self) -> Process:
        while not self.finished:
            if self.next_outage().starts_s > self.env.now:
                for _ in range(self.fleet.wanted(self.backlog_s) - self.workers):
                    self.hire(self.fleet.start_s)
            yield self.env.timeout(SCALER_S)
        while self.idle:
            self.idle.popleft().succeed()

    def hire(self, start_s: float) -> None:
        self.workers += 1
        self.most = max(self.most, self.workers)
        self.env.process(self.worker(start_s))

    def worker(self, start_s: float) -> Process:
        hired = self.env.now
        yield self.env.timeout(start_s)
        dies_s = self._life_s()
        while not self.finished:
            if not self.waiting:
                call = self.env.event()
                self.idle.append(call)
                yield call | self.env.timeout(self.fleet.idle_s)
                if not call.triggered:
                    self.idle.remove(call)
                    if self.workers > self.fleet.least:
                        break
                continue
            outage = self.next_outage()
            left_s = outage.starts_s - self.env.now
            if left_s <= 0:
                yield self.env.timeout(outage.ends_s + LOOK_S * self.rng.random() - self.env.now)
                continue
            batch = self.waiting.popleft()
            self.backlog_s -= batch.core_s
            started = self.env.now
            if left_s < min(batch.core_s, dies_s):
                yield self.env.timeout(left_s)
                dies_s -= left_s
                self.cut_off += 1
                self.enqueue(batch, first=True)
                continue
            if batch.core_s > dies_s:
                yield self.env.timeout(dies_s)
                self.tried_again += 1
                self.enqueue(batch, first=True)
                yield self.env.timeout(self.fleet.start_s)  # its replacement
                dies_s = self._life_s()
                continue
            yield self.env.timeout(batch.core_s)
            dies_s -= batch.core_s
            self.delays.append(started - batch.arrived_s)
        self.workers -= 1
        self.worker_s += self.env.now - hired

    def _life_s(self) -> float:
        return math.inf if math.isinf(self.fleet.failure_s) else self.rng.expovariate(1 / self.fleet.failure_s)


def smallest_fleet(
    batches: Sequence[Batch],
    fleet: Fleet,
    goal_s: float,
    percent: float = 99.0,
    seed: int = 0,
    away: Sequence[Outage] = (),
) -> Fleet | None:
    """The fleet with the smallest `most` (up to that of `fleet`) that keeps the delay of `percent` of batches below
    `goal_s`; found by bisection, because more workers never make it longer. None where even `fleet` does not.
    """

    def keeps(most: int) -> bool:
        return replay(batches, replace(fleet, most=most), seed, away).delay_s(percent) < goal_s

    low, high = max(fleet.least, 1), fleet.most
    if not keeps(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if keeps(middle):
            high = middle
        else:
            low = middle + 1
    return replace(fleet, most=high)
