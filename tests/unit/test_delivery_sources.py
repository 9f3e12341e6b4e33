"""A folder of deliveries: names as systems spell them, nothing from outside, and what changed beside a message."""

from __future__ import annotations

from pathlib import Path
from typing import cast
from unicodedata import normalize

import pytest

from lakehouse.adapters.delivery_sources import Folder, folder_of
from lakehouse.adapters.intake import companion_kind
from lakehouse.adapters.objects import Objects


def folder(path: Path) -> Folder:
    """A source that never lands anything."""
    return Folder(cast(Objects, None), path)


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_are_found_however_their_names_are_spelt(tmp_path: Path) -> None:
    here = put(tmp_path / "a" / "resources" / normalize("NFD", "01 été.flac"))
    source = folder(tmp_path)
    for spelling in ("resources/01 été.flac", normalize("NFD", "resources/01 été.flac"),
                     "resources/01%20%C3%A9t%C3%A9.flac"):  # fmt: skip
        assert source.find("a", spelling) == here
    assert source.find("", "resources/01 été.flac") is None
    assert source.find("a", "x" * 5000) is None


def test_nothing_outside_of_a_delivery_is_found(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.flac")
    put(tmp_path / "in" / "a" / "m.xml")
    put(tmp_path / "in" / "b" / "other.flac")
    (tmp_path / "in" / "a" / "link.flac").symlink_to(secret)
    (tmp_path / "in" / "a" / "neighbour.flac").symlink_to(tmp_path / "in" / "b" / "other.flac")
    source = folder(tmp_path / "in")
    for path in ("link.flac", "neighbour.flac", "../b/other.flac", "%2e%2e/b/other.flac", str(secret)):
        assert source.find("a", path) is None, path
    assert source.names() == ["a/m.xml", "a/neighbour.flac", "b/other.flac"]


def test_what_stands_beside_a_message(tmp_path: Path) -> None:
    put(tmp_path / "a" / "m.xml")
    put(tmp_path / ".b" / "feed.RSS")
    before = folder(tmp_path)
    assert before.documents() == [".b/feed.RSS", "a/m.xml"]
    states = [before.beside(name) for name in before.documents()]
    put(tmp_path / "a" / "resources" / "1.flac")
    assert [before.beside(name) for name in before.documents()] == states  # as it was when it was first asked
    after = folder(tmp_path)
    assert after.beside("a/m.xml") != states[1]
    assert after.beside(".b/feed.RSS") == states[0]
    put(tmp_path / "a" / "resources" / "1.flac", "longer")
    assert folder(tmp_path).beside("a/m.xml") != after.beside("a/m.xml")
    assert (folder_of("m.xml"), folder_of(".b/m.xml")) == ("", ".b")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/cover.JPG", "artwork"), ("a/Front.png", "artwork"), ("a/photo.jpg", None), ("a/01 Eins.lrc", "lyrics"),
        ("a/01 Eins.txt", "lyrics"), ("b/01 Eins.txt", None), ("a/readme.txt", None), ("a/merch.json", "merch"),
        ("a/01 Eins.flac", None),
    ],
)  # fmt: skip
def test_what_a_file_is_to_the_audio_beside_it(name: str, kind: str | None) -> None:
    assert companion_kind(name, {"a/01 Eins"}) == kind
