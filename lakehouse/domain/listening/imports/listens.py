"""A listen, what it must be, and when two of them are one."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from lakehouse.domain.catalog.identifiers import normalise_isrc, normalise_mbid, recording_key, tidy
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
        return normalise_mbid(value) if isinstance(value, str) else None
    except ValueError:
        return None


def optional_isrc(value: object) -> str | None:
    """An ISRC, or None where it is not one."""
    try:
        return normalise_isrc(value) if isinstance(value, str) and value else None
    except ValueError:
        return None


class Heard(NamedTuple):
    """A listen as far as duplicates go; a listener has one of the same second, names and source."""

    second: int
    """Its start [s since 1970]."""
    source: str
    names: int
    """`recording_hash` of its recording's key."""
    isrc: int | None = None
    """`recording_hash` of its ISRC."""

    @classmethod
    def of(cls, at: datetime, source: str, key: str, isrc: str | None) -> Heard:
        """That of a recording with this `recording_key`, from `at` on."""
        return cls(int(at.timestamp()), source, recording_hash(key), recording_hash(isrc) if isrc else None)


class Store(Protocol):
    """Keeps the listens of one listener for `Seen`; see `lakehouse.adapters.listens`."""

    def add(self, known: Heard) -> None:
        """Remember a listen that the listener has; one of the same second, names and source is the same."""

    def near(self, heard: Heard, within: int) -> list[Heard]:
        """Known listens of the same names or the same ISRC at most `within` seconds away, the earliest first."""

    def take(self, known: Heard) -> None:
        """Remember that a known listen has explained a row."""

    def is_taken(self, known: Heard) -> bool:
        """Whether it has explained one."""

    def expect(self, heard: Heard) -> None:
        """Remember a row that is to be judged; rows of the same second and names are one."""

    def undecided(self) -> Iterator[Heard]:
        """Rows without a verdict, the earliest first; verdicts may be given meanwhile."""

    def count_undecided(self) -> int:
        """How many rows have no verdict."""

    def decide(self, heard: Heard, *, is_new: bool) -> None:
        """Keep the verdict on a row."""

    def claim(self, heard: Heard) -> bool:
        """Whether a row is new, at the first time it is asked for; False from then on.

        Raises:
            LookupError: it was not expected.
        """


class Seen:
    """Decides which listens of `source` are new. Two listens are of the same recording when they have the same names
    (`recording_key`) or the same ISRC. A listen is a duplicate

    - of one of the same recording at the same second, whichever service either came from;
    - else of one at most `TOLERANCE_S` seconds away, which another service recorded and which explains no other listen.

    Within one service a recording heard twice in two minutes is two listens (a short track in a loop). As many listens
    as can be are explained, whatever the order of the rows: so all are told (`expect`) before the first is judged. What
    is new explains nothing, so that judging again, with some or all of it known, gives the same.
    """

    def __init__(self, store: Store, source: str) -> None:
        self._store, self._source = store, source

    def expect(self, listen: Listen) -> None:
        """Tell of a listen that is to be judged."""
        self._store.expect(self._heard(listen))

    def settle(self, progress: Callable[[str, int, int], None] = lambda step, done, total: None) -> None:
        """Judge all listens told of. `progress` hears at each listen of the step (`compared` with what is of the same
        second, then `judged`), of the listens that have come to it, and of all there are.
        """
        total, judged = self._store.count_undecided(), 0
        for compared, heard in enumerate(self._store.undecided(), start=1):
            if same := self._store.near(heard, 0):
                for known in same:
                    self._store.take(known)
                self._decide(heard, is_new=False)
                judged += 1
            progress("compared", compared, total)
        # Of listens and known ones both in the order of time, taking the earliest that is left explains the most.
        for done, heard in enumerate(self._store.undecided(), start=judged + 1):
            progress("judged", done, total)
            near = self._store.near(heard, TOLERANCE_S)
            if any(known.second == heard.second for known in near):  # of this import: another title, the same ISRC
                self._decide(heard, is_new=False)
                continue
            others = (known for known in near if known.source != self._source)
            explains = next((known for known in others if not self._store.is_taken(known)), None)
            if explains:
                self._store.take(explains)
            self._decide(heard, is_new=explains is None)

    def is_new(self, listen: Listen) -> bool:
        """Whether the listen is no duplicate; of the same one twice, the second is.

        Raises:
            LookupError: it was not told of.
        """
        return self._store.claim(self._heard(listen))

    def _decide(self, heard: Heard, *, is_new: bool) -> None:
        self._store.decide(heard, is_new=is_new)
        self._store.add(heard)

    def _heard(self, listen: Listen) -> Heard:
        return Heard.of(listen.listened_at, self._source, listen.recording_key, listen.isrc)


def recording_hash(identity: str) -> int:
    """64 bits of a recording's key or ISRC (signed); two of a listener's recordings never share them in practice."""
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "big", signed=True)
