"""A folder of deliveries: names as systems spell them, nothing from outside, and what changed beside a message."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from unicodedata import normalize

import pytest
from typer.testing import CliRunner

from lakehouse.adapters import deliveries, ingestion, intake, podcast_deliveries
from lakehouse.adapters.catalog_db import CatalogDb, DeliveredEpisode, Landed
from lakehouse.adapters.delivery_assets import artwork_of
from lakehouse.adapters.delivery_sources import Folder, Prefix, folder_of, opened, waiting
from lakehouse.adapters.ingestion import is_single
from lakehouse.adapters.intake import is_delivered
from lakehouse.adapters.objects import Objects
from lakehouse.cli.ingest import app as ingest_app
from lakehouse.config.settings import Settings
from lakehouse.domain.catalog.deliveries import ern
from lakehouse.domain.catalog.deliveries.companions import companions
from lakehouse.domain.catalog.deliveries.messages import Message
from lakehouse.domain.catalog.ids import EPOCH
from lakehouse.errors import FatalError, RejectedInputError, RetryableError
from tests.ern_messages import Sent, purge


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
        ("a/01 Eins.flac", None), ("b/cover.jpg", None), ("b/merch.json", None), ("merch.json", None),
    ],
)  # fmt: skip
def test_what_a_file_is_to_the_audio_beside_it(name: str, kind: str | None) -> None:
    assert companions([name, "a/01 Eins.flac"]).get(name) == kind


class Ledger:
    """Takes every takedown, and remembers what was recorded."""

    def __init__(self) -> None:
        self.recorded: dict[str, dict[str, Any]] = {}

    def message_actions(self, digest: str) -> list[dict[str, Any]]:
        return []

    def decide(self, message: Message, digest: str) -> str:
        return message.action

    def apply(self, message: Message, *_: object) -> str:
        return message.action

    def record_delivery(self, digest: str, source: str, values: dict[str, Any]) -> None:
        self.recorded[source] = values | {"digest": digest}


def deliver(path: Path, ledger: Ledger, names: list[str]) -> list[deliveries.Delivered]:
    return deliveries.deliver_named(cast(Objects, None), cast(CatalogDb, ledger), folder(path), names)


def test_whatever_one_document_is_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("WAVEHOUSE_HOME", str(home))
    inbox = tmp_path / "in"
    (put(inbox / "a.xml").parent / "gone.xml").symlink_to(inbox / "nowhere")
    (inbox / "b.xml").write_bytes(purge(Sent(), "43"))
    (inbox / "c.xml").mkdir()
    read = ern.read

    def defective(document: bytes) -> Message:
        if document == b"x":
            raise OverflowError("date value out of range")
        return read(document)

    monkeypatch.setattr(ern, "read", defective)
    ledger = Ledger()
    source = folder(inbox)
    assert source.documents() == ["a.xml", "b.xml"]
    done = deliveries.deliver_named(cast(Objects, None), cast(CatalogDb, ledger), source, ["a.xml", "b.xml"])
    assert [(one.source, one.outcome, one.reason) for one in done] == [
        ("a.xml", "rejected", "internal_error"), ("b.xml", "taken_down", None),
    ]  # fmt: skip
    assert ledger.recorded["a.xml"]["document"] == b"x"
    assert "OverflowError" in (home / "run" / "logs" / "defects.log").read_text()


def test_a_file_that_is_gone_when_it_is_read_has_its_reason(tmp_path: Path) -> None:
    gone = put(tmp_path / "a.xml")
    ledger, source = Ledger(), folder(tmp_path)
    assert source.documents() == ["a.xml"]
    gone.unlink()
    [done] = deliveries.deliver_named(cast(Objects, None), cast(CatalogDb, ledger), source, ["a.xml"])
    assert (done.outcome, done.reason, ledger.recorded["a.xml"]["document"]) == ("rejected", "unreadable", None)
    with pytest.raises(RejectedInputError, match=r"a\.xml"):
        source.find("", "a.xml")


def test_an_engine_that_is_away_is_no_fault_of_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.xml").write_bytes(purge(Sent(), "43"))

    def away(*_: object) -> str:
        raise ConnectionRefusedError("no")

    ledger = Ledger()
    monkeypatch.setattr(ledger, "apply", away)
    with pytest.raises(RetryableError):
        deliver(tmp_path, ledger, ["a.xml"])
    assert ledger.recorded == {}


def test_names_that_are_not_utf_8_can_be_written_down(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.xml"
    with open(path, "wb") as stream:  # noqa: PTH123 - a path of bytes
        stream.write(b"x")
    source = folder(tmp_path)
    assert source.documents() == ["caf%e9.xml"]
    assert source.read("caf%e9.xml", 10) == b"x"


@pytest.mark.parametrize("content", [b"", b"GIF89a" + bytes(30), b"\x89PNG\r\n\x1a\n\x00\x00\x00\x01IHDR"])
def test_a_damaged_picture_is_refused_by_its_format(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cover.png").write_bytes(content)
    _, findings = artwork_of(tmp_path / "cover.png", "cover.png")
    assert findings[0].rule.code == "artwork_format"


def test_a_picture_that_is_cut_off_is_damaged_whatever_else_is_wrong(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "cover.png"
    Image.effect_noise((600, 400), 80).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    _, findings = artwork_of(path, "cover.png")
    assert [finding.rule.code for finding in findings] == ["artwork_format", "artwork_size"]


def test_takedowns_wait_for_no_other_release(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"<rss><channel/></rss>")
    (tmp_path / "b.xml").write_bytes(purge(Sent(created_at="2026-04-01T00:00:00Z"), "43"))
    assert [one.source for one in deliver(tmp_path, Ledger(), ["a.xml", "b.xml"])] == ["b.xml", "a.xml"]


@pytest.mark.parametrize(
    ("content", "delivered"),
    [
        (purge(Sent(), "43"), True), (purge(Sent(), "51")[:60], True), (b"<rss version='2.0'><channel/></rss>", True),
        ("<?xml version='1.0' encoding='UTF-16'?><rss >".encode("utf-16"), True),
        (b'<ernm:ManifestMessage xmlns:ernm="http://ddex.net/xml/ern-c/15">', True),
        (b'<?xml version="1.0"?><plist version="1.0"><dict/></plist>', False), (b"", False),
    ],
)  # fmt: skip
def test_a_folder_is_a_delivery_by_what_its_documents_are(tmp_path: Path, content: bytes, delivered: bool) -> None:
    (tmp_path / "a.xml").write_bytes(content)
    assert is_delivered(folder(tmp_path), "a.xml") is delivered


def test_what_lands_as_a_delivery_is_no_single_file() -> None:
    assert [is_single(key) for key in ("deliveries/a/1.flac", "a/1.flac", "deliveries.flac")] == [False, True, True]


def test_what_lies_beside_audio_is_no_bad_audio(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that landed are taken one by one, but for those that belong to others."""
    keys = ["a/01.flac", "a/01.lrc", "a/cover.jpg", "a/merch.json", "a/photo.jpg", "b/01.txt", "b/cover.jpg"]
    keys += ["deliveries/a/01.flac", "deliveries/a/cover.jpg"]

    def landed(_objects: object, _prefix: str = "") -> list[Landed]:
        return [Landed(key, "etag", 1, EPOCH) for key in keys]

    monkeypatch.setattr(Objects, "landed", landed)
    monkeypatch.setattr(CatalogDb, "unprocessed", lambda _db, found: found)
    assert [one.object_key for one in ingestion.waiting(settings)] == [
        "a/01.flac", "a/photo.jpg", "b/01.txt", "b/cover.jpg",
    ]  # fmt: skip


