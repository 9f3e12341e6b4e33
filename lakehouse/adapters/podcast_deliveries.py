"""Podcast feeds into the catalogue: the podcast, its episodes with all that the podcast namespace says of them, and the
audio of those whose file lies beside the feed.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from lakehouse.adapters.audio_probe import probe
from lakehouse.adapters.catalog_db import CatalogDb, DeliveredEpisode
from lakehouse.adapters.delivery_sources import Source, folder_of
from lakehouse.adapters.objects import Objects
from lakehouse.domain.audio.validation import AudioFacts, check_sound
from lakehouse.domain.catalog.content import EPISODE, PODCAST, Item
from lakehouse.domain.catalog.deliveries import podcast
from lakehouse.domain.catalog.deliveries.faults import Fault
from lakehouse.domain.catalog.deliveries.podcast import Episode, Feed, Tag
from lakehouse.domain.catalog.deliveries.xml import head
from lakehouse.domain.catalog.ids import EPOCH, id_moment
from lakehouse.domain.catalog.quality.records import Metadata, assess, sound_findings
from lakehouse.errors import RejectedInputError

#: A feed begins with its root, after declaration, comments and style sheet.
_FEED = re.compile(rb"<rss[\s>]")


def is_feed(document: bytes) -> bool:
    """Whether a document is meant as an RSS feed."""
    return bool(_FEED.search(head(document)))


def deliver(objects: Objects, db: CatalogDb, source: Source, name: str, document: bytes) -> dict[str, Any]:
    """Take in the feed `document`; returns `outcome`, `release_key` and `findings` of what became of it.

    An episode that breaks a rule is left out with its reason among the findings; the others go on.

    Raises:
        RejectedInputError: the feed can't be read, says too much of itself, or is older than the one in force.
    """
    feed = podcast.read(document)
    built_at = id_moment(feed.built_at or EPOCH)
    findings: list[dict[str, Any]] = [
        {"resource": f"item {rejected.position}", "code": rejected.reason, "severity": "quarantined"}
        for rejected in feed.rejected
    ]
    about = assess(_metadata(feed, None, built_at))
    findings += [finding.about(feed.title) for finding in about.findings]
    if about.quarantined:
        bad = next(finding for finding in about.findings if finding.rule.severity == "quarantined")
        raise RejectedInputError(
            f"{bad.rule.meaning} (the feed: {bad.field})",
            reason=bad.rule.code,
            value=[finding.about(feed.title) for finding in about.findings],
            hint=bad.rule.fix,
        )
    db.check_podcast(feed.guid, built_at)  # before any file is stored, and once more when it is put
    files: dict[str, Path] = {}
    episodes: list[DeliveredEpisode] = []
    named = Counter(_file_name(one) for one in feed.episodes)
    for one in feed.episodes:
        judged = assess(_metadata(feed, one, built_at))
        findings += [finding.about(one.guid) for finding in judged.findings]
        if judged.quarantined:
            continue
        heard: tuple[AudioFacts, Path] | None = None
        try:
            file = _file_name(one)
            if file is None:
                raise RejectedInputError(
                    f"'{one.audio_url}' is no address.", reason=Fault.INVALID_AUDIO_URL.code, value=one.audio_url
                )
            item = _episode(one, judged.record)
            EPISODE.check(item.attributes)
            if named[file] == 1:
                heard = _audio(source, folder_of(name), file)
            elif file and source.find(folder_of(name), file):
                meaning = (
                    f"The addresses of {named[file]} episodes end in '{file}': the file beside the feed is taken for "
                    "none of them."
                )
                findings.append(Fault.AMBIGUOUS_AUDIO.about(one.guid, file, meaning))
        except RejectedInputError as error:
            findings.append({"resource": one.guid, "code": error.reason, "severity": "quarantined",
                             "meaning": error.message})  # fmt: skip
            continue
        facts, path = heard or (None, None)
        if facts and path:
            sound = sound_findings(facts.silent_ratio, facts.clipped_ratio)
            findings += [finding.about(one.guid) for finding in sound]
            if sound:
                continue
            files[facts.sha256] = path
        episodes.append(DeliveredEpisode(one.guid, item, facts))
    attributes = {
        "built_at": built_at.isoformat(),
        "description": feed.description,
        "link": feed.link,
        "language": about.record.language,
        "image_url": feed.image_url,
        "tags": [_tag(tag) for tag in feed.tags],
    }
    about_feed = Item(PODCAST.kind, about.record.title, about.record.artist, attributes=_present(attributes))
    PODCAST.check(about_feed.attributes)
    for sha256, path in files.items():
        objects.put_audio(path, sha256)
    decision = db.put_podcast(feed.guid, about_feed, episodes, at=built_at, ledger=f"delivery:podcast/{feed.guid}")
    return {
        "outcome": {"publish": "published"}.get(decision, decision),
        "sender": feed.author,
        "release_key": feed.guid,
        "findings": findings,
    }


def _metadata(feed: Feed, episode: Episode | None, built_at: Any) -> Metadata:
    """The record to judge: of an episode, or of the feed itself."""
    return Metadata(
        title=episode.title if episode else feed.title,
        artist=feed.author or feed.title,
        delivered_on=built_at.date(),
        language=feed.language,
        explicit=episode.explicit if episode else None,
    )


def _file_name(episode: Episode) -> str | None:
    """The last part of the address of an episode's audio, "" when it has none; None for what is no address."""
    try:
        return PurePosixPath(urlsplit(episode.audio_url).path).name
    except ValueError:
        return None


def _audio(source: Source, folder: str, name: str) -> tuple[AudioFacts, Path] | None:
    """An episode's audio, with the facts about it, if its file `name` lies beside the feed.

    Raises:
        RejectedInputError: it is no sound audio.
    """
    path = source.find(folder, name) if name else None
    if path is None:
        return None
    facts = probe(path, name)
    check_sound(facts)
    return facts, path


def _episode(episode: Episode, record: Metadata) -> Item:
    attributes = {
        "guid": episode.guid,
        "audio_url": episode.audio_url,
        "audio_type": episode.audio_type,
        "published_at": episode.published_at.isoformat() if episode.published_at else None,
        "description": episode.description,
        "duration": episode.duration,
        "explicit": record.explicit,
        **{
            name: [_tag(tag) for tag in getattr(episode, name)]
            for name in ("chapters", "transcripts", "persons", "values", "extra")
        },
    }
    return Item(EPISODE.kind, record.title, record.artist, attributes=_present(attributes))


def _present(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value}


def _tag(tag: Tag) -> dict[str, Any]:
    inner = [_tag(one) for one in tag.inner]
    return {"name": tag.name, "attributes": dict(tag.attributes), "text": tag.text, "inner": inner}
