"""An audience that makes trouble: the events that the chaos tests send, without end and the same for the same seed.

Run as a program it is a producer that can be killed: `python -m tests.chaos.crowd SEED COUNT`.
"""

from __future__ import annotations

import itertools
import random
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import Settings, load_settings

START = datetime(2026, 10, 1, tzinfo=UTC)
COUNTRIES = ("DE", "US", "SE")
#: Malformed (three), of a schema nobody registered, and of the schema of another topic (ids are given out from 1).
BAD_MESSAGES = (b"", b"\0\0", b"not avro at all", b"\0\0\0\xff\xf0rest", b"\0\0\0\0\1rest", b"\0\0\0\0\2rest")


def crowd(seed: int) -> Iterator[tuple[str, dict[str, Any] | bytes]]:
    """Plays without end, with ads, likes and follows: repetitions, late, impossible and broken ones among them.

    Few tracks, countries and minutes, so that most minutes get several updates, from both before and after a kill.
    """
    rng = random.Random(seed)

    def new_id() -> str:
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))

    sent: list[dict[str, Any]] = []
    for number in itertools.count():
        user = rng.randrange(400)
        moment = START + timedelta(seconds=number * 8 % 86_400, microseconds=rng.randrange(1_000_000))
        late = timedelta(days=rng.randrange(30)) if rng.random() < 0.02 else timedelta()
        play = {
            "event_id": new_id(),
            "user_id": user,
            "track_id": int(5 * rng.random() ** 2),
            "session_id": new_id(),
            "played_at": moment - late,
            "received_at": moment,
            "ms_played": rng.randrange(200_000),
            "track_duration_ms": 200_000,
            "reason_start": "clickrow",
            "reason_end": "trackdone",
            "context": "album",
            "device": "phone",
            "user_agent": "Googlebot/2.1" if user % 50 == 0 else "wavehouse-ios/9",
            "tier": "free",
            "country": rng.choice(COUNTRIES),
            "time_zone": "Europe/Berlin",
            "is_offline": bool(late),
        }
        chance = rng.random()
        if chance < 0.01:
            play["ms_played"] = -1
        elif chance < 0.02:
            play["played_at"] = moment + timedelta(days=400)
        sent.append(play)
        yield "plays", play
        if rng.random() < 0.05:
            yield "plays", rng.choice(sent)
        if rng.random() < 0.002:
            yield "plays", rng.choice(BAD_MESSAGES)
        if number % 5 == 0:
            shown = {
                name: play[name] for name in ("user_id", "session_id", "received_at", "device", "user_agent", "country")
            }
            yield (
                "ad_impressions",
                shown
                | {
                    "event_id": new_id(),
                    "campaign_id": rng.randrange(5),
                    "creative_id": 1,
                    "shown_at": play["played_at"],
                    "cost_micros": rng.randrange(-50, 9_000),
                    "currency": "EUR",
                    "time_zone": "Europe/Berlin",
                },
            )
        if number % 20 == 0:
            like = {name: play[name] for name in ("user_id", "track_id", "received_at", "country")}
            yield "likes", like | {"event_id": new_id(), "is_liked": True, "liked_at": play["received_at"]}
        if number % 20 == 10:
            follow = {name: play[name] for name in ("user_id", "received_at", "country")}
            made = {"event_id": new_id(), "artist_id": play["track_id"], "is_followed": True}
            yield "follows", follow | made | {"followed_at": play["received_at"]}


def send_first(
    settings: Settings, seed: int, count: int, *, say: Callable[[int], object] = lambda number: None
) -> None:
    """Send the first `count` events of a seed; `say` hears after each hundred acknowledged how many there were."""
    with EventProducer(settings) as producer:
        for number, (topic, event) in enumerate(itertools.islice(crowd(seed), count), start=1):
            if isinstance(event, bytes):
                producer.send_encoded(topic, b"0", event)
            else:
                producer.send(topic, event)
            if number % 100 == 0:
                producer.flush()
                say(number)


def main(seed: int, count: int) -> None:
    """Send, and print how far it has come."""
    send_first(load_settings(), seed, count, say=lambda number: sys.stdout.write(f"{number}\n") and sys.stdout.flush())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
