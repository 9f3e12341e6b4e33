"""How a benchmark measures: CPU seconds of processes, contenders in turns, medians of the rounds as a ratio.

Machines are noisy. CPU seconds suffer less from other work than wall seconds do, and contenders that take turns
within one run suffer alike; so ratios can be compared between machines where seconds can't.
"""

from __future__ import annotations

import os
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

import psutil


@dataclass(frozen=True)
class Cost:
    """What a piece of work cost: CPU seconds (user and system, all threads) and wall seconds."""

    cpu_s: float
    wall_s: float


def measure(work: Callable[[], object], pids: Iterable[int] = ()) -> Cost:
    """Cost of one call: of this process, of the children it has waited for, and of the running processes `pids` with
    their children (services that do the work on its behalf).
    """
    watched = list(pids)
    cpu, wall = _own_cpu_s() + sum(map(tree_cpu_s, watched)), time.monotonic()
    work()
    return Cost(
        cpu_s=_own_cpu_s() + sum(map(tree_cpu_s, watched)) - cpu,
        wall_s=time.monotonic() - wall,
    )


def interleaved(contenders: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[Cost]]:
    """Costs by contender: each runs once a round, in an order that turns by one from round to round."""
    names = list(contenders)
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            costs[name].append(measure(contenders[name]))
    return costs


def median(costs: Iterable[Cost]) -> Cost:
    """Median of CPU and of wall seconds, each by itself."""
    known = list(costs)
    return Cost(statistics.median(c.cpu_s for c in known), statistics.median(c.wall_s for c in known))


def summary(costs: Mapping[str, list[Cost]], *, ours: str) -> dict[str, object]:
    """Medians by contender, and how many times `ours` each of the others costs (CPU seconds)."""
    medians = {name: median(found) for name, found in costs.items()}
    return {
        "rounds": len(costs[ours]),
        "median": {name: asdict(cost) for name, cost in medians.items()},
        "times_ours": {name: cost.cpu_s / medians[ours].cpu_s for name, cost in medians.items() if name != ours},
    }


def tree_cpu_s(pid: int) -> float:
    """CPU seconds so far of a running process and its descendants, ended and awaited children included.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    root = psutil.Process(pid)
    own = root.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in root.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:  # it ended meanwhile: from now on its parent counts it
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _own_cpu_s() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@dataclass
class Peak:
    """The most memory that processes held together so far [bytes]; pages that they share count for each."""

    rss_bytes: int = 0


@contextmanager
def watched(pids: Iterable[int] = (), *, every_s: float = 0.2) -> Iterator[Peak]:
    """Sample the resident memory of this process and of `pids`, all with their descendants, until the block ends."""
    roots, peak, stop = [os.getpid(), *pids], Peak(), threading.Event()

    def sample() -> None:
        while True:
            peak.rss_bytes = max(peak.rss_bytes, sum(map(tree_rss_bytes, roots)))
            if stop.wait(every_s):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def tree_rss_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 when it has ended."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total
