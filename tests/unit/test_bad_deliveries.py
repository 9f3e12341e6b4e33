"""What suppliers send by mistake, as part of a release: each has its reason, nothing of it is kept by halves, and the
release beside it is published. The same on the real store and database: tests/integration/test_deliveries.py.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from lakehouse.adapters import deliveries, intake, podcast_deliveries
from lakehouse.adapters.catalog_db import CatalogDb, DeliveredAsset, DeliveredEpisode, DeliveredTrack
from lakehouse.adapters.delivery_sources import Folder
from lakehouse.adapters.objects import Objects
from lakehouse.config.settings import Settings
from lakehouse.domain.audio.validation import AudioFacts
from lakehouse.domain.catalog.content import MAX_ATTRIBUTES_BYTES
from lakehouse.domain.catalog.deliveries import ern
from lakehouse.domain.catalog.deliveries.decide import Decision, Known, decide
from lakehouse.domain.catalog.deliveries.messages import Message
from lakehouse.errors import RejectedInputError, RetryableError
from tests.audio_files import chord, damage, write
from tests.ern_messages import Attached, Sent, Sound, message, purge
from tests.unit.test_bad_audio import PROTECTED

GOOD, BAD, THIRD = "4006381333931", "0036000291452", "5901234123457"


class Store:
    """Keeps what is put under its hash; it may end with an error at one of the puts."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.left: int | None = None

    def put_audio(self, path: Path, sha256: str) -> str:
        if self.left == 0:
            raise RetryableError("s3://audio is full: no room", hint="Make room.")
        if self.left is not None:
            self.left -= 1
        self.kept[sha256] = path.read_bytes()
        return f"s3://audio/{sha256}"


class Catalogue:
    """Decides as the real one does, and holds releases whole."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.known: dict[str, Known] = {}
        self.titles: dict[str, list[str]] = {}
        self.seen: dict[str, str] = {}
        self.away = False

    def message_actions(self, _digest: str) -> list[dict[str, Any]]:
        return []

    def track_audio(self, _key: str) -> dict[str, Any]:
        return {}

    def delivered_assets(self, _key: str) -> dict[Any, Any]:
        return {}

    def record_delivery(self, _digest: str, source: str, values: dict[str, Any]) -> None:
        self.seen[source] = values["beside"]

    def hidden_packages(self, _sha256: str | None = None) -> list[tuple[str, str]]:
        return []

    def looked_at(self, _root: str) -> dict[str, str]:
        return dict(self.seen)

    def decide(self, sent: Message, digest: str) -> Decision:
        return decide(sent, digest, self.known.get(sent.release_key))

    def apply(
        self, sent: Message, digest: str, tracks: Sequence[DeliveredTrack], assets: Sequence[DeliveredAsset]
    ) -> Decision:
        if self.away:
            raise ConnectionResetError("the server closed the connection")
        decision = self.decide(sent, digest)
        assert {one.facts.sha256 for one in tracks} | {one.sha256 for one in assets} <= self._store.kept.keys()
        if decision != "unchanged":
            version = self.known[sent.release_key].version + 1 if sent.release_key in self.known else 1
            self.known[sent.release_key] = Known(version, sent.sender, sent.message_id, sent.created_at, digest)
            self.titles[sent.release_key] = [one.item.title for one in tracks]
        return decision


class World:
    """A folder of deliveries, and where they go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store()
        self.catalogue = Catalogue(self.store)

    def deliver(self) -> dict[str, tuple[str, str | None]]:
        """Outcomes and reasons by message."""
        return {one.source: (one.outcome, one.reason) for one in self.outcomes()}

    def outcomes(self) -> list[deliveries.Delivered]:
        source = Folder(cast(Objects, None), self.folder)
        db = cast(CatalogDb, self.catalogue)
        return deliveries.deliver_named(cast(Objects, self.store), db, source, source.documents())

    def land(self, name: str, document: bytes) -> None:
        """Have a whole document appear at once."""
        path = self.folder.parent / f"{self.folder.name}.xml"
        path.write_bytes(document)
        path.rename(self.folder / name)

    def put(self, name: str, sent: Sent, version: str = "43") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(message(sent, version))
        return path


