"""An audience that makes trouble: the events that the chaos tests send, without end and the same for the same seed.

Run as a program it is a producer that can be killed: `python -m tests.chaos.crowd SEED COUNT [EVENTS_A_SECOND]`.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from lakehouse.adapters.kafka import EventProducer
from lakehouse.config.settings import load_settings

START = datetime(2026, 10, 1, tzinfo=UTC)
COUNTRIES = ("DE", "US", "SE")
#: Malformed (three), of a schema nobody registered, and of the schema of another topic (ids are given out from 1).
BAD_MESSAGES = (b"", b"\0\0", b"not avro at all", b"\0\0\0\xff\xf0rest", b"\0\0\0\0\1rest", b"\0\0\0\0\2rest")
#: Share of plays that an event of the topic goes with.
SHARES = {
    "ad_impressions": 0.2,
    "likes": 0.05,
    "follows": 0.05,
    "playlist_edits": 0.05,
    "ad_clicks": 0.05,
    "playback_telemetry": 0.1,
    "catalog_changes": 0.05,
    "listens": 0.05,
}


def crowd(seed: int) -> Iterator[tuple[str, dict[str, Any] | bytes]]:
    """Plays without end, with events of all other topics: repetitions, late, impossible and broken ones among them.

    Few tracks, countries and minutes, so that most minutes get several updates, from both before and after a kill.
    """
    rng = random.Random(seed)
    sent: dict[str, list[dict[str, Any]]] = defaultdict(list)
    impression = _new_id(rng)
    for number in itertools.count():
        play = _play(rng, number)
        made = [("plays", play)]
        for topic, share in SHARES.items():
            if rng.random() < share:
                made.append((topic, _with_play(topic, play, impression, rng)))
                if topic == "ad_impressions":
                    impression = made[-1][1]["event_id"]
        for topic, event in made:
            sent[topic].append(event)
            yield topic, event
            if rng.random() < 0.05:
                yield topic, rng.choice(sent[topic])
        if rng.random() < 0.005:
            yield "plays", rng.choice(BAD_MESSAGES)


def _new_id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _play(rng: random.Random, number: int) -> dict[str, Any]:
    user = rng.randrange(400)
    moment = START + timedelta(seconds=number * 8 % 86_400, microseconds=rng.randrange(1_000_000))
    late = timedelta(days=rng.randrange(30)) if rng.random() < 0.02 else timedelta()
    play = {
        "event_id": _new_id(rng),
        "user_id": user,
        "track_id": int(5 * rng.random() ** 2),
        "session_id": _new_id(rng),
        "played_at": moment - late,
        "received_at": moment,
        "ms_played": rng.randrange(200_000),
        "track_duration_ms": 200_000,
        "reason_start": "clickrow",
        "reason_end": "trackdone",
        "context": "album",
        "device": "phone",
        "user_agent": "Googlebot/2.1" if user % 50 == 0 else "wavehouse-ios/9",
        "tier": rng.choice(("free", "premium")),
        "country": rng.choice(COUNTRIES),
        "time_zone": "Europe/Berlin",
        "is_offline": bool(late),
    }
    chance = rng.random()
    if chance < 0.01:
        play["ms_played"] = -1
    elif chance < 0.02:
        play["played_at"] = moment + timedelta(days=400)
    return play


def _with_play(topic: str, play: dict[str, Any], impression: str, rng: random.Random) -> dict[str, Any]:
    """An event of another topic, by the listener of `play`; `impression` is the event_id of the last ad shown."""
    event: dict[str, Any]
    moment = play["received_at"]
    match topic:
        case "ad_impressions":
            event = _of(
                play, "user_id", "session_id", "received_at", "device", "user_agent", "country", "time_zone"
            ) | {
                "campaign_id": rng.randrange(5),
                "creative_id": 1,
                "shown_at": play["played_at"],
                "cost_micros": rng.randrange(-50, 9_000),
                "currency": "EUR",
            }
        case "likes":
            event = _of(play, "user_id", "track_id", "received_at", "country") | {"is_liked": True, "liked_at": moment}
        case "follows":
            event = _of(play, "user_id", "received_at", "country") | {
                "artist_id": play["track_id"],
                "is_followed": True,
                "followed_at": moment,
            }
        case "playlist_edits":
            event = _of(play, "user_id", "track_id", "received_at", "country") | {
                "playlist_id": play["user_id"],
                "edit": "add",
                "position": rng.randrange(50),
                "edited_at": moment,
            }
        case "ad_clicks":
            event = _of(play, "user_id", "session_id", "received_at", "device", "user_agent", "country") | {
                "impression_event_id": impression,
                "campaign_id": rng.randrange(5),
                "creative_id": 1,
                "clicked_at": moment,
            }
        case "playback_telemetry":
            same = ("user_id", "track_id", "session_id", "received_at", "device", "user_agent", "country")
            event = _of(play, *same) | {
                "play_event_id": play["event_id"],
                "measured_at": moment,
                "startup_ms": rng.randrange(2_000),
                "rebuffers": rng.randrange(2),
                "rebuffered_ms": rng.randrange(500),
                "bitrate_bps": 160_000,
            }
        case "catalog_changes":
            event = {
                "content_id": play["track_id"],
                "kind": "track",
                "change": "update",
                "attributes": "{}",
                "changed_at": moment,
            }
        case "listens":
            title = f"Song {play['track_id']}"
            event = _of(play, "user_id", "received_at") | {
                "listened_at": play["received_at"] - timedelta(days=rng.randrange(30)),
                "source": "scrobble",
                "kind": "track",
                "artist_name": "Somebody",
                "title": title,
                "recording_key": f"somebody {title.lower()}",
                "ms_played": rng.choice((None, 180_000)),
            }
        case _:
            raise NotImplementedError(topic)
    return event | {"event_id": _new_id(rng)}


def _of(play: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: play[name] for name in names}


def main(seed: int, count: int, pace: float | None = None) -> None:
    """Send the first `count` events of a seed, and print how many are acknowledged: every hundred, and at the end. No
    faster than `pace` events a second, where one is given.
    """
    with EventProducer(load_settings()) as producer:
        started = time.monotonic()
        for number, (topic, event) in enumerate(itertools.islice(crowd(seed), count), start=1):
            if pace and (early := started + number / pace - time.monotonic()) > 0:
                time.sleep(early)
            if isinstance(event, bytes):
                producer.send_encoded(topic, b"0", event)
            else:
                producer.send(topic, event)
            if number % 100 == 0 or number == count:
                producer.flush()
                sys.stdout.write(f"{number}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:]))
