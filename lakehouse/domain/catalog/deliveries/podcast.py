"""Podcast feeds: RSS 2.0 with the podcast namespace (podcastindex.org/namespace/1.0) and iTunes' tags.

Parsers of feeds flatten elements of other namespaces, of which there are several here (persons, transcripts) and nested
ones (value recipients); so the elements are read as they came. What has no field of its own is kept in `extra`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from xml.etree.ElementTree import Element

from lakehouse.domain.catalog.deliveries.xml import local, namespace, parse
from lakehouse.errors import RejectedInputError

_PODCAST = frozenset(
    {
        "https://podcastindex.org/namespace/1.0",
        "https://github.com/Podcastindex-org/podcast-namespace/blob/main/docs/1.0.md",
    }
)
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
    """A podcast with its episodes in the order of the feed."""

    title: str
    link: str | None
    language: str | None
    image_url: str | None
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
            "The document is no RSS feed with a title.", reason="feed_invalid", value=local(root), hint="Send RSS 2.0."
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
            rejected.append(Rejected(position, "duplicate_guid"))
        else:
            seen.add(found.guid)
            episodes.append(found)
    return Feed(
        title, _text(channel, "link"), _text(channel, "language"), image, tuple(_tags(channel)), tuple(episodes),
        tuple(rejected),
    )  # fmt: skip


def _episode(item: Element) -> Episode | str:
    enclosure = next((e for e in item if local(e) == "enclosure"), None)
    url = enclosure.get("url") if enclosure is not None else None
    if enclosure is None or not url:
        return "missing_audio"
    title = _text(item, "title") or _text(item, "title", _ITUNES)
    if title is None:
        return "missing_title"
    published = _text(item, "pubDate")
    try:
        at = parsedate_to_datetime(published) if published else None
    except ValueError:
        return "invalid_date"
    tags = tuple(_tags(item))
    named = {name: tuple(t for t in tags if t.name == name) for name in ("chapters", "transcript", "person", "value")}
    return Episode(
        guid=_text(item, "guid") or url,
        title=title,
        audio_url=url,
        audio_type=enclosure.get("type", ""),
        published_at=(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)) if at else None,
        duration=_text(item, "duration", _ITUNES),
        explicit=_text(item, "explicit", _ITUNES),
        chapters=named["chapters"],
        transcripts=named["transcript"],
        persons=named["person"],
        values=named["value"],
        extra=tuple(tag for tag in tags if tag.name not in named),
    )


def _text(element: Element, name: str, space: str = "") -> str | None:
    for child in element:
        if local(child) == name and namespace(child) == space and child.text and child.text.strip():
            return child.text.strip()
    return None


def _tags(element: Element) -> Iterator[Tag]:
    for child in element:
        if namespace(child) in _PODCAST:
            yield Tag(local(child), tuple(child.attrib.items()), (child.text or "").strip(), tuple(_tags(child)))
