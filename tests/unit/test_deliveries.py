"""ERN in three versions says the same; hostile XML is refused; podcasts and lyrics keep what came."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lakehouse.domain.catalog.deliveries import changes, ern, lyrics, merch, podcast, xml
from lakehouse.domain.catalog.deliveries.corrections import Corrections, corrected, gathered
from lakehouse.domain.catalog.deliveries.decide import Known, decide
from lakehouse.domain.catalog.deliveries.messages import check_in_force, permitting
from lakehouse.domain.catalog.ids import EPOCH, id_moment, time_ordered_id
from lakehouse.errors import RejectedInputError
from tests.ern_messages import Attached, Sent, Sound, message, purge

SOUNDS = (
    Sound("Ouverture & fin", "FRZ032600001", "resources/01 été.flac", "ab" * 32),
    Sound(
        "夜",
        "FRZ032600002",
        "resources/02.flac",
        "cd" * 32,
        guest="Björk Sveinsdóttir",
        iswc="T0345246801",
        lyrics=Attached("resources/02.lrc", "ef" * 32),
    ),
)
SENT = Sent(
    sounds=SOUNDS,
    pictures=(Attached("resources/cover.jpg", "12" * 32),),
    excluded=("US",),
    ends="2026-12-31",
    isni="000000012281955X",
    ipi="00000000297",
)
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
    assert [picture.file.path for picture in found.release.pictures if picture.file] == ["resources/cover.jpg"]
    assert [[words.file.path for words in track.lyrics] for track in found.release.tracks] == [[], ["resources/02.lrc"]]
    track = found.release.tracks[1]
    assert (track.iswc, track.isni, track.ipi) == ("T0345246801", "000000012281955X", "00000000297")
    assert (track.lyrics[0].language, found.release.genre, found.release.label) == ("fr", "Chanson", "Sept Lieues")


def test_lyrics_of_no_track() -> None:
    assert reason(message(SENT, "43").replace(b"<LinkedReleaseResourceReference>AX2<", b"<Nothing>AX2<")
                  .replace(b"AX2</LinkedReleaseResourceReference>", b"AX2</Nothing>")) == "ern_incomplete"  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_deals_become_availability(version: str) -> None:
    release = ern.read(message(SENT, version)).release
    assert release is not None
    first, last, after = (
        datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    assert permitting(release.windows, "FR", first)
    assert permitting(release.windows, "FR", last, model="SubscriptionModel")
    assert not permitting(release.windows, "FR", last, model="PayAsYouGoModel")
    assert not permitting(release.windows, "US", first)
    assert not permitting(release.windows, "FR", after)
    assert not permitting(release.windows, "FR", datetime(2026, 3, 5, 23, tzinfo=UTC))


@pytest.mark.parametrize("version", VERSIONS)
def test_deals_of_a_track_take_the_place_of_the_releases(version: str) -> None:
    late = replace(SENT, sounds=(replace(SOUNDS[0], own_from="2026-06-01"), SOUNDS[1]))
    read = ern.read(message(late, version))
    release = read.release
    assert release is not None
    day, later = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    own, other = (track.windows for track in release.tracks)
    assert other is None
    assert own is not None
    assert permitting(release.windows, "FR", day)
    assert not permitting(own, "FR", day)
    assert permitting(own, "FR", later)
    assert not permitting(own, "US", later)
    assert len(release.all_windows) == 4
    # Deals of tracks alone are no takedown of the release.
    alone = message(late, version).replace(b"<DealReleaseReference>R0<", b"<DealReleaseReference>R2<")
    found = ern.read(alone)
    assert found.release is not None
    assert (found.action, found.release.windows) == ("publish", ())
    assert all(track.windows for track in found.release.tracks)


def test_what_may_be_played_nowhere_is_refused() -> None:
    release = ern.read(message(SENT, "43")).release
    assert release is not None
    check_in_force(release.windows, datetime(2026, 3, 6, tzinfo=UTC))
    for at, begins in ((datetime(2026, 3, 5, tzinfo=UTC), "2026-03-06T00:00:00+00:00"),
                       (datetime(2027, 1, 1, tzinfo=UTC), None)):  # fmt: skip
        with pytest.raises(RejectedInputError) as caught:
            check_in_force(release.windows, at)
        assert (caught.value.reason, caught.value.value) == ("not_available", begins)
    with pytest.raises(RejectedInputError, match="no deal of it begins later"):
        check_in_force([], datetime(2026, 3, 6, tzinfo=UTC))


def test_a_track_alone_is_taken_down() -> None:
    sent = replace(SENT, sounds=(replace(SOUNDS[0], own_from=""), SOUNDS[1]))
    read = ern.read(message(sent, "382"))
    assert read.release is not None
    assert (read.action, [track.windows for track in read.release.tracks]) == ("publish", [(), None])


@pytest.mark.parametrize("version", VERSIONS)
def test_takedowns(version: str) -> None:
    assert ern.read(message(replace(SENT, takedown=True), version)).action == "takedown"
    found = ern.read(purge(SENT, version))
    assert (found.action, found.release_key) == ("takedown", "4006381333931")


@pytest.mark.parametrize("version", VERSIONS)
def test_deals_about_something_else_are_no_takedown(version: str) -> None:
    """Whoever mistypes a reference wants to publish: nothing may be taken down for it, nor a deal be lost."""
    good = message(replace(SENT, sounds=(replace(SOUNDS[0], own_from="2026-06-01"), SOUNDS[1])), version)
    about = b"<DealReleaseReference>%s<"
    assert reason(message(SENT, version).replace(about % b"R0", about % b"R9")) == "unmatched_deals"
    assert reason(good.replace(about % b"R1", about % b"R9")) == "unmatched_deals"
    # A release of the message that is not read, such as one disc of a box.
    kind = "Release" if version == "382" else "TrackRelease"
    disc = f"<{kind}><ReleaseReference>R7</ReleaseReference></{kind}></ReleaseList>"
    other = message(SENT, version).replace(b"</ReleaseList>", disc.encode())
    assert ern.read(other).action == "publish"
    assert reason(other.replace(about % b"R0", about % b"R7")) == "unmatched_deals"


def test_a_release_whose_tracks_are_all_taken_down() -> None:
    sent = replace(SENT, sounds=tuple(replace(sound, own_from="") for sound in SOUNDS))
    document = message(sent, "382")
    start = document.index(b"<ReleaseDeal>")
    of_release = document[start : document.index(b"</ReleaseDeal>") + len(b"</ReleaseDeal>")]
    assert ern.read(document).action == "publish"
    assert ern.read(document.replace(of_release, b"")).action == "takedown"
    # One track is, and of the other nothing is said: nothing may be played.
    one = message(replace(SENT, sounds=(sent.sounds[0], SOUNDS[1])), "382")
    assert ern.read(one.replace(of_release, b"")).action == "takedown"


def test_a_takedown_counts_although_it_names_what_the_message_leaves_out() -> None:
    document = message(replace(SENT, takedown=True), "382")
    own = b"<DealReleaseReference>R0</DealReleaseReference>"
    also = document.replace(own, own + own.replace(b"R0", b"R2"))
    assert also != document
    assert ern.read(also).action == "takedown"


@pytest.mark.parametrize("version", VERSIONS)
def test_videos_are_left_out(version: str) -> None:
    """With the pictures out of them; what is described nowhere is another matter."""
    mixed = message(replace(SENT, videos=("Clip",)), version)
    found = ern.read(mixed)
    assert found.left_out == (("AV1", "Video"), ("AS1", "VideoScreenCapture"))
    assert found.release == ern.read(message(SENT, version)).release
    resource = b"<ReleaseResourceReference>AV1<"
    assert reason(mixed.replace(resource, resource.replace(b"AV1", b"AV2"))) == "ern_incomplete"


@pytest.mark.parametrize(
    ("created_at", "refused"),
    [
        ("2005-12-31T23:59:59Z", True),
        ("2006-01-01T00:00:00Z", False),
        ("2014-09-24T14:57:25+01:00", False),
        ("2088-12-31T23:59:59Z", False),
        ("2089-01-01T00:00:00Z", True),
    ],
)
def test_the_dates_that_a_message_may_have(created_at: str, refused: bool) -> None:
    """From DDEX's founding on; what is older than ids begins with them."""
    document = message(replace(SENT, created_at=created_at), "42")
    if refused:
        assert reason(document) == "ern_incomplete"
        return
    at = ern.read(document).created_at
    assert at == datetime.fromisoformat(created_at)
    assert time_ordered_id(id_moment(at), "x") > 0
    assert id_moment(at) == max(at, EPOCH)


