"""Which files are accepted, by the facts about them; and what the probe finds in real files."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lakehouse.adapters.audio_probe import probe
from lakehouse.domain.audio.containers import Integrity, sniff
from lakehouse.domain.audio.reasons import Reason
from lakehouse.domain.audio.validation import AudioFacts, Limits, judge, track_attributes
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


def reason_of(facts: AudioFacts) -> str:
    with pytest.raises(RejectedInputError) as caught:
        judge(facts)
    assert caught.value.hint
    return caught.value.reason


def test_a_good_file_becomes_an_item() -> None:
    item = judge(GOOD)
    assert (item.kind, item.title, item.artist, item.release) == ("track", "A Title", "Someone", "Album")
    assert item.release_artist == "Various"
    assert item.sha256 == GOOD.sha256
    assert item.attributes == {"genre": "Jazz", "album_artist": "Various"}


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
        ({"tags": {**GOOD.tags, "isrc": "not one"}}, Reason.INVALID_ISRC),
    ],
)
def test_each_rule_names_its_reason(change: dict[str, object], reason: Reason) -> None:
    if change.get("decoded_frames") == 44_077:
        assert judge(replace(GOOD, decoded_frames=44_078))  # one more rounds to a whole second
    assert reason_of(replace(GOOD, **change)) == reason.code


def test_limits_can_be_chosen() -> None:
    with pytest.raises(RejectedInputError, match="at least 60000 ms"):
        judge(GOOD, Limits(min_duration_ms=60_000))


def test_isrc_is_normalised() -> None:
    assert judge(replace(GOOD, tags={**GOOD.tags, "isrc": "us-s1z-99-00001"})).isrc == "USS1Z9900001"


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
    item = judge(probe(path, path.name))
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
    assert judge(facts)
