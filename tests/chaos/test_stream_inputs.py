"""Trouble before the stream: its producer dies, its topics come twice and shuffled. Afterwards everything equals the
oracle, as if nothing had been.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from typing import Any

import pytest

from lakehouse.adapters import trino
from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import CHECKOUT, Settings
from tests import stream_oracle
from tests.chaos.conftest import PROFILE, Victim
from tests.chaos.crowd import crowd, send_first
from tests.chaos.test_stream_faults import WINDOWS, assert_exact, live_windows

pytestmark = [
    pytest.mark.stack,
    pytest.mark.chaos,
    pytest.mark.skipif(os.environ.get("WAVEHOUSE_CHAOS_SEEDS", "0") == "0", reason="part of the long run: SEEDS=1"),
]

EVENTS = 3_000


def live(settings: Settings, topic: str) -> dict[Any, dict[str, int]]:
    table, key, _ = WINDOWS[topic]
    return dict(live_windows(settings, table, key))


def producer(seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.crowd", str(seed), str(EVENTS)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        env=os.environ | {"WAVEHOUSE_PROFILE": PROFILE},
    )


def test_a_producer_killed_in_the_middle_starts_again_and_nothing_is_lost_or_counted_twice(victim: Victim) -> None:
    settings, seed = victim.settings, 21
    before = {topic: live(settings, topic) for topic in WINDOWS}
    deadly = 100 * random.Random(seed).randrange(5, EVENTS // 100 - 5)
    with producer(seed) as first:
        assert first.stdout is not None
        reached = next(int(line) for line in first.stdout if int(line) >= deadly)
        first.send_signal(signal.SIGKILL)
    assert (first.returncode, reached) == (-signal.SIGKILL, deadly)
    with producer(seed) as again:
        assert again.stdout is not None
        assert int([*again.stdout][-1]) == EVENTS
    assert again.returncode == 0
    victim.command("stream", "wait", "--timeout", "600")
    assert_exact(settings)
    # The truth is what was to be sent, once, and not what the topic holds.
    for topic, (_, _, compute) in WINDOWS.items():
        truth = [event for name, event in itertools.islice(crowd(seed), EVENTS) if name == topic]
        wanted = compute([event for event in truth if isinstance(event, dict)])
        got = live(settings, topic)
        assert wanted
        for key, counts in wanted.items():
            earlier = before[topic].get(key, dict.fromkeys(counts, 0))
            assert {name: got[key][name] - earlier[name] for name in counts} == counts


def test_a_topic_that_comes_again_shuffled_changes_no_minute_no_day_and_no_count(victim: Victim) -> None:
    settings, seed = victim.settings, 22
    send_first(settings, seed, EVENTS)
    victim.command("stream", "wait", "--timeout", "600")
    before = {topic: live(settings, topic) for topic in WINDOWS}
    for topic in WINDOWS:
        again = [(message.key(), message.value()) for message in stream_oracle.records(settings, topic)]
        random.Random(seed).shuffle(again)
        with EventProducer(settings) as to:
            for key, value in again:
                to.send_encoded(topic, key or b"", value or b"")
    victim.command("stream", "wait", "--timeout", "600")
    assert_exact(settings)
    assert {topic: live(settings, topic) for topic in WINDOWS} == before
    assert_silver_and_days(victim)


def assert_silver_and_days(victim: Victim) -> None:
    """Silver holds each valid play once, and a day of a listener has as many as the oracle says."""
    settings = victim.settings
    plays = stream_oracle.decoded(settings, "plays").events
    received = sorted(event["received_at"].date().isoformat() for event in plays)
    victim.command("catalog", "migrate")
    window = json.loads(
        victim.command("dbt-vars", "--from", received[0], "--to", received[-1], "--json").splitlines()[-1]
    )
    select = ["+streams_daily", "--exclude", "resource_type:unit_test", "test_type:data"]
    victim.command("dbt", "build", "--select", *select, "--vars", json.dumps(window))
    wanted = stream_oracle.valid_plays(plays)
    rows = trino.query(settings, "select event_id from lake.silver_audit.plays").rows
    assert sorted(row[0] for row in rows) == sorted(event["event_id"] for event in wanted)
    days = trino.query(
        settings, "select played_on, sum(plays), sum(streams) from lake.gold_audit.streams_daily group by 1"
    ).rows
    assert {day: (int(count), int(streams)) for day, count, streams in days} == stream_oracle.days(wanted)