def sound(folder: Path, title: str, tonic_hz: float, name: str = "01.flac", isrc: str = "FRZ032600001") -> Sound:
    path = write(folder / "resources" / name, chord(tonic_hz, 3), title=title)
    return declared(path, title, isrc)


def declared(path: Path, title: str, isrc: str = "FRZ032600002") -> Sound:
    return Sound(title, isrc, f"resources/{path.name}", hashlib.sha256(path.read_bytes()).hexdigest())


def declared_nowhere(isrc: str) -> Sound:
    return Sound("Lautlos", isrc, "resources/01.flac", "ab" * 32)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """With one good release, which comes last."""
    world = World(tmp_path)
    good = sound(tmp_path / "good", "Gut", 440)
    world.put("good/m.xml", Sent(message_id="G", icpn=GOOD, created_at="2026-03-05T00:00:00Z", sounds=(good,)))
    return world


def truncated(folder: Path) -> Path:
    return damage(write(folder / "whole.flac", chord(300, 3)), folder / "02.flac", keep=0.6)


def flipped(folder: Path) -> Path:
    return damage(write(folder / "whole.ogg", chord(300, 3)), folder / "02.ogg", flip_at=0.7)


def renamed(folder: Path) -> Path:
    return write(folder / "whole.flac", chord(300, 3)).rename(folder / "02.mp3")


def written(name: str, data: bytes) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return folder / name

    return spoil


def silent(folder: Path) -> Path:
    return write(folder / "02.flac", np.zeros(3 * 44_100, np.float32))


BAD_AUDIO = {
    "truncated": truncated,
    "corrupt": flipped,
    "wrong_container": renamed,
    "protected": written("02.m4a", PROTECTED["widevine.m4a"]),
    "zero_byte": written("02.flac", b""),
    "not_audio": written("02.flac", b"\xff\xd8\xff\xe0" + bytes(300)),
    "undecodable": written("02.flac", b"fLaC" + bytes(200)),
    "silence": silent,
}


@pytest.mark.parametrize("reason", BAD_AUDIO)
def test_bad_audio_keeps_its_release_out_and_no_other(world: World, reason: str) -> None:
    """Also the good tracks and the picture of that release are not stored: everything is checked first."""
    folder = world.folder / "bad"
    first = sound(folder, "Erstes", 300)
    second = declared(BAD_AUDIO[reason](folder / "resources"), "Zweites")
    world.put("bad/m.xml", Sent(message_id="B", icpn=BAD, sounds=(first, second)))
    assert world.deliver() == {"bad/m.xml": ("rejected", reason), "good/m.xml": ("published", None)}
    assert world.catalogue.titles == {GOOD: ["Gut"]}
    assert len(world.store.kept) == 1


