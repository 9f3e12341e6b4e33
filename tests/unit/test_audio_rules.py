"""Which files are accepted, by the facts about them; and what the probe finds in real files."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import mutagen
import mutagen.id3
import pytest

from lakehouse.adapters.audio_probe import probe
from lakehouse.domain.audio.containers import Integrity, sniff
from lakehouse.domain.audio.reasons import Reason
from lakehouse.domain.audio.tagged import Judged, judge, track_attributes
from lakehouse.domain.audio.validation import AudioFacts, Limits
from lakehouse.domain.catalog.quality.rules import Rule
from lakehouse.errors import RejectedInputError
from tests import audio_files

GOOD = AudioFacts(
    object_key="a folder/Ünïcode 1.ogg",
    size_bytes=1000,
    sha256="0" * 64,
    container="ogg",
    audio_format="OGG/VORBIS",
    sample_rate_hz=44_100,
    channels=2,
    decoded_frames=44_100 * 30,
    tags={"title": " A  Title ", "artist": "Someone", "album": "Album", "albumartist": "Various", "genre": "Jazz"},
)


RECEIVED_ON = date(2026, 3, 1)


def tagged(**tags: str) -> Judged:
    """What becomes of a good file with these tags beside or in place of its own."""
    return judge(replace(GOOD, tags=GOOD.tags | {"title": "A Title"} | tags), RECEIVED_ON)


def codes(found: Judged) -> list[str]:
    return [finding.rule.code for finding in found.findings]


def reason_of(facts: AudioFacts) -> str:
    with pytest.raises(RejectedInputError) as caught:
        judge(facts, RECEIVED_ON)
    assert caught.value.hint
    return caught.value.reason


def test_a_good_file_becomes_an_item() -> None:
    item = judge(GOOD, RECEIVED_ON).item
    assert (item.kind, item.title, item.artist, item.release) == ("track", "A Title", "Someone", "Album")
    assert item.release_artist == "Various"
    assert item.sha256 == GOOD.sha256
    assert item.attributes == {"genre": "Jazz", "album_artist": "Various"}


def test_tags_are_mended_like_the_fields_of_a_message() -> None:
    found = tagged(
        title="BjÃ¶rk (feat. Bo)", artist="Salt &amp; Pepper", date="31.12.2020", language="ENG",
        barcode="036000291452", iswc="T-034.524.680-1", explicit="yes", composer="Ada\u200b ",
    )  # fmt: skip
    assert (found.item.title, found.item.artist) == ("Björk", "Salt & Pepper")
    assert found.item.attributes == {
        "genre": "Jazz", "album_artist": "Various", "featured": ["Bo"], "date": "2020-12-31", "language": "en",
        "icpn": "0036000291452", "iswc": "T0345246801", "explicit": "Explicit", "composer": "Ada",
    }  # fmt: skip
    assert {(finding.rule.code, finding.field) for finding in found.findings} == {
        ("mojibake", "title"), ("featured_in_title", "title"), ("markup", "artist"), ("date_form", "date"),
        ("code_form", "language"), ("identifier_form", "iswc"), ("explicit_form", "explicit"),
        ("untidy_text", "composer"),
    }  # fmt: skip
    assert found.noted()["date_form"] == [{"field": "date", "value": "31.12.2020", "mended": "2020-12-31"}]


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"artist": "Unknown Artist"}, "placeholder"),
        ({"title": "Track 01"}, "placeholder"),
        ({"date": "2021-02-30"}, "invalid_date"),
        ({"date": "03/04/2021"}, "invalid_date"),
        ({"date": "2031"}, "implausible_date"),
        ({"title": "Bj\ufffdrk"}, "lost_characters"),
        ({"isrc": "USS1Z99OOOO1"}, "invalid_isrc"),
        ({"barcode": "036000291453"}, "invalid_icpn"),
        ({"iswc": "T-034.524.680-2"}, "invalid_iswc"),
        ({"language": "jp"}, "invalid_language"),
        ({"title": "夜に駆ける", "language": "de"}, "language_script"),
        ({"explicit": "maybe"}, "invalid_explicit"),
        ({"title": "Song (Explicit)", "explicit": "NotExplicit"}, "explicit_conflict"),
        ({"album": "x" * 501}, "name_too_long"),
        ({"albumartist": "x" * 501}, "name_too_long"),
    ],
)
def test_what_cannot_be_mended_keeps_the_file_out(tags: dict[str, str], code: str) -> None:
    assert reason_of(replace(GOOD, tags=GOOD.tags | tags)) == code


@pytest.mark.parametrize(
    ("tags", "attributes"),
    [
        ({"date": "1999-00-00"}, {"date": "1999"}),
        ({"date": "0000"}, {}),
        ({"date": "2003-05-12 10:00:00"}, {"date": "2003-05-12"}),
        ({"year": "1999"}, {"date": "1999"}),
        ({"language": "English"}, {"language": "en"}),
        ({"language": "XXX"}, {"language": "und"}),
        ({"itunesadvisory": "1"}, {"explicit": "Explicit"}),
        ({"itunesadvisory": "0"}, {}),
        ({"itunesadvisory": "2"}, {"explicit": "ExplicitContentEdited"}),
        ({"genre": "N/A"}, {"genre": None}),
        ({"albumartist": "Unknown Artist"}, {"album_artist": None}),
    ],
)
def test_poor_tags_keep_no_music_out(tags: dict[str, str], attributes: dict[str, str | None]) -> None:
    """What programs write for "unknown" says nothing; neither does a tag that is not there."""
    expected = {"genre": "Jazz", "album_artist": "Various"} | attributes
    assert tagged(**tags).item.attributes == {name: value for name, value in expected.items() if value}


def test_an_album_without_a_name_is_none() -> None:
    found = tagged(album="Unknown Album")
    assert found.item.release is None
    assert found.noted() == {"placeholder": [{"field": "album", "value": "Unknown Album", "mended": None}]}
    bare = judge(replace(GOOD, tags={"title": "T", "artist": "A"}), RECEIVED_ON)
    assert (bare.item.attributes, bare.findings) == ({}, ())


def test_a_rule_that_a_person_passed_over() -> None:
    facts = replace(GOOD, tags=GOOD.tags | {"artist": "N/A", "date": "2021-02-30"})
    with pytest.raises(RejectedInputError) as caught:
        judge(facts, RECEIVED_ON, accepted=frozenset({"placeholder"}))
    assert (caught.value.reason, caught.value.value) == ("invalid_date", "2021-02-30")
    mended = replace(facts, tags=facts.tags | {"date": "2021"})
    assert judge(mended, RECEIVED_ON, accepted=frozenset({"placeholder"})).item.artist == "N/A"


def test_tags_of_every_format_are_read(tmp_path: Path) -> None:
    vorbis = audio_files.write(tmp_path / "a.ogg", audio_files.chord(440, 2), title="T", artist="A")
    file = mutagen.File(vorbis)
    file.update({"LANGUAGE": "en", "BARCODE": "036000291452", "ISWC": "T0345246801", "ITUNESADVISORY": "1"})
    file.save()
    id3 = audio_files.write(tmp_path / "a.mp3", audio_files.chord(440, 2), title="T", artist="A")
    tags = mutagen.id3.ID3(id3)
    tags.add(mutagen.id3.TLAN(text=["eng"]))
    for name, text in (("Barcode", "036000291452"), ("ISWC", "T0345246801"), ("ITUNESADVISORY", "1")):
        tags.add(mutagen.id3.TXXX(desc=name, text=[text]))
    tags.save()
    for path in (vorbis, id3):
        assert judge(probe(path, path.name), RECEIVED_ON).item.attributes == {
            "language": "en", "icpn": "0036000291452", "iswc": "T0345246801", "explicit": "Explicit",
        }  # fmt: skip


MBID, OTHER_ID = "a5e4a8c7-1b5f-4b8e-9ae9-5b8bd0e6d1f0", "e225fb84-dc9a-419e-adcd-9890f59ec432"


@pytest.mark.parametrize("suffix", [".ogg", ".opus", ".flac", ".wav", ".mp3", ".aiff"])
def test_the_musicbrainz_id_of_the_recording_is_read_and_no_other(tmp_path: Path, suffix: str) -> None:
    """As Picard 2 writes them: the id of the track on its release has the name that one expects of the recording's."""
    path = audio_files.write(tmp_path / f"a{suffix}", audio_files.chord(440, 2), title="T", artist="A")
    file = mutagen.File(path)
    if suffix in (".ogg", ".opus", ".flac"):
        file.update({"MUSICBRAINZ_TRACKID": MBID, "MUSICBRAINZ_RELEASETRACKID": OTHER_ID})
        file.update({"MUSICBRAINZ_ALBUMID": OTHER_ID, "MUSICBRAINZ_ARTISTID": OTHER_ID})
    else:
        if file.tags is None:
            file.add_tags()
        # One of another owner, and a picture, whose bytes are no text.
        file.tags.add(mutagen.id3.UFID(owner="http://www.cddb.com/id3/taginfo1.html", data=b"\xff\x00"))
        file.tags.add(mutagen.id3.UFID(owner="http://musicbrainz.org", data=MBID.encode()))
        file.tags.add(mutagen.id3.APIC(mime="image/png", data=b"\xff\x00"))
        for name in ("MusicBrainz Release Track Id", "MusicBrainz Album Id", "MusicBrainz Artist Id"):
            file.tags.add(mutagen.id3.TXXX(desc=name, text=[OTHER_ID]))
    file.save()
    found = judge(probe(path, path.name), RECEIVED_ON)
    assert (found.item.attributes, found.findings) == ({"recording_mbid": MBID}, ())