def test_a_upc_in_fourteen_digits() -> None:
    found = ern.read(message(replace(SENT, icpn="00036000291452"), "42"))
    assert found.release is not None
    assert (found.release_key, found.release.icpn) == ("0036000291452", "0036000291452")


def test_refused_messages() -> None:
    good = message(SENT, "43")
    assert reason(good.replace(b"/ern/43", b"/ern/99")) == "unknown_version"
    assert reason(b"<x/>") == "unknown_version"
    assert reason(good.replace(b"NewReleaseMessage", b"CatalogListMessage")) == "unknown_message"
    assert reason(good[:-40]) == "xml_invalid"
    assert reason(b"") == "xml_invalid"
    assert reason(good.replace(b"4006381333931", b"4006381333932")) == "invalid_icpn"
    assert reason(good.replace(b"Worldwide", b"EU")) == "invalid_territory"
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
    assert feed.built_at == episode.published_at
    with pytest.raises(RejectedInputError) as caught:
        podcast.read(b"<html/>")
    assert caught.value.reason == "feed_invalid"


@pytest.mark.parametrize(
    "address",
    [
        "https://podcastindex.org/namespace/1.0",
        "https://github.com/Podcastindex-org/podcast-namespace/blob/main/docs/1.0.md",
    ],
)
def test_people_and_values_of_a_podcast_and_of_an_episode(address: str) -> None:
    """Both addresses of the namespace; elements of another one with the same names are none of them."""
    person = (
        '<podcast:person role="host" group="cast">Ada</podcast:person><other:person xmlns:other="x">Cy</other:person>'
    )
    value = (
        '<podcast:value type="lightning" method="keysend" suggested="0.00000005">'
        '<podcast:valueRecipient name="Bo" address="03e" split="100" fee="true"/></podcast:value>'
    )
    document = FEED.replace("https://podcastindex.org/namespace/1.0", address)
    document = document.replace("<language>", f"{person}<language>").replace(
        "<podcast:season>", f"{value}<podcast:season>"
    )
    feed = podcast.read(document.encode())
    assert [(tag.name, tag.text, tag.attributes) for tag in feed.tags] == [
        ("person", "Ada", (("role", "host"), ("group", "cast"))),
        ("value", "", (("type", "lightning"), ("method", "keysend"))),
    ]
    [episode] = feed.episodes
    [own] = episode.values
    assert dict(own.attributes)["suggested"] == "0.00000005"
    assert [(inner.name, dict(inner.attributes)["address"]) for inner in own.inner] == [("valueRecipient", "03e")]
    assert [(tag.text, dict(tag.attributes)) for tag in episode.persons] == [("Bo", {"role": "guest"})]
    assert [tag.name for tag in (*episode.chapters, *episode.transcripts)] == ["chapters", "transcript"]


