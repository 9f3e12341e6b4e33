"""Trouble before the stream: its producer dies, its topics come twice and shuffled. Afterwards everything equals the
oracle, as if nothing had been.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading

import pytest

from lakehouse.config.settings import CHECKOUT
from lakehouse.contracts import EVENT_TOPICS
from tests import stream_oracle
from tests.chaos.conftest import PROFILE, SEEDS, Victim, long_run
from tests.chaos.crowd import crowd
from tests.chaos.draws import PRODUCER_PACE, ProducerDeath, producer_death
from tests.chaos.exactness import assert_exact, assert_silver_and_days
from tests.chaos.truth import Truth, as_sent

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

EVENTS = 3_000


def producer(seed: int, *pace: float) -> subprocess.Popen[str]:
    """Sends the events of a seed, no faster than `pace` [events/s] where it is given."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.crowd", str(seed), str(EVENTS), *map(str, pace)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        env=os.environ | {"WAVEHOUSE_PROFILE": PROFILE},
    )


@long_run
@pytest.mark.parametrize(
    "dying",
    # At least one, so that there is a case to skip; of the long run one in ten.
    [producer_death(1_000 + number, events=EVENTS) for number in range(max(1, SEEDS // 10))],
    ids=str,
)
def test_a_producer_killed_in_the_middle_starts_again_and_nothing_is_lost_or_counted_twice(
    victim: Victim, truth: Truth, dying: ProducerDeath
) -> None:
    settings = victim.settings
    events = as_sent(settings, itertools.islice(crowd(dying.seed), EVENTS))
    with producer(dying.seed, PRODUCER_PACE) as first:
        assert first.stdout is not None
        reached = next(int(line) for line in first.stdout if int(line) >= dying.acknowledged)
        # Time itself is what is tried here: the next events are under way.
        threading.Event().wait(dying.seconds)
        first.send_signal(signal.SIGKILL)
        acknowledged = max([reached, *map(int, first.stdout)])
    assert (first.returncode, reached) == (-signal.SIGKILL, dying.acknowledged)
    assert acknowledged < EVENTS, "it dies in the middle, not at its end"
    truth.acknowledge(events[:acknowledged])
    truth.suspect(events[acknowledged:])
    with producer(dying.seed) as again:
        assert again.stdout is not None
        assert int([*again.stdout][-1]) == EVENTS
    assert again.returncode == 0
    truth.acknowledge(events)
    victim.command("stream", "wait", "--timeout", "600")
    assert_exact(settings, truth)
    assert_silver_and_days(victim, truth)


def test_topics_that_come_again_shuffled_change_no_minute_no_day_and_no_count(victim: Victim, truth: Truth) -> None:
    """New events come out of order, with late ones and copies among them; then all that the topics hold comes again."""
    settings, chance = victim.settings, random.Random(22)
    new = list(itertools.islice(crowd(22), EVENTS))
    chance.shuffle(new)
    with truth.sending(settings) as to:
        for topic, event in new:
            to.send(topic, event)
    victim.command("stream", "wait", "--timeout", "600")
    with truth.sending(settings) as to:
        for topic in EVENT_TOPICS:
            again = [(message.key(), message.value()) for message in stream_oracle.records(settings, topic)]
            assert again, f"{topic}: nothing to send again"
            chance.shuffle(again)
            for key, value in again:
                to.send_copy(topic, key or b"", value or b"")
    victim.command("stream", "wait", "--timeout", "600")
    assert_exact(settings, truth)
    assert_silver_and_days(victim, truth)
