"""A listen, what it must be, and when two of them are one."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from lakehouse.domain.catalog.identifiers import normalise_isrc, recording_key, tidy
from lakehouse.errors import RejectedInputError

#: No listen is older: scrobbling began in October 2002, and ListenBrainz refuses what claims to be from before.
EARLIEST = datetime(2002, 10, 1, tzinfo=UTC)
#: A clock may run ahead of ours by this much, as for plays (rules.yaml).
CLOCK_AHEAD = timedelta(minutes=5)
LONGEST_MS = 86_400_000
#: Two services note one listen at moments that differ: Last.fm's exports round to the minute, Spotify notes the end and
#: leaves pauses out of the time heard. The same recording within two minutes at another service is the same listen.
TOLERANCE_S = 120
#: Namespace of the ids of listens (RFC 9562, 5.5). Changing it makes every listen a new one.
NAMESPACE = uuid.UUID("6b9d2f0e-3f7c-5a41-9d55-0f2f4c1f6a8e")


@dataclass(frozen=True)
class Listen:
    """One listen as its service tells it; `listened_at` is the start, UTC. Use `check` before it is trusted."""

    source: str
    listened_at: datetime
    artist_name: str
    title: str
    kind: str = "track"
    release_title: str | None = None
    ms_played: int | None = None
    isrc: str | None = None
    recording_mbid: str | None = None
    release_mbid: str | None = None
    spotify_uri: str | None = None

    @property
    def recording_key(self) -> str:
        """See `lakehouse.domain.catalog.identifiers.recording_key`."""
        return recording_key(self.artist_name, self.title)

    def event_id(self, user_id: int) -> str:
        """Identity of the listen: the same listener, second and recording give the same id, whatever the service."""
        second = int(self.listened_at.timestamp())
        return str(uuid.uuid5(NAMESPACE, f"{user_id}/{second}/{self.recording_key}"))

    def record(self, user_id: int, received_at: datetime) -> dict[str, Any]:
        """The record of topic `listens`."""
        return {
            "event_id": self.event_id(user_id),
            "user_id": user_id,
            "listened_at": self.listened_at,
            "received_at": received_at,
            "source": self.source,
            "kind": self.kind,
            "artist_name": self.artist_name,
            "title": self.title,
            "release_title": self.release_title,
            "recording_key": self.recording_key,
            "ms_played": self.ms_played,
            "isrc": self.isrc,
            "recording_mbid": self.recording_mbid,
            "release_mbid": self.release_mbid,
            "spotify_uri": self.spotify_uri,
        }


def check(listen: Listen, received_at: datetime, *, ahead: timedelta = CLOCK_AHEAD) -> None:
    """Refuse a listen that cannot have happened; the clock it is told by may run `ahead` of ours.

    Raises:
        RejectedInputError: `time_before_2002`, `time_in_future`, `bad_ms_played`.
    """
    if listen.listened_at < EARLIEST:
        raise RejectedInputError(
            f"listened_at is {listen.listened_at:%F %T}, before scrobbling began",
            reason="time_before_2002",
            value=listen.listened_at.isoformat(),
        )
    if listen.listened_at > received_at + ahead:
        raise RejectedInputError(
            f"listened_at is {listen.listened_at:%F %T}, which is still to come",
            reason="time_in_future",
            value=listen.listened_at.isoformat(),
        )
    if listen.ms_played is not None and not 0 <= listen.ms_played <= LONGEST_MS:
        raise RejectedInputError(
            f"heard for {listen.ms_played} ms, not between nothing and a day",
            reason="bad_ms_played",
            value=listen.ms_played,
        )


def moment(value: object, *, field: str) -> datetime:
    """Seconds since 1970 (number or digits) as UTC, whole.

    Raises:
        RejectedInputError: `missing_time`, `bad_time`.
    """
    if value is None or value == "":
        raise RejectedInputError(f"{field} is missing", reason="missing_time")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise RejectedInputError(f"{field} is neither number nor text", reason="bad_time")
    try:
        # A fraction is cut off, as ListenBrainz does; through float, because the digits of 1e999999999 fill the memory.
        whole = int(float(value)) if isinstance(value, float | Decimal) else int(value)
        return datetime.fromtimestamp(whole, UTC)
    except (ValueError, OverflowError, OSError) as error:
        shown = str(value)[:50]
        raise RejectedInputError(f"{field} is no time: '{shown}'", reason="bad_time", value=shown) from error


def text(value: object, *, field: str, limit: int = 1000) -> str:
    """A name as shown.

    Raises:
        RejectedInputError: `missing_<field>`; or `bad_<field>`: no text, or longer than `limit` characters.
    """
    if value is None or value == "":
        raise RejectedInputError(f"{field} is missing", reason=f"missing_{field}")
    if not isinstance(value, str):
        raise RejectedInputError(f"{field} is no text", reason=f"bad_{field}")
    if len(value) > limit:
        raise RejectedInputError(f"{field} is longer than {limit} characters", reason=f"bad_{field}", value=value[:100])
    if not is_unicode(value):
        raise RejectedInputError(
            f"{field} holds half a surrogate pair", reason=f"bad_{field}", value=ascii(value)[:100]
        )
    if not (shown := tidy(value)):
        raise RejectedInputError(f"{field} is empty", reason=f"missing_{field}")
    return shown


def is_unicode(value: str) -> bool:
    """Whether `value` can be written as UTF-8: JSON can escape half of a surrogate pair, which is no character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def optional(value: object) -> str | None:
    """A name that may be missing; what is no text counts as missing."""
    return (tidy(value)[:1000] or None) if isinstance(value, str) and is_unicode(value) else None


def optional_mbid(value: object) -> str | None:
    """A MusicBrainz id, or None where it is not one: an id is an extra, and a wrong one must not cost the listen."""
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def optional_isrc(value: object) -> str | None:
    """An ISRC, or None where it is not one."""
    try:
        return normalise_isrc(value) if isinstance(value, str) and value else None
    except ValueError:
        return None


class Store(Protocol):
    """Listens known of one listener, by second and hash of the recording; see `lakehouse.adapters.listens`."""

    def near(self, second: int, recording: int, within: int) -> list[tuple[int, str]]:
        """(second, source) of the listens of `recording` at most `within` seconds away."""

    def add(self, second: int, recording: int, source: str) -> None:
        """Remember one."""


class Seen:
    """Decides which listens are new, by this rule: a listen is a duplicate of one of the same recording

    - at the same second, whichever service either came from;
    - at most `TOLERANCE_S` seconds away, when another service recorded it.

    Within one service a recording heard twice in two minutes is two listens (a short track in a loop).
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def is_new(self, listen: Listen) -> bool:
        """Whether the listen is no duplicate; a new one is remembered."""
        second, recording = int(listen.listened_at.timestamp()), recording_hash(listen.recording_key)
        for known, source in self._store.near(second, recording, TOLERANCE_S):
            if known == second or source != listen.source:
                return False
        self._store.add(second, recording, listen.source)
        return True


def recording_hash(recording_key: str) -> int:
    """64 bits of a recording's key (signed); two of a listener's recordings never share them in practice."""
    return int.from_bytes(hashlib.blake2b(recording_key.encode(), digest_size=8).digest(), "big", signed=True)