def test_a_look_since_a_moment_is_at_what_landed_from_then_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old picture belongs to audio that came after it all the same."""
    keys = {"a/cover.jpg": 0, "a/01.flac": 10, "a/02.flac": 9}

    def landed(_objects: object, _prefix: str = "") -> list[Landed]:
        return [Landed(key, "etag", 1, EPOCH + timedelta(minutes=minute)) for key, minute in keys.items()]

    monkeypatch.setattr(Objects, "landed", landed)
    monkeypatch.setattr(CatalogDb, "unprocessed", lambda _db, found: list(found))
    assert [one.object_key for one in ingestion.waiting(settings, EPOCH + timedelta(minutes=10))] == ["a/01.flac"]


class Landing:
    """A landing bucket of a few objects, which are found by prefix as S3 does."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def landed(self, prefix: str) -> list[Landed]:
        return [Landed(key, "etag", 1, EPOCH) for key in self.keys if key.startswith(prefix)]


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", ["a/1.xml", "ab/1.xml"]), ("a", ["a/1.xml"]), ("a/", ["a/1.xml"]), ("a/1.xml", ["a/1.xml"]),
        ("a/1", []),
    ],
)  # fmt: skip
def test_a_prefix_is_a_folder_or_one_object(tmp_path: Path, prefix: str, names: list[str]) -> None:
    assert Prefix(cast(Objects, Landing("a/1.xml", "ab/1.xml")), prefix, tmp_path).names() == names


