"""ERN in three versions says the same; hostile XML is refused; podcasts and lyrics keep what came."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lakehouse.domain.catalog.deliveries import ern, lyrics, podcast, xml
from lakehouse.domain.catalog.deliveries.decide import Known, decide
from lakehouse.domain.catalog.deliveries.messages import available
from lakehouse.errors import RejectedInputError
from tests.ern_messages import Sent, Sound, message, purge

SOUNDS = (
    Sound("Ouverture & fin", "FRZ032600001", "resources/01 été.flac", "ab" * 32),
    Sound("夜", "FRZ032600002", "resources/02.flac", "cd" * 32, guest="Björk Sveinsdóttir"),
)
SENT = Sent(sounds=SOUNDS, excluded=("US",), ends="2026-12-31")
VERSIONS = ("43", "42", "382")


def reason(document: bytes) -> str:
    with pytest.raises(RejectedInputError) as caught:
        ern.read(document)
    return caught.value.reason


def test_three_versions_say_the_same() -> None:
    read = [ern.read(message(SENT, version)) for version in VERSIONS]
    assert [found.standard for found in read] == ["ERN 4.3", "ERN 4.2", "ERN 3.8.2"]
    assert len({replace(found, standard="") for found in read}) == 1
    found = read[0]
    assert found.release is not None
    assert (found.action, found.release_key, found.release.artist) == ("publish", "4006381333931", "Ada Ostinato")
    assert [t.title for t in found.release.tracks] == ["Ouverture & fin", "夜"]
    assert found.release.tracks[1].featured == ("Björk Sveinsdóttir",)
    file = found.release.tracks[0].file
    assert file is not None
    assert (file.path, file.algorithm, file.digest) == ("resources/01 été.flac", "sha256", "ab" * 32)


@pytest.mark.parametrize("version", VERSIONS)
def test_deals_become_availability(version: str) -> None:
    release = ern.read(message(SENT, version)).release
    assert release is not None
    first, last, after = (
        datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    assert available(release.windows, "FR", first)
    assert available(release.windows, "FR", last, model="SubscriptionModel")
    assert not available(release.windows, "FR", last, model="PayAsYouGoModel")
    assert not available(release.windows, "US", first)
    assert not available(release.windows, "FR", after)
    assert not available(release.windows, "FR", datetime(2026, 3, 5, 23, tzinfo=UTC))


@pytest.mark.parametrize("version", VERSIONS)
def test_takedowns(version: str) -> None:
    assert ern.read(message(replace(SENT, takedown=True), version)).action == "takedown"
    found = ern.read(purge(SENT, version))
    assert (found.action, found.release_key) == ("takedown", "4006381333931")


def test_refused_messages() -> None:
    good = message(SENT, "43")
    assert reason(good.replace(b"/ern/43", b"/ern/99")) == "unknown_version"
    assert reason(b"<x/>") == "unknown_version"
    assert reason(good.replace(b"NewReleaseMessage", b"CatalogListMessage")) == "unknown_message"
    assert reason(good[:-40]) == "xml_invalid"
    assert reason(b"") == "xml_invalid"
    assert reason(good.replace(b"4006381333931", b"4006381333932")) == "ern_incomplete"
    assert reason(good.replace(b"<MessageId>M1</MessageId>", b"")) == "ern_incomplete"
    assert reason(good.replace(b"resources/02.flac", b"../../etc/passwd")) == "ern_incomplete"
    assert reason(good.replace(b"SHA256", b"CRC7")) == "ern_incomplete"
    assert reason(good.replace(b"<ReleaseResourceReference>A2", b"<ReleaseResourceReference>A9")) == "ern_incomplete"
    assert reason(message(replace(SENT, ends="2026-01-01"), "382")) == "ern_incomplete"


def test_hostile_xml() -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><a>&b;</a>'
    outside = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    assert [reason(d) for d in (bomb, outside, b"<!DOCTYPE a><a/>")] == ["xml_forbidden"] * 3
    assert reason(b"<a>" * 100 + b"</a>" * 100) == "xml_too_large"
    assert reason(b" " * (xml.MAX_BYTES + 1)) == "xml_too_large"


def test_what_a_message_does() -> None:
    new = ern.read(message(SENT, "43"))
    known = Known(1, new.sender, new.message_id, new.created_at, "d")
    assert decide(new, "d", None) == "publish"
    assert decide(new, "d", known) == "unchanged"
    later = ern.read(message(replace(SENT, message_id="M2", created_at="2026-03-02T00:00:00+02:00"), "43"))
    assert decide(later, "e", known) == "publish"
    gone = ern.read(purge(replace(SENT, message_id="M3", created_at="2026-04-01T00:00:00Z"), "43"))
    assert decide(gone, "f", known) == "takedown"
    for bad, digest, state, expected in (
        (gone, "f", None, "unknown_release"),
        (new, "e", known, "message_reused"),
        (ern.read(message(replace(SENT, message_id="M0", created_at="2026-02-01T00:00:00Z"), "43")), "e", known,
         "out_of_order"),
        (ern.read(message(replace(SENT, message_id="M9", sender="OTHER"), "43")), "e", known, "foreign_release"),
    ):  # fmt: skip
        with pytest.raises(RejectedInputError) as caught:
            decide(bad, digest, state)
        assert caught.value.reason == expected


FEED = """<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"
 xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel><title>Ünder</title><language>de</language>
