"""What a release delivery says, whatever the version of the message that said it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from lakehouse.domain.catalog.quality.codes import WORLDWIDE
from lakehouse.errors import RejectedInputError

Action = Literal["publish", "takedown"]


@dataclass(frozen=True)
class File:
    """A file of a delivery: its path below the message, and its declared hash (lower-case hex)."""

    path: str
    algorithm: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Track:
    """A sound recording as declared; `reference` is its name inside the message."""

    reference: str
    title: str
    artist: str
    featured: tuple[str, ...]
    isrc: str | None
    duration: str | None
    language: str | None
    explicit: str | None
    file: File | None
    #: Of the work, and of the first main artist who has one.
    iswc: str | None = None
    isni: str | None = None
    ipi: str | None = None
    lyrics: tuple[Text, ...] = ()
    #: By deals of the track alone, in place of the release's; None where no deal names it.
    windows: tuple[Window, ...] | None = None


@dataclass(frozen=True)
class Picture:
    """Artwork; `reference` is its name inside the message."""

    reference: str
    file: File | None


@dataclass(frozen=True)
class Text:
    """Lyrics of a track, plain or synchronised; `reference` is their name inside the message."""

    reference: str
    language: str | None
    file: File


@dataclass(frozen=True)
class Window:
    """One permission: where (`Worldwide` or a territory), for which commercial model and use, from when until when.

    Moments are UTC; `ends_at` is the first moment after it, None for open.
    """

    territory: str
    excluded: tuple[str, ...]
    commercial_model: str
    use_type: str
    starts_at: datetime
    ends_at: datetime | None = None

    def covers(self, territory: str, at: datetime) -> bool:
        """Whether it permits in `territory` at the moment `at`."""
        where = territory == self.territory or (self.territory == WORLDWIDE and territory not in self.excluded)
        return where and self.in_force(at)

    def in_force(self, at: datetime) -> bool:
        """Whether it permits somewhere at the moment `at`."""
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)


@dataclass(frozen=True)
class Release:
    """A release with its tracks in their order. `key` is its GRid or its UPC/EAN in 13 digits. `windows` are those of
    deals about the whole of it.
    """

    key: str
    icpn: str | None
    title: str
    artist: str
    label: str | None
    kind: str | None
    released_on: str | None
    originally_released_on: str | None
    tracks: tuple[Track, ...]
    pictures: tuple[Picture, ...]
    windows: tuple[Window, ...]
    genre: str | None = None

    @property
    def all_windows(self) -> tuple[Window, ...]:
        """Windows of the release, then those of tracks with deals of their own."""
        return self.windows + tuple(window for track in self.tracks for window in track.windows or ())


@dataclass(frozen=True)
class Message:
    """One message about one release. `created_at`, UTC, orders the messages of a sender."""

    standard: str
    message_id: str
    sender: str
    created_at: datetime
    action: Action
    release_key: str
    is_update: bool = False
    release: Release | None = None
    #: Reference and kind of the release's resources that are neither sound, picture nor text, such as a video.
    left_out: tuple[tuple[str, str], ...] = ()


def moment(text: str, *, end_of_day: bool = False) -> datetime:
    """`text` as a moment, UTC: a date is its first moment, or the first after it; a time without a zone is UTC.

    Raises:
        ValueError: it is neither, or outside of the years 1 to 9999.
    """
    from datetime import date, timedelta

    try:
        if len(text) == len("2020-01-01"):
            day = date.fromisoformat(text) + timedelta(days=1 if end_of_day else 0)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        read = datetime.fromisoformat(text)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"'{text}' lies outside of the years 1 to 9999") from error


def permitting(
    windows: Iterable[Window], territory: str, at: datetime, *, model: str | None = None, use: str | None = None
) -> list[Window]:
    """The windows that permit playing in `territory` at `at`, under a commercial model and for a use, or any."""
    return [
        window
        for window in windows
        if window.covers(territory, at) and model in (None, window.commercial_model) and use in (None, window.use_type)
    ]


def check_in_force(windows: Iterable[Window], at: datetime) -> None:
    """Check that somebody somewhere may play at `at` what these windows are about.

    Raises:
        RejectedInputError: `not_available`.
    """
    known = list(windows)
    if any(window.in_force(at) for window in known):
        return
    starts = min((window.starts_at for window in known if window.starts_at > at), default=None)
    when = f"the next deal begins at {starts.isoformat()}" if starts else "no deal of it begins later"
    raise RejectedInputError(
        f"It may be played nowhere at {at.isoformat()}; {when}.",
        reason="not_available",
        value=starts.isoformat() if starts else None,
        hint="`wavehouse ingest available` shows the deals of a release.",
    )