def test_audio_that_fits_several_episodes_is_taken_for_none(tmp_path: Path) -> None:
    put(tmp_path / "audio.mp3")
    items = "".join(
        f"<item><title>Nr. {n}</title><guid>g{n}</guid><enclosure url='{url}' type='audio/mpeg'/></item>"
        for n, url in enumerate(("https://x.example/1/audio.mp3", "https://x.example/2/audio.mp3", "http://[1"), 1)
    )
    feed = f"<rss><channel><title>Show</title>{items}</channel></rss>".encode()
    put_in: list[DeliveredEpisode] = []

    class Podcasts:
        def check_podcast(self, *_: object) -> None: ...

        def put_podcast(self, guid: str, item: object, episodes: list[DeliveredEpisode], **_: object) -> str:
            put_in.extend(episodes)
            return "publish"

    db = cast(CatalogDb, Podcasts())
    done = podcast_deliveries.deliver(cast(Objects, None), db, folder(tmp_path), "feed.xml", feed)
    assert [(one.guid, one.facts) for one in put_in] == [("g1", None), ("g2", None)]
    assert [(found["resource"], found["code"]) for found in done["findings"]] == [
        ("g1", "ambiguous_audio"), ("g2", "ambiguous_audio"), ("g3", "invalid_audio_url"),
    ]  # fmt: skip


def test_a_folder_that_cannot_be_listed_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a" / "m.xml")
    put(tmp_path / "b" / "m.xml")
    list_folder = os.scandir
    closed = str(tmp_path / "b")

    def scandir(path: Any) -> Any:
        if str(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert folder(tmp_path).names() == ["a/m.xml", "b"]
    with pytest.raises(RejectedInputError) as caught:
        folder(tmp_path / "b").names()
    assert caught.value.reason == "unreadable"


def landed(*keys: str, minutes: int = 0, etag: str = "a") -> list[Landed]:
    return [Landed(f"deliveries/{key}", etag, 10, EPOCH + timedelta(minutes=minutes)) for key in keys]


def test_deliveries_wait_until_they_were_looked_at_and_again_when_something_comes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same hash as those who look; files that no message is beside wait for it and are nobody's backlog."""
    there = [*landed("a/m.xml", "a/resources/1.flac"), *landed("b/feed.rss", "b/m.xml", minutes=1), *landed("c/1.flac")]
    found = waiting(there, {})
    assert (sorted(found.since), found.size_bytes) == ([EPOCH, *[EPOCH + timedelta(minutes=1)] * 2], 40)
    objects = Objects(settings)
    monkeypatch.setattr(Objects, "landed", lambda *_: iter(there))
    source = Prefix(objects, "deliveries/", tmp_path)
    seen = {name: source.beside(name) for name in source.documents()}
    assert waiting(there, seen).since == []
    assert waiting(there, seen).size_bytes == 0
    # A file comes late: the message beside it waits since then. One that is never looked at waits since it came.
    there += landed("a/resources/2.flac", minutes=7)
    found = waiting(there, {name: state for name, state in seen.items() if name != "deliveries/b/m.xml"})
    assert sorted(found.since) == [EPOCH + timedelta(minutes=1), EPOCH + timedelta(minutes=7)]
    assert found.size_bytes == 50


def test_a_backlog_has_files_and_deliveries_apart(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [Landed("a/1.ogg", "a", 4_000_000, EPOCH), *landed("a/m.xml", "a/1.flac")]
    monkeypatch.setattr(
        Objects, "landed", lambda _, prefix="": (one for one in there if one.object_key.startswith(prefix))
    )
    monkeypatch.setattr(CatalogDb, "unprocessed", lambda _, some: list(some))
    monkeypatch.setattr(CatalogDb, "looked_at", lambda *_: {})
    files, delivered = intake.backlog(settings, 320.0)
    assert (files.files, files.size_bytes, delivered.number, delivered.size_bytes) == (1, 4_000_000, 1, 20)
    assert files.oldest_age_s == pytest.approx(delivered.oldest_age_s) and files.oldest_age_s > 0


def test_another_bucket_than_landing_is_refused_with_a_word_about_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(FatalError, match=r"Deliveries land in s3://landing, not in s3://other\.") as caught,
        opened(Objects(settings), "s3://other/some/folder"),
    ):
        pass
    assert "s3://landing/" in caught.value.hint
    monkeypatch.setenv("WAVEHOUSE_S3__SECRET_KEY", "invented")
    done = CliRunner().invoke(ingest_app, ["s3://other/some/folder"])
    assert isinstance(done.exception, FatalError)
    assert "s3://landing" in done.exception.message