BAD_MESSAGES: dict[str, Callable[[bytes], bytes]] = {
    "missing_resource": lambda d: d.replace(b"resources/01.flac", b"resources/02.flac"),
    "checksum_mismatch": lambda d: d.replace(b"<HashSumValue>", b"<HashSumValue>0"),
    "unknown_version": lambda d: d.replace(b"/ern/43", b"/ern/51"),
    "xml_forbidden": lambda d: (
        b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + d.split(b"?>\n", 1)[1].replace(b"Solo", b"&b;")
    ),
    "xml_invalid": lambda d: d[: len(d) // 2],
    "name_too_long": lambda d: d.replace(b"Solo", "Très long ".encode() * 60),
    "attributes_too_large": lambda d: d.replace(b"<GenreText>Chanson<", b"<GenreText>" + b"folk" * 250_000 + b"<", 1),
    "ern_incomplete": lambda d: d.replace(b"resources/01.flac", b"../good/resources/01.flac"),
}


@pytest.mark.parametrize("reason", BAD_MESSAGES)
def test_a_bad_message_stores_nothing_and_harms_no_other(world: World, reason: str) -> None:
    solo = sound(world.folder / "bad", "Solo", 300)
    path = world.put("bad/m.xml", Sent(message_id="B", icpn=BAD, sounds=(solo,)))
    path.write_bytes(BAD_MESSAGES[reason](path.read_bytes()))
    assert world.deliver() == {"bad/m.xml": ("rejected", reason), "good/m.xml": ("published", None)}
    assert world.catalogue.titles == {GOOD: ["Gut"]}
    assert len(world.store.kept) == 1


def test_a_wrong_reference_takes_nothing_down(world: World) -> None:
    world.deliver()
    good = sound(world.folder / "good", "Gut", 440)
    sent = Sent(message_id="G2", icpn=GOOD, created_at="2026-03-06T00:00:00Z", sounds=(good,))
    (world.folder / "good" / "m.xml").write_bytes(
        message(sent, "43").replace(b"<DealReleaseReference>R0<", b"<DealReleaseReference>R9<")
    )
    assert world.deliver() == {"good/m.xml": ("rejected", "unmatched_deals")}
    assert world.catalogue.titles == {GOOD: ["Gut"]}


def test_a_release_with_a_video_is_taken_without_it(world: World) -> None:
    """And says so; a release of videos alone is not for us."""
    solo = sound(world.folder / "mixed", "Solo", 300)
    world.put("mixed/m.xml", Sent(message_id="V", icpn=BAD, sounds=(solo,), videos=("Clip",)))
    world.put("videos/m.xml", Sent(message_id="W", icpn=THIRD, videos=("Clip",)))
    done = {one.source: one for one in world.outcomes()}
    assert done["mixed/m.xml"].outcome == "published"
    assert [(found["resource"], found["code"], found["value"]) for found in done["mixed/m.xml"].findings] == [
        ("AV1", "unsupported_resource", "Video"),
        ("AS1", "unsupported_resource", "VideoScreenCapture"),
    ]
    assert done["videos/m.xml"].reason == "unsupported_resource"
    assert world.catalogue.titles == {GOOD: ["Gut"], BAD: ["Solo"]}


def test_a_takedown_of_what_never_came(world: World) -> None:
    (world.folder / "t.xml").write_bytes(purge(Sent(message_id="T", icpn=BAD), "43"))
    assert world.deliver() == {"t.xml": ("rejected", "unknown_release"), "good/m.xml": ("published", None)}


def test_two_updates_out_of_order(world: World) -> None:
    """In one delivery their dates order them; what comes after a newer one is refused and changes nothing."""
    track = sound(world.folder / "a", "Alt", 300)
    sent = Sent(message_id="U2", icpn=BAD, created_at="2026-03-02T00:00:00Z", sounds=(replace(track, title="Neu"),))
    old = replace(sent, message_id="U1", created_at="2026-03-01T00:00:00Z", sounds=(track,))
    world.put("a/1-new.xml", sent)
    world.put("a/2-old.xml", old)
    assert world.deliver()["a/1-new.xml"] == ("published", None)
    assert world.catalogue.titles[BAD] == ["Neu"]
    late = replace(old, message_id="U1b", created_at="2026-03-01T12:00:00Z")
    world.put("a/2-old.xml", late)
    assert world.deliver()["a/2-old.xml"] == ("rejected", "out_of_order")
    assert (world.catalogue.titles[BAD], world.catalogue.known[BAD].version) == (["Neu"], 2)


def test_a_delivery_that_is_cut_off_and_sent_again(world: World) -> None:
    folder = world.folder / "cut"
    sounds = (sound(folder, "Eins", 300), sound(folder, "Zwei", 320, "02.flac", "FRZ032600002"))
    world.put("cut/m.xml", Sent(message_id="C", icpn=BAD, sounds=sounds))
    late = (folder / "resources" / "02.flac").rename(world.folder.parent / f"{world.folder.name}.flac")
    assert world.deliver()["cut/m.xml"] == ("rejected", "missing_resource")
    assert BAD not in world.catalogue.titles
    assert len(world.store.kept) == 1
    late.rename(folder / "resources" / "02.flac")
    assert world.deliver()["cut/m.xml"] == ("published", None)
    assert world.catalogue.titles[BAD] == ["Eins", "Zwei"]
    assert world.deliver() == {"cut/m.xml": ("unchanged", None), "good/m.xml": ("unchanged", None)}


@pytest.mark.parametrize(
    "name", ["é" * 100 + ".flac", "夜 \u05e9\u05d9\u05e8 👩\u200d🎤 #1 [live]?.flac", "x" * 240 + ".flac"]
)
def test_names_of_every_kind(world: World, name: str) -> None:
    track = sound(world.folder / "named", "Ångström 夜", 300, name)
    world.put("named/m.xml", Sent(message_id="N", icpn=BAD, sounds=(track,)))
    assert world.deliver()["named/m.xml"] == ("published", None)
    assert world.catalogue.titles[BAD] == ["Ångström 夜"]


@pytest.mark.parametrize("room", [0, 1, 2, "database"])
def test_a_store_that_fills_up_and_an_engine_that_goes_away(world: World, room: int | str) -> None:
    """The run ends with what to do. Nothing of the release is visible, and the next run makes what an undisturbed one
    would have made.
    """
    folder = world.folder / "full"
    sounds = (sound(folder, "Eins", 300), sound(folder, "Zwei", 320, "02.flac", "FRZ032600002"))
    words = folder / "resources" / "01.lrc"
    words.write_text("[00:01.00]eins\n")
    lyrics = Attached("resources/01.lrc", hashlib.sha256(words.read_bytes()).hexdigest())
    world.put("full/m.xml", Sent(message_id="F", icpn=BAD, sounds=(replace(sounds[0], lyrics=lyrics), sounds[1])))
    if room == "database":
        world.catalogue.away = True
    else:
        world.store.left = int(room)
    with pytest.raises(RetryableError) as caught:
        world.deliver()
    assert caught.value.hint
    assert world.catalogue.titles == {}
    world.catalogue.away, world.store.left = False, None
    assert world.deliver() == {"full/m.xml": ("published", None), "good/m.xml": ("published", None)}
    assert world.catalogue.titles == {GOOD: ["Gut"], BAD: ["Eins", "Zwei"]}
    assert len(world.store.kept) == 4


def test_a_file_that_is_replaced_while_its_release_is_checked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store refuses bytes that are not those of the hash (test_objects.py): the release stays out."""
    track = sound(world.folder / "moving", "Bewegt", 300)
    world.put("moving/m.xml", Sent(message_id="M", icpn=BAD, sounds=(track,)))
    put = world.store.put_audio

    def checked(path: Path, sha256: str) -> str:
        if "moving" in path.parts:
            raise RejectedInputError("It was changed.", reason="file_changed")
        return put(path, sha256)

    monkeypatch.setattr(world.store, "put_audio", checked)
    assert world.deliver() == {"moving/m.xml": ("rejected", "file_changed"), "good/m.xml": ("published", None)}
    assert world.catalogue.titles == {GOOD: ["Gut"]}


def served(world: World, monkeypatch: pytest.MonkeyPatch, open_it: Callable[[], None] = lambda: None) -> None:
    """Have a service that watches any address watch `world`; it calls `open_it` at each look."""

    @contextmanager
    def opened(*_: object) -> Iterator[Folder]:
        open_it()
        yield Folder(cast(Objects, None), world.folder)

    monkeypatch.setattr(deliveries, "opened", opened)
    monkeypatch.setattr(deliveries, "Objects", lambda _settings: world.store)
    monkeypatch.setattr(deliveries, "CatalogDb", lambda _settings: nullcontext(world.catalogue))


def test_a_takedown_waits_for_no_audio(world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the service is at work on a large release, what was taken down meanwhile is hidden."""
    world.deliver()
    large = sound(world.folder / "large", "Groß", 300)
    world.put("large/m.xml", Sent(message_id="L", icpn=BAD, sounds=(large,)))
    at_work, go_on, hidden, stop = (threading.Event() for _ in range(4))
    put, apply = world.store.put_audio, world.catalogue.apply

    def slow(path: Path, sha256: str) -> str:
        at_work.set()
        assert go_on.wait(60)
        return put(path, sha256)

    def applied(sent: Message, *more: Any) -> Decision:
        done = apply(sent, *more)
        if done == "takedown":
            hidden.set()
        return done

    monkeypatch.setattr(world.store, "put_audio", slow)
    monkeypatch.setattr(world.catalogue, "apply", applied)
    served(world, monkeypatch)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("large/"):
            stop.set()

    with ThreadPoolExecutor(1) as pool:
        service = pool.submit(intake.watch, settings, stop, address="somewhere", every_s=0.01, say=say)
        assert at_work.wait(60)
        world.land("t.xml", purge(Sent(message_id="T", icpn=GOOD, created_at="2026-04-01T00:00:00Z"), "43"))
        assert hidden.wait(60)
        assert world.catalogue.titles == {GOOD: []}
        go_on.set()
        service.result(60)
    assert sorted(said) == ["large/m.xml: published", "t.xml: taken_down"]
    assert world.catalogue.titles == {GOOD: [], BAD: ["Groß"]}


class Watched:
    """The service at work on the large release of `world`, until it may go on; ends once `later/` is published."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        large = sound(world.folder / "large", "Groß", 300)
        world.put("large/m.xml", Sent(message_id="L", icpn=BAD, sounds=(large,)))
        self.at_work, self.go_on, self.away, self.stop = (threading.Event() for _ in range(4))
        self.reads: list[str] = []
        self.said: list[str] = []
        self._looks = threading.Semaphore(0)
        put, read = world.store.put_audio, Folder.read

        def slow(path: Path, sha256: str) -> str:
            self.at_work.set()
            assert self.go_on.wait(60)
            return put(path, sha256)

        def counted(folder: Folder, name: str, limit: int) -> bytes:
            self.reads.append(name)
            return read(folder, name, limit)

        served(world, monkeypatch, self._open)
        monkeypatch.setattr(world.store, "put_audio", slow)
        monkeypatch.setattr(Folder, "read", counted)

    def _open(self) -> None:
        self._looks.release()
        if self.away.is_set():
            raise RejectedInputError("There is no folder.", reason="no_such_folder")

    def say(self, line: str) -> None:
        self.said.append(line)
        if line.startswith("later/"):
            self.stop.set()

    def wait_for_looks(self) -> None:
        while self._looks.acquire(blocking=False):
            pass
        for _ in range(4):
            assert self._looks.acquire(timeout=60)


def test_takedowns_look_on_beside_a_long_look(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They read what waits once, not at each look, and survive a folder that is away for a while."""
    world.deliver()
    later = sound(world.folder / "later", "Später", 320)
    newer = replace(later, title="Noch später")
    watched = Watched(world, monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        service = pool.submit(intake.watch, settings, watched.stop, address="x", every_s=0.01, say=watched.say)
        try:
            assert watched.at_work.wait(60)
            world.land("later/m.xml", message(Sent(message_id="S", icpn=THIRD, sounds=(later,)), "43"))
            watched.wait_for_looks()
            assert watched.reads == ["large/m.xml", "later/m.xml"]
            # Another document under the name is another one.
            world.land("later/m.xml", message(Sent(message_id="S2", icpn=THIRD, sounds=(newer,)), "43"))
            watched.wait_for_looks()
            assert watched.reads == ["large/m.xml", "later/m.xml", "later/m.xml"]
            watched.away.set()
            watched.wait_for_looks()
            watched.away.clear()
            world.land("t.xml", purge(Sent(message_id="T", icpn=GOOD, created_at="2026-04-01T00:00:00Z"), "43"))
            watched.wait_for_looks()
            assert world.catalogue.titles == {GOOD: []}
        except BaseException:
            watched.stop.set()
            raise
        finally:
            watched.go_on.set()
        service.result(60)
    assert sorted(watched.said) == [
        "There is no folder. Trying again every 0.01 s.",
        "large/m.xml: published",
        "later/m.xml: published",
        "t.xml: taken_down",
    ]
    assert world.catalogue.titles == {GOOD: [], BAD: ["Groß"], THIRD: ["Noch später"]}


def test_a_track_is_judged_by_the_territories_of_its_deals() -> None:
    """Those of its own, else those of the release; of another track's none."""
    late = replace(declared_nowhere("FRZ032600001"), own_from="2026-06-01")
    document = message(Sent(sounds=(late, declared_nowhere("FRZ032600002"))), "43")
    whole, worldwide, own = document.rpartition(b"<TerritoryCode>Worldwide<")
    assert worldwide
    read = ern.read(whole + b"<TerritoryCode>FR<" + own)
    assert read.release is not None
    facts = AudioFacts("", 0, "")
    records = [deliveries._record_of(read, read.release, track, facts) for track in read.release.tracks]
    assert [record.territories for record in records] == [("FR",), ("Worldwide",)]


class Podcasts:
    """A catalogue that takes every feed."""

    def __init__(self) -> None:
        self.episodes: list[DeliveredEpisode] = []

    def check_podcast(self, *_: object) -> None: ...

    def put_podcast(self, _guid: str, _item: object, episodes: list[DeliveredEpisode], **_: object) -> str:
        self.episodes += episodes
        return "publish"


def feed_of(*names: str) -> bytes:
    items = "".join(
        f"<item><title>Nr. {n}</title><guid>g{n}</guid><enclosure url='https://x.example/{name}' type='a/b'/></item>"
        for n, name in enumerate(names, 1)
    )
    return f"<rss><channel><title>Show</title>{items}</channel></rss>".encode()


def test_silent_and_clipped_audio_leaves_its_episode_out(tmp_path: Path) -> None:
    """As in a release; the episodes around it are taken."""
    silent(tmp_path).rename(tmp_path / "1.flac")
    write(tmp_path / "2.flac", 9 * chord(300, 3))
    write(tmp_path / "3.flac", chord(300, 3))
    db, store = Podcasts(), Store()
    source = Folder(cast(Objects, None), tmp_path)
    feed = feed_of("1.flac", "2.flac", "3.flac")
    done = podcast_deliveries.deliver(cast(Objects, store), cast(CatalogDb, db), source, "feed.xml", feed)
    assert [one.guid for one in db.episodes] == ["g3"]
    assert [(found["resource"], found["code"]) for found in done["findings"]] == [("g1", "silence"), ("g2", "clipping")]
    assert store.kept.keys() == {hashlib.sha256((tmp_path / "3.flac").read_bytes()).hexdigest()}


def test_audio_of_episodes_is_taken_where_it_lies_and_never_fetched(tmp_path: Path) -> None:
    """A damaged one leaves its episode out, with its reason, and no other; so does too much text."""
    write(tmp_path / "1.ogg", chord(300, 3))
    (tmp_path / "2.mp3").write_bytes(b"")
    write(tmp_path / "4.ogg", chord(400, 3))
    items = "".join(
        f"<item><title>Nr. {n}</title><guid>g{n}</guid><enclosure url='https://x.example/{name}?t' type='a/b'/>"
        f"<description>{about}</description></item>"
        for n, (name, about) in enumerate(
            (("1.ogg", "a"), ("2.mp3", "b"), ("3.mp3", "c"), ("4.ogg", "d" * MAX_ATTRIBUTES_BYTES)), 1
        )
    )
    feed = f"<rss><channel><title>Show</title>{items}</channel></rss>".encode()
    podcasts, store = Podcasts(), Store()
    put_in = podcasts.episodes
    source = Folder(cast(Objects, None), tmp_path)
    done = podcast_deliveries.deliver(cast(Objects, store), cast(CatalogDb, podcasts), source, "feed.xml", feed)
    taken = hashlib.sha256((tmp_path / "1.ogg").read_bytes()).hexdigest()
    assert [(one.guid, one.facts.sha256 if one.facts else None) for one in put_in] == [("g1", taken), ("g3", None)]
    assert put_in[1].item.attributes["audio_url"] == "https://x.example/3.mp3?t"
    assert store.kept.keys() == {taken}
    assert [(found["resource"], found["code"]) for found in done["findings"]] == [
        ("g2", "zero_byte"),
        ("g4", "attributes_too_large"),
    ]