def test_a_wrong_musicbrainz_id_costs_the_id_only() -> None:
    spelled = tagged(musicbrainz_trackid=f"{{{MBID.upper()}}}")
    assert (spelled.item.attributes["recording_mbid"], codes(spelled)) == (MBID, ["identifier_form"])
    wrong = tagged(musicbrainz_trackid="12345")
    assert "recording_mbid" not in wrong.item.attributes
    said = {"field": "musicbrainz_trackid", "value": "12345", "mended": None}
    assert wrong.noted() == {"invalid_mbid": [said]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size_bytes": 0}, Reason.ZERO_BYTE),
        ({"container": None}, Reason.NOT_AUDIO),
        ({"object_key": "x.mp3"}, Reason.WRONG_CONTAINER),
        ({"object_key": "no extension"}, Reason.WRONG_CONTAINER),
        ({"integrity": Integrity(truncated="cut")}, Reason.TRUNCATED),
        ({"integrity": Integrity(corrupt="crc")}, Reason.CORRUPT),
        ({"open_error": "bad header"}, Reason.UNDECODABLE),
        ({"declared_frames": 44_100 * 31, "end_decodes": False}, Reason.TRUNCATED),
        ({"declared_frames": 44_100 * 31, "end_decodes": True}, Reason.CORRUPT),
        ({"decode_error": "lost sync"}, Reason.CORRUPT),
        ({"decoded_frames": 44_077}, Reason.TOO_SHORT),
        ({"decoded_frames": 44_100 * 86_401}, Reason.TOO_LONG),
        ({"sample_rate_hz": 4_000}, Reason.SAMPLE_RATE),
        ({"channels": 9}, Reason.CHANNELS),
        ({"tags": {"title": "T"}}, Reason.MISSING_TAGS),
        ({"tags": {"title": "T", "artist": " \t\u200a "}}, Reason.MISSING_TAGS),
        ({"tags": {**GOOD.tags, "isrc": "not one"}}, Rule.INVALID_ISRC),
    ],
)
def test_each_rule_names_its_reason(change: dict[str, object], reason: Reason | Rule) -> None:
    if change.get("decoded_frames") == 44_077:
        assert judge(replace(GOOD, decoded_frames=44_078), RECEIVED_ON)  # one more rounds to a whole second
    assert reason_of(replace(GOOD, **change)) == reason.code