def test_lyrics() -> None:
    found = lyrics.read("[ti:Lied]\n[offset:100]\n[00:12.5]zwei\n[00:01.00][00:20]eins\n".encode("utf-8-sig"))
    assert found.lines == ((900, "eins"), (12_400, "zwei"), (19_900, "eins"))
    assert found.synchronised
    assert dict(found.tags)["ti"] == "Lied"
    assert lyrics.read(b"a\n\nb").lines == ((None, "a"), (None, ""), (None, "b"))
    for bad in (b"\xff\xfe", b"", b"x" * 200_000):
        with pytest.raises(RejectedInputError):
            lyrics.read(bad)


def test_the_guid_of_a_feed() -> None:
    # Example of the podcast namespace's page on the tag `guid`.
    channel = '<atom:link xmlns:atom="http://www.w3.org/2005/Atom" rel="self" href="https://mp3s.nashownotes.com/pc20rss.xml"/>'
    named = FEED.replace("<language>", channel + "<language>")
    assert podcast.read(named.encode()).guid == "917393e3-1b1e-5cef-ace4-edaa54e1f810"
    own = FEED.replace("<language>", "<podcast:guid>9B024349-CCF0-5F69-A609-6B82873EAB3C</podcast:guid><language>")
    assert podcast.read(own.encode()).guid == "9b024349-ccf0-5f69-a609-6b82873eab3c"
    assert podcast.read(FEED.encode()).guid == podcast.read(FEED.encode()).guid