<itunes:image href="https://x.example/a.png"/><podcast:value type="lightning" method="keysend">
<podcast:valueRecipient name="Ada" address="02d" split="90"/></podcast:value>
<item><title>Eins</title><guid>g1</guid><pubDate>Fri, 09 Jul 2021 08:00:00 +0200</pubDate>
<enclosure url="https://x.example/1.mp3" type="audio/mpeg" length="1"/><itunes:duration>1:02:03</itunes:duration>
<podcast:chapters url="https://x.example/1.json" type="application/json+chapters"/>
<podcast:transcript url="https://x.example/1.vtt" type="text/vtt"/><podcast:person role="guest">Bo</podcast:person>
<podcast:season>2</podcast:season></item>
<item><title>Ohne Ton</title></item>
<item><title>Nochmal</title><guid>g1</guid><enclosure url="https://x.example/2.mp3"/></item></channel></rss>"""


def test_podcast_feed() -> None:
    feed = podcast.read(FEED.encode())
    assert (feed.title, feed.language, feed.image_url) == ("Ünder", "de", "https://x.example/a.png")
    assert feed.tags[0].inner[0].attributes == (("name", "Ada"), ("address", "02d"), ("split", "90"))
    assert [(r.position, r.reason) for r in feed.rejected] == [(2, "missing_audio"), (3, "duplicate_guid")]
    [episode] = feed.episodes
    assert episode.published_at == datetime(2021, 7, 9, 6, tzinfo=UTC)
    assert dict(episode.chapters[0].attributes)["url"] == "https://x.example/1.json"
    assert dict(episode.transcripts[0].attributes)["type"] == "text/vtt"
    assert (episode.persons[0].text, [tag.name for tag in episode.extra]) == ("Bo", ["season"])
    with pytest.raises(RejectedInputError) as caught:
        podcast.read(b"<html/>")
    assert caught.value.reason == "feed_invalid"


def test_lyrics() -> None:
    found = lyrics.read("[ti:Lied]\n[offset:100]\n[00:12.5]zwei\n[00:01.00][00:20]eins\n".encode("utf-8-sig"))
    assert found.lines == ((900, "eins"), (12_400, "zwei"), (19_900, "eins"))
    assert found.synchronised
    assert dict(found.tags)["ti"] == "Lied"
    assert lyrics.read(b"a\n\nb").lines == ((None, "a"), (None, ""), (None, "b"))
    for bad in (b"\xff\xfe", b"", b"x" * 200_000):
        with pytest.raises(RejectedInputError):
            lyrics.read(bad)