def test_limits_can_be_chosen() -> None:
    with pytest.raises(RejectedInputError, match="at least 60000 ms"):
        judge(GOOD, RECEIVED_ON, Limits(min_duration_ms=60_000))


def test_isrc_is_normalised() -> None:
    found = tagged(isrc="us-s1z-99-00001")
    assert found.item.isrc == "USS1Z9900001"
    assert codes(found) == ["identifier_form"]


def test_numbers_in_tags_are_read_or_left_out() -> None:
    assert track_attributes({"tracknumber": "3/12", "discnumber": "one"}) == {"track_number": 3}
    assert track_attributes({"tracknumber": "0"}) == {}


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (b"OggS\x00\x02", "ogg"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "wav"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", None),
        (b"\xff\xfb\x90\x64", "mp3"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_containers_are_known_by_their_first_bytes(head: bytes, container: str | None) -> None:
    assert sniff(head) == container


def test_codes_are_unique_and_explained() -> None:
    assert len({reason.code for reason in Reason}) == len(Reason)
    assert all(reason.meaning and reason.fix for reason in Reason)


@pytest.mark.parametrize("suffix", [".ogg", ".flac", ".wav", ".mp3", ".aiff"])
def test_probe_reads_every_format(tmp_path: Path, suffix: str) -> None:
    path = audio_files.write(tmp_path / f"a{suffix}", audio_files.chord(440, 2), title="Títle", artist="Ärtist")
    item = judge(probe(path, path.name), RECEIVED_ON).item
    assert (item.title, item.artist) == ("Títle", "Ärtist")
    assert 1_990 <= probe(path, path.name).duration_ms <= 2_060


def test_probe_finds_what_is_wrong_with_each_bad_file(tmp_path: Path) -> None:
    audio_files.write_bad_files(tmp_path / "bad")
    reasons = Counter(reason_of(probe(path, path.name)) for path in (tmp_path / "bad").iterdir())
    assert dict(reasons) == audio_files.REJECTED


def test_a_stream_that_does_not_begin_at_zero_is_whole(tmp_path: Path) -> None:
    """Ogg streams cut out of longer ones declare a position, not a length: nothing is missing in them."""
    path = audio_files.write(tmp_path / "a.ogg", audio_files.chord(440, 2), title="T", artist="A")
    facts = probe(path, "a.ogg")
    assert facts.declared_frames is None
    assert judge(facts, RECEIVED_ON)