def test_merch_links() -> None:
    links = merch.read(
        b'[{"title": "Shirt", "url": "https://shop.example/1"},'
        b' {"title": "LP", "url": "https://shop.example/2", "release": "036000291452"}]'
    )
    assert [(link.title, link.release) for link in links] == [("Shirt", None), ("LP", "0036000291452")]
    for bad in (
        b"[", b"{}", b"\xff", b'[{"title": "x"}]', b'[{"title": "x", "url": "javascript:alert(1)"}]', b"[" * 100_000,
        b'[{"title": "x", "url": "https://a.example", "release": "036000291453"}]',
    ):  # fmt: skip
        with pytest.raises(RejectedInputError) as caught:
            merch.read(bad)
        assert caught.value.reason == "merch_invalid"


def test_what_a_version_changed() -> None:
    first = {"title": "A", "tracks": [{"isrc": "X1", "title": "One"}, {"isrc": "X2", "title": "Two"}], "label": None}
    second = {"title": "A", "tracks": [{"isrc": "X2", "title": "Zwei"}], "label": "L"}
    assert [(c.field, c.before, c.after) for c in changes.changes(first, second)] == [
        ("label", None, "L"),
        ("tracks", ["X1", "X2"], ["X2"]),
        ("tracks[X1].isrc", "X1", None),
        ("tracks[X1].title", "One", None),
        ("tracks[X2].title", "Two", "Zwei"),
    ]
    assert changes.changes(first, first) == []
    assert {c.before for c in changes.changes(None, second)} == {None}


def test_corrections_of_a_message() -> None:
    message_ = ern.read(message(SENT, "43"))
    entries = [{"values": {"A1.title": "x", "title": "Neu"}, "accepted": ["silence"]}, {"values": {"A1.title": "y"}}]
    laid = gathered(entries)
    found = corrected(message_, laid)
    assert found.release is not None
    assert (found.release.title, found.release.tracks[0].title, laid.accepted) == ("Neu", "y", {"silence"})
    # As they were kept of files before rules could be passed over there.
    assert gathered([{"title": "x"}, {"values": {"isrc": "y"}, "accepted": []}, None]).values == {
        "title": "x",
        "isrc": "y",
    }
    for bad in (
        Corrections({"A9.title": "x"}), Corrections({"sha256": "x"}), Corrections({"A1.file": "x"}),
        Corrections({}, frozenset({"checksum_mismatch"})), Corrections({}, frozenset({"no such rule"})),
    ):  # fmt: skip
        with pytest.raises(RejectedInputError) as caught:
            corrected(message_, bad)
        assert caught.value.reason == "invalid_correction"


def test_an_end_that_no_clock_reaches_is_none() -> None:
    for version in VERSIONS:
        found = ern.read(message(replace(SENT, ends="9999-12-31"), version))
        assert found.release is not None
        assert {window.ends_at for window in found.release.windows} == {None}
    assert reason(message(replace(SENT, created_at="9999-12-31T23:59:59-05:00"), "43")) == "ern_incomplete"


@pytest.mark.parametrize("escaped", ["\\u0000", "\\ud800"])
def test_links_of_what_is_no_text_are_refused(escaped: str) -> None:
    with pytest.raises(RejectedInputError, match=r"\$\[0\]\.title") as caught:
        merch.read(f'[{{"title": "a{escaped}", "url": "https://shop.example/1"}}]'.encode())
    assert caught.value.reason == "merch_invalid"


def test_lyrics_in_utf_16_without_a_mark_are_refused() -> None:
    with pytest.raises(RejectedInputError, match="UTF-8") as caught:
        lyrics.read("[00:01.00]eins".encode("utf-16-le"))
    assert caught.value.reason == "lyrics_invalid"


def test_a_grid_names_a_release_in_one_way() -> None:
    named = purge(SENT, "43").replace(b"<ICPN>4006381333931</ICPN>", b"<GRid>a1-2425g-abc1234002-m</GRid>")
    assert ern.read(named).release_key == "A12425GABC1234002M"
    assert reason(named.replace(b"a1-2425g", b"b1-2425g")) == "ern_incomplete"
