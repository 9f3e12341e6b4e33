"""Identifiers, and the content model that takes a new medium without a change of tables (NFR-EXT1)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lakehouse.adapters.objects import PART_BYTES, check_key, etag_of, object_key, object_keys
from lakehouse.domain.audio.reasons import Reason
from lakehouse.domain.catalog.content import MAX_ATTRIBUTES_BYTES, PODCAST, TRACK, ContentKind
from lakehouse.domain.catalog.identifiers import name_key, normalise_isrc
from lakehouse.errors import FatalError, RejectedInputError


@pytest.mark.parametrize("text", ["USS1Z9900001", "us-s1z-99-00001", " ISRC: USS1Z 99 00001 "])
def test_isrc_spellings(text: str) -> None:
    assert normalise_isrc(text) == "USS1Z9900001"


@pytest.mark.parametrize("text", ["", "USS1Z990000", "U1S1Z9900001", "USS1Z99000011", "USS1Z99OOOO1"])
def test_not_an_isrc(text: str) -> None:
    with pytest.raises(ValueError, match="not an ISRC"):
        normalise_isrc(text)


def test_spellings_of_one_name() -> None:
    assert name_key("  BJÖRK  Guðmundsdóttir") == name_key("bjo\u0308rk guðmundsdóttir\n")
    assert name_key("Straße") == name_key("STRASSE")
    assert name_key("A") != name_key("B")


def test_attributes_are_checked_by_the_kind() -> None:
    episode = ContentKind(
        kind="episode",
        description="An episode of a podcast",
        attributes_schema={
            "type": "object",
            "required": ["season"],
            "properties": {"season": {"type": "integer", "minimum": 1}},
        },
    )
    episode.check({"season": 2})
    with pytest.raises(RejectedInputError) as caught:
        episode.check({"season": 0})
    assert caught.value.reason == "invalid_attributes"
    assert "$.season" in caught.value.message
    with pytest.raises(RejectedInputError):
        TRACK.check({"season": 2})


def test_attributes_have_a_bound_that_a_message_holds() -> None:
    """Counted as PostgreSQL and Kafka keep them: in bytes of UTF-8, and with what a quotation mark costs."""
    for text, size in (("x", 1), ("ü", 2), ('"', 2), ("\n", 2)):
        most = (MAX_ATTRIBUTES_BYTES - len('{"description": ""}')) // size
        lasting = {"built_at": "2026-10-01T00:00:00+00:00"}
        TRACK.check({"composer": text * (most - 3)})
        with pytest.raises(RejectedInputError) as caught:
            PODCAST.check(lasting | {"description": text * most})
        assert (caught.value.reason, caught.value.hint) == ("attributes_too_large", Reason.ATTRIBUTES_TOO_LARGE.fix)
        assert isinstance(caught.value.value, int)
        assert caught.value.value > MAX_ATTRIBUTES_BYTES
    assert f"{MAX_ATTRIBUTES_BYTES:,} bytes" in Reason.ATTRIBUTES_TOO_LARGE.meaning


def test_a_kind_needs_a_schema_of_an_object() -> None:
    with pytest.raises(FatalError):
        ContentKind("x", "", {"type": "no such type"})
    with pytest.raises(FatalError):
        ContentKind("x", "", {"type": "string"})


def test_one_name_is_one_key(tmp_path: Path) -> None:
    assert object_key(tmp_path / "Björk" / "a b.ogg", tmp_path) == "Björk/a b.ogg"
    assert object_key(tmp_path / "Bjo\u0308rk" / "a b.ogg", tmp_path) == "Björk/a b.ogg"
    assert object_key(tmp_path / os.fsdecode(b"latin-\xe9.ogg"), tmp_path) == "latin-%e9.ogg"
    assert object_key(tmp_path / "two\nlines\t.ogg", tmp_path) == "two%0alines%09.ogg"


def test_two_names_that_are_one_after_normalisation_both_land(tmp_path: Path) -> None:
    files = [tmp_path / "Bjo\u0308rk.ogg", tmp_path / "Björk.ogg", tmp_path / "other.ogg"]
    keys = object_keys(files, tmp_path)
    assert sorted(keys.values()) == sorted(files)
    assert keys["Björk.ogg"] == files[1]
    assert keys == object_keys(files, tmp_path)


@pytest.mark.parametrize("key", ["a" * 256, "ü" * 128 + ".ogg", "/".join(["a" * 200] * 6)])
def test_names_longer_than_the_store_takes_are_refused(key: str) -> None:
    with pytest.raises(RejectedInputError) as caught:
        check_key(key)
    assert caught.value.reason == "name_too_long"
    check_key("a" * 255 + "/" + "ü" * 127)


def test_etag_of_small_and_large_files(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"")
    assert etag_of(path) == "d41d8cd98f00b204e9800998ecf8427e"  # MD5 of nothing
    path.write_bytes(b"x" * (PART_BYTES + 1))
    assert etag_of(path).endswith("-2")
