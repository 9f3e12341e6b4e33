"""Podcast feeds: RSS 2.0 with the podcast namespace (podcastindex.org/namespace/1.0) and iTunes' tags.

Parsers of feeds flatten elements of other namespaces, of which there are several here (persons, transcripts) and nested
ones (value recipients); so the elements are read as they came. What has no field of its own is kept in `extra`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from uuid import UUID, uuid5
from xml.etree.ElementTree import Element

from lakehouse.domain.catalog.deliveries.faults import Fault
from lakehouse.domain.catalog.deliveries.xml import local, namespace, parse
from lakehouse.domain.catalog.quality.rules import Rule
from lakehouse.errors import RejectedInputError

_PODCAST = frozenset(
    {
        "https://podcastindex.org/namespace/1.0",
        "https://github.com/Podcastindex-org/podcast-namespace/blob/main/docs/1.0.md",
    }
)
#: The namespace's own UUID for guids of feeds (podcast namespace, tag `guid`).
_GUIDS = UUID("ead4c236-bf58-58c6-a2c6-a6b28d128cb6")
_ATOM = "http://www.w3.org/2005/Atom"
_ITUNES = "http://www.itunes.com/dtds/podcast-1.0.dtd"


@dataclass(frozen=True)
class Tag:
    """An element of the podcast namespace as it came: name, attributes, text, and the elements inside it."""

    name: str
    attributes: tuple[tuple[str, str], ...]
    text: str
    inner: tuple[Tag, ...] = ()


@dataclass(frozen=True)
class Episode:
    """One item of a feed. `guid` names it for good; `published_at` is UTC."""

    guid: str
    title: str
    description: str | None
    audio_url: str
    audio_type: str
    published_at: datetime | None
    duration: str | None
    explicit: str | None
    chapters: tuple[Tag, ...]
    transcripts: tuple[Tag, ...]
    persons: tuple[Tag, ...]
    values: tuple[Tag, ...]
    extra: tuple[Tag, ...]


@dataclass(frozen=True)
class Rejected:
    """An item that can't be taken, and why; the rest of the feed goes on."""

    position: int
    reason: str


@dataclass(frozen=True)
class Feed:
    """A podcast with its episodes in the order of the feed. `guid` names it for good (see `_guid`); `built_at`, UTC, is
    the newest date in it, None without any.
    """

    guid: str
    title: str
    author: str | None
    description: str | None
    link: str | None
    language: str | None
    image_url: str | None
    built_at: datetime | None
    tags: tuple[Tag, ...]
    episodes: tuple[Episode, ...]
    rejected: tuple[Rejected, ...]


def read(document: bytes) -> Feed:
    """The feed in `document`.

    Raises:
        RejectedInputError: `xml_*` (see `xml.parse`), `feed_invalid` (no RSS channel, or one without a title).
    """
    root = parse(document)
    channel = next((child for child in root if local(child) == "channel"), None)
    title = _text(channel, "title") if channel is not None else None
    if channel is None or local(root) != "rss" or title is None:
        raise RejectedInputError(
            "The document is no RSS feed with a title.",
            reason=Fault.FEED_INVALID.code,
            value=local(root),
            hint="Send RSS 2.0.",
        )
    image = next((e.get("href") for e in channel if local(e) == "image" and namespace(e) == _ITUNES), None)
    episodes: list[Episode] = []
    rejected: list[Rejected] = []
    seen: set[str] = set()
    for position, item in enumerate((e for e in channel if local(e) == "item" and not namespace(e)), 1):
        found = _episode(item)
        if isinstance(found, str):
            rejected.append(Rejected(position, found))
        elif found.guid in seen:
            rejected.append(Rejected(position, Fault.DUPLICATE_GUID.code))
        else:
            seen.add(found.guid)
            episodes.append(found)
    published = [episode.published_at for episode in episodes]
    return Feed(
        guid=_guid(channel, title),
        title=title,
        author=_text(channel, "author", _ITUNES),
        description=_text(channel, "description"),
        link=_text(channel, "link"),
        language=_text(channel, "language"),
        image_url=image,
        built_at=max(
            (at for at in (_date(channel, "lastBuildDate"), _date(channel, "pubDate"), *published) if at), default=None
        ),
        tags=tuple(_tags(channel)),
        episodes=tuple(episodes),
        rejected=tuple(rejected),
    )


def _guid(channel: Element, title: str) -> str:
    """The feed's own `podcast:guid`; else the one that its address gives by the namespace's rule, a UUID of version 5
    of the address without scheme and trailing slashes; else one of its link and title.
    """
    for child in channel:
        if local(child) == "guid" and namespace(child) in _PODCAST and child.text and child.text.strip():
            return child.text.strip().lower()
    own = next((e.get("href") for e in channel if namespace(e) == _ATOM and e.get("rel") == "self"), None)
    name = own or f"{_text(channel, 'link') or ''} {title}"
    return str(uuid5(_GUIDS, re.sub(r"^[a-z]+://", "", name).rstrip("/")))


def _episode(item: Element) -> Episode | str:
    enclosure = next((e for e in item if local(e) == "enclosure"), None)
    url = enclosure.get("url") if enclosure is not None else None
    if enclosure is None or not url:
        return Fault.MISSING_AUDIO.code
    title = _text(item, "title") or _text(item, "title", _ITUNES)
    if title is None:
        return Rule.MISSING_TITLE.code
    published_at = _date(item, "pubDate")
    if published_at is None and _text(item, "pubDate"):
        return Rule.INVALID_DATE.code
    tags = tuple(_tags(item))
    named = {name: tuple(t for t in tags if t.name == name) for name in ("chapters", "transcript", "person", "value")}
    return Episode(
        guid=_text(item, "guid") or url,
        title=title,
        description=_text(item, "description") or _text(item, "summary", _ITUNES),
        audio_url=url,
        audio_type=enclosure.get("type", ""),
        published_at=published_at,
        duration=_text(item, "duration", _ITUNES),
        explicit=_text(item, "explicit", _ITUNES),
        chapters=named["chapters"],
        transcripts=named["transcript"],
        persons=named["person"],
        values=named["value"],
        extra=tuple(tag for tag in tags if tag.name not in named),
    )


def _date(element: Element, name: str) -> datetime | None:
    """The moment of a date of RFC 5322, UTC; None when there is none or it can't be read."""
    try:
        at = parsedate_to_datetime(_text(element, name) or "")
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text(element: Element, name: str, space: str = "") -> str | None:
    for child in element:
        if local(child) == name and namespace(child) == space and child.text and child.text.strip():
            return child.text.strip()
    return None


def _tags(element: Element) -> Iterator[Tag]:
    for child in element:
        if namespace(child) in _PODCAST:
            yield Tag(local(child), tuple(child.attrib.items()), (child.text or "").strip(), tuple(_tags(child)))
