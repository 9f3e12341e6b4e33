"""Release deliveries on the real store and database: whole or not at all, in order, hidden by a takedown, kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from uuid import uuid4

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from lakehouse.adapters import catalog_db, deliveries, ingestion, intake, packaging
from lakehouse.adapters.catalog_db import CatalogDb
from lakehouse.adapters.catalog_reader import CatalogReader, ReleaseRow
from lakehouse.adapters.objects import AUDIO, PLAYBACK, Objects, audio_name
from lakehouse.config.settings import Settings
from lakehouse.domain.catalog.deliveries.messages import moment
from lakehouse.domain.catalog.quality.duplicates import Recording
from lakehouse.domain.playback.packaging import Recipe
from lakehouse.errors import RejectedInputError, RetryableError
from tests.audio_files import chord, write
from tests.conftest import wavehouse, wavehouse_json
from tests.cut_off import proxy
from tests.ern_messages import Attached, Sent, Sound, message, purge

pytestmark = pytest.mark.stack

RUN = uuid4().hex
#: No other test's, nor an earlier run's on a stack that was kept.
ARTIST = f"Délivrée {RUN}"


def ean(number: int) -> str:
    body = f"{number % 10**12:012}"
    return body + str(-sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(body)) % 10)


ICPN, OTHER_ICPN, UNKNOWN_ICPN = (ean(int(RUN, 16) + extra) for extra in range(3))


def sound(folder: Path, name: str, tonic_hz: float, title: str, isrc: str) -> Sound:
    path = write(folder / "resources" / name, chord(tonic_hz, 3), title=f"{RUN} {name}")
    return Sound(title, isrc, f"resources/{name}", hashlib.sha256(path.read_bytes()).hexdigest())


def send(stack: Settings, folder: Path, sent: Sent, version: str = "43") -> deliveries.Delivered:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "message.xml").write_bytes(message(sent, version))
    [done] = deliveries.deliver(stack, str(folder))
    return done


def titles(stack: Settings) -> list[str]:
    reader = CatalogReader(stack)
    try:
        rows = reader.tracks(prefix=ARTIST, artist_id=None, after=None, limit=100)
        return sorted(row.title for row in rows)
    finally:
        reader.close()


def rows_of(stack: Settings) -> dict[str, int]:
    tables = (
        catalog_db.content, catalog_db.release_version, catalog_db.availability, catalog_db.ingest_ledger,
        catalog_db.asset, catalog_db.artist, catalog_db.release,
    )  # fmt: skip
    with CatalogDb(stack) as db, db.begin() as connection:
        return {t.name: connection.scalar(sa.select(sa.func.count()).select_from(t)) or 0 for t in tables}


def test_the_life_of_a_release(stack: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    sounds = (
        sound(folder, "01.flac", 461, "Ouverture", "FRZ032600001"),
        sound(folder, "02.flac", 463, "Nuit", "FRZ032600002"),
    )
    sent = Sent(sounds=sounds, icpn=ICPN, artist=ARTIST)
    missing = folder / sounds[1].path
    kept = missing.read_bytes()

    # Cut off half-way: nothing is visible, and the same message with all of its files is taken.
    missing.unlink()
    before = rows_of(stack)
    assert send(stack, folder, sent).reason == "missing_resource"
    missing.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert send(stack, folder, sent).reason == "checksum_mismatch"
    assert rows_of(stack) == before
    assert titles(stack) == []
    missing.write_bytes(kept)
    assert send(stack, folder, sent).outcome == "published"
    assert titles(stack) == ["Nuit", "Ouverture"]
    after = rows_of(stack)
    assert send(stack, folder, sent).outcome == "unchanged"
    assert rows_of(stack) == after

    # An update brings no audio, in another version of the standard; an older one is refused.
    update = replace(
        sent, message_id="M2", created_at="2026-03-02T00:00:00Z", update=True,
        sounds=(replace(sounds[0], title="Ouverture II"), sounds[1]),
    )  # fmt: skip
    assert send(stack, tmp_path / "two", update, "382").outcome == "published"
    assert titles(stack) == ["Nuit", "Ouverture II"]
    late = replace(update, message_id="M1b", created_at="2026-03-01T12:00:00Z")
    assert send(stack, tmp_path / "three", late, "42").reason == "out_of_order"

    # A takedown hides, and keeps the record; the release can come back.
    gone = replace(update, message_id="M3", created_at="2026-03-03T00:00:00Z", takedown=True)
    assert send(stack, tmp_path / "four", gone, "382").outcome == "taken_down"
    assert titles(stack) == []
    with CatalogDb(stack) as db:
        assert {row["title"] for row in db.content_with_audio()} >= {"Nuit", "Ouverture II"}
        history = db.history(ICPN)
    assert [(row["version"], row["message_id"], row["action"]) for row in history] == [
        (1, "M1", "publish"), (2, "M2", "publish"), (3, "M3", "takedown"),
    ]  # fmt: skip
    again = replace(update, message_id="M4", created_at="2026-03-04T00:00:00Z")
    assert send(stack, tmp_path / "five", again).outcome == "published"
    assert titles(stack) == ["Nuit", "Ouverture II"]
    unknown = replace(gone, message_id="M5", icpn=UNKNOWN_ICPN)
    assert send(stack, tmp_path / "six", unknown, "382").reason == "unknown_release"
    report = ingestion.report(stack)
    assert [check for check in report["checks"] if not check["equal"]] == []


def test_a_bad_message_harms_no_other(stack: Settings, tmp_path: Path) -> None:
    good = sound(tmp_path / "b", "03.flac", 467, "Seule", "FRZ032600003")
    (tmp_path / "a.xml").write_bytes(b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>')
    (tmp_path / "BatchComplete_1.xml").write_bytes(
        b'<ernm:ManifestMessage xmlns:ernm="http://ddex.net/xml/ern-c/15"><MessageHeader/></ernm:ManifestMessage>'
    )
    (tmp_path / "b" / "m.xml").write_bytes(
        message(Sent(message_id="B1", icpn=OTHER_ICPN, sounds=(good,), artist=ARTIST), "42")
    )
    target = tmp_path / "outcome.json"
    done = wavehouse("ingest", "deliver", str(tmp_path), "--report", str(target), check=False)
    assert done.returncode == 65
    assert {(row["outcome"], row["reason"]) for row in json.loads(target.read_text())} == {
        ("published", None), ("rejected", "xml_forbidden"), ("unchanged", None),
    }  # fmt: skip


def test_people_work_the_quarantine(stack: Settings, tmp_path: Path) -> None:
    key = f"quarantine {RUN}/a.ogg"
    Objects(stack).put(write(tmp_path / "a.ogg", chord(469, 3), artist=f"Nobody {RUN}"), key)
    assert [outcome.reason for outcome in ingestion.process_batch(stack, [key])] == ["missing_tags"]
    assert key in {row["object_key"] for row in wavehouse_json("ingest", "quarantine", "--limit", "100000")["files"]}
    assert wavehouse("ingest", "release", key, "--by", "ada", check=False).returncode == 65
    wavehouse("ingest", "fix", key, "--set", "title=Found", "--by", "ada", "--note", "asked the label")
    assert wavehouse_json("ingest", "release", key, "--by", "ada")["outcome"] == "accepted"
    with CatalogDb(stack) as db, db.begin() as connection:
        rows = connection.execute(sa.select(catalog_db.quarantine_action).filter_by(object_key=key).order_by("number"))
        assert [(row.action, row.actor) for row in rows] == [("fix", "ada"), ("release", "ada")]
    report = ingestion.report(stack)
    assert [check for check in report["checks"] if not check["equal"]] == []


def picture(folder: Path, side_px: int = 1500, name: str = "cover.jpg") -> Attached:
    path = folder / "resources" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side_px, side_px), int(RUN[:6], 16) & 0xFFFFFF).save(path)
    return attached(path, name)


def attached(path: Path, name: str) -> Attached:
    return Attached(f"resources/{name}", hashlib.sha256(path.read_bytes()).hexdigest())


def released(stack: Settings, icpn: str) -> ReleaseRow | None:
    reader = CatalogReader(stack)
    try:
        return reader.release(icpn)
    finally:
        reader.close()


def test_what_belongs_to_a_release_stays_until_it_is_replaced(stack: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    lrc = folder / "resources" / "07.lrc"
    lrc.parent.mkdir(parents=True)
    lrc.write_text(f"[ti:{RUN}]\n[00:01.50]un\n[00:02.50]deux\n")
    words = attached(lrc, "07.lrc")
    track = replace(sound(folder, "07.flac", 479, "Avec paroles", "FRZ032600007"), lyrics=words, iswc="T0345246801")
    icpn = ean(int(RUN, 16) + 10)
    sent = Sent(
        message_id="A1", icpn=icpn, artist=ARTIST, sounds=(track,), pictures=(picture(folder),), isni="000000012281955X"
    )
    (folder / "merch.json").write_text('[{"title": "Shirt", "url": "https://shop.example/1"}]')
    assert send(stack, folder, sent).outcome == "published"

    def belongings() -> tuple[list[str], list[object]]:
        row = released(stack, icpn)
        assert row is not None
        reader = CatalogReader(stack)
        try:
            found = reader.assets(row.tracks[0])
        finally:
            reader.close()
        return sorted(asset.kind for asset in found), [a.attributes["lines"] for a in found if a.kind == "lyrics"]

    assert belongings() == (["artwork", "lyrics", "merch"], [[[1500, "un"], [2500, "deux"]]])
    row = released(stack, icpn)
    assert row is not None
    told = row.tracks[0].attributes
    assert (told["explicit"], told["iswc"], told["isni"]) == ("NotExplicit", "T0345246801", "000000012281955X")
    stored = Objects(stack).read(AUDIO, audio_name(words.sha256))
    assert stored == lrc.read_bytes()

    # An update brings none of it and loses none of it; a new picture that breaks a rule changes nothing.
    update = replace(sent, message_id="A2", created_at="2026-03-02T00:00:00Z")
    assert send(stack, tmp_path / "two", update, "382").outcome == "published"
    assert belongings()[0] == ["artwork", "lyrics", "merch"]
    before = rows_of(stack)
    small = replace(
        update, message_id="A3", created_at="2026-03-03T00:00:00Z", pictures=(picture(tmp_path / "three", 500),)
    )
    assert send(stack, tmp_path / "three", small).reason == "artwork_size"
    assert rows_of(stack) == before
    other = replace(
        update, message_id="A4", created_at="2026-03-04T00:00:00Z",
        sounds=(replace(track, lyrics=Attached("resources/other.lrc", "ab" * 32)),),
    )  # fmt: skip
    assert send(stack, tmp_path / "four", other).reason == "missing_resource"
    assert rows_of(stack) == before
    # An empty list takes the links away; a takedown hides all of it at once.
    (tmp_path / "five").mkdir()
    (tmp_path / "five" / "merch.json").write_text("[]")
    assert send(stack, tmp_path / "five", replace(other, message_id="A5", sounds=(track,))).outcome == "published"
    assert belongings()[0] == ["artwork", "lyrics"]
    gone = replace(update, message_id="A6", created_at="2026-03-06T00:00:00Z", takedown=True)
    assert send(stack, tmp_path / "six", gone).outcome == "taken_down"
    assert released(stack, icpn) is None
    history = wavehouse_json("ingest", "history", icpn)
    assert [(row["message_id"], row["sender"]) for row in history] == [
        (name, sent.sender) for name in ("A1", "A2", "A5", "A6")
    ]
    assert {change["field"] for change in history[0]["changed"]} >= {"title", "tracks[FRZ032600007].title"}
    assert history[1]["changed"] == history[3]["changed"] == []


@pytest.mark.parametrize(
    ("expected", "spoil"),
    [
        ("xml_forbidden", lambda d: b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + d.split(b"?>\n", 1)[1]),
        ("xml_invalid", lambda d: d[:-60]),
        ("unknown_version", lambda d: d.replace(b"/ern/43", b"/ern/51")),
        ("unknown_message", lambda d: d.replace(b"NewReleaseMessage", b"CatalogListMessage")),
        ("checksum_mismatch", lambda d: d.replace(b"<HashSumValue>", b"<HashSumValue>0")),
        ("missing_resource", lambda d: d.replace(b"resources/11.flac", b"resources/12.flac")),
        ("invalid_territory", lambda d: d.replace(b"Worldwide", b"EU")),
        ("invalid_icpn", lambda d: d.replace(b"<ICPN>", b"<ICPN>1")),
        ("invalid_isrc", lambda d: d.replace(b"FRZ0326", b"FRZ03X6")),
        ("duration_mismatch", lambda d: d.replace(b"PT3S", b"PT3M")),
        ("name_too_long", lambda d: d.replace(b"Solo", "Très ".encode() * 1000)),
        ("lost_characters", lambda d: d.replace(b"Solo", "Sol\ufffd".encode())),
        ("explicit_conflict", lambda d: d.replace(b"Solo", b"Solo (Explicit)")),
        ("date_order", lambda d: d.replace(b"<ReleaseDate>",
                                           b"<OriginalReleaseDate>2026-05-01</OriginalReleaseDate><ReleaseDate>")),
    ],
)  # fmt: skip
def test_a_bad_message_stores_nothing_and_harms_no_other(
    stack: Settings, tmp_path: Path, expected: str, spoil: Callable[[bytes], bytes]
) -> None:
    salt = int(hashlib.sha256(f"{RUN}{expected}".encode()).hexdigest(), 16)
    bad = Sent(message_id="X", icpn=ean(salt), artist=ARTIST,
               sounds=(sound(tmp_path / "a", "11.flac", 487, "Solo", "FRZ032600011"),))  # fmt: skip
    (tmp_path / "a" / "m.xml").write_bytes(spoil(message(bad, "43")))
    before = rows_of(stack)
    [refused] = deliveries.deliver(stack, str(tmp_path))
    assert (refused.outcome, refused.reason) == ("rejected", expected)
    assert rows_of(stack) == before
    assert released(stack, ean(salt)) is None
    # Beside it, a good one is taken; and it is kept with its reason and its bytes.
    title = f"Gute {expected}"
    good = replace(bad, message_id="Y", icpn=ean(salt + 1), title=title,
                   sounds=(sound(tmp_path / "b", "11.flac", 487, title, "FRZ032600012"),))  # fmt: skip
    (tmp_path / "b" / "m.xml").write_bytes(message(good, "42"))
    outcomes = {done.source: done.outcome for done in deliveries.deliver(stack, str(tmp_path))}
    assert outcomes == {"a/m.xml": "rejected", "b/m.xml": "published"}
    digest = hashlib.sha256((tmp_path / "a" / "m.xml").read_bytes()).hexdigest()
    with CatalogDb(stack) as db:
        kept = db.refused_message(digest)
    assert kept is not None
    assert (kept["reason"], kept["document"]) == (expected, (tmp_path / "a" / "m.xml").read_bytes())


def test_a_crash_in_the_middle_shows_nothing_and_the_next_try_all(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    icpn = ean(int(RUN, 16) + 20)
    sent = Sent(message_id="K1", icpn=icpn, artist=ARTIST,
                sounds=(sound(tmp_path, "21.flac", 491, "Panne", "FRZ032600021"),))  # fmt: skip
    before = rows_of(stack)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(catalog_db, "_show_and_hide", crash)
        send(stack, tmp_path, sent)
    assert rows_of(stack) == before
    assert send(stack, tmp_path, sent).outcome == "published"


def test_where_and_when_a_release_may_be_played(stack: Settings, tmp_path: Path) -> None:
    icpn = ean(int(RUN, 16) + 30)
    sent = Sent(message_id="W1", icpn=icpn, artist=ARTIST, excluded=("US",), ends="2026-12-31",
                sounds=(sound(tmp_path, "31.flac", 499, "Ici", "FRZ032600031"),))  # fmt: skip
    assert send(stack, tmp_path, sent).outcome == "published"

    def asked(territory: str, on: str, *more: str) -> bool:
        found = wavehouse_json("ingest", "available", icpn, "--territory", territory, "--on", on, *more)
        return bool(found["available"])

    assert asked("FR", "2026-03-06")
    assert asked("FR", "2026-12-31", "--model", "SubscriptionModel", "--use", "OnDemandStream")
    assert not asked("FR", "2026-03-05")
    assert not asked("FR", "2027-01-01")
    assert not asked("US", "2026-03-06")
    assert not asked("FR", "2026-03-06", "--model", "PayAsYouGoModel")
    assert (
        wavehouse("ingest", "available", "1", "--territory", "FR", "--on", "2026-03-06", check=False).returncode == 65
    )


def test_a_track_with_deals_of_its_own_goes_by_them(stack: Settings, tmp_path: Path) -> None:
    icpn = ean(int(RUN, 16) + 32)
    sounds = (
        replace(sound(tmp_path, "32.flac", 503, "Plus tard", "FRZ032600032"), own_from="2026-06-01"),
        sound(tmp_path, "33.flac", 506, "Avec le reste", "FRZ032600033"),
    )
    sent = Sent(message_id="W2", icpn=icpn, artist=ARTIST, sounds=sounds)
    assert send(stack, tmp_path, sent).outcome == "published"

    def asked(on: str) -> list[tuple[str, bool]]:
        found = wavehouse_json("ingest", "available", icpn, "--territory", "FR", "--on", on)
        assert found["available"]
        return [(track["title"], track["available"]) for track in found["tracks"]]

    assert asked("2026-04-01") == [("Plus tard", False), ("Avec le reste", True)]
    assert asked("2026-06-01") == [("Plus tard", True), ("Avec le reste", True)]
    # It is packaged for players once it may be played, and no more once it is taken down.
    reader = CatalogReader(stack)
    row = reader.release(icpn)
    reader.close()
    assert row is not None
    late = str(row.tracks[0].content_id)

    def packaged(*more: str) -> list[tuple[str, str | None]]:
        return [(one["outcome"], one["reason"]) for one in wavehouse_json("package", late, *more, check=False)]

    assert packaged("--on", "2026-04-01") == [("refused", "not_available")]
    assert packaged("--on", "2026-06-01") == [("made", None)]
    assert packaged("--on", "2026-04-01") == [("refused", "not_available")]
    # The next message is about the release alone.
    update = replace(sent, message_id="W3", created_at="2026-03-02T00:00:00Z",
                     sounds=(replace(sounds[0], own_from=None), sounds[1]))  # fmt: skip
    assert send(stack, tmp_path, update, "382").outcome == "published"
    assert asked("2026-04-01") == [("Plus tard", True), ("Avec le reste", True)]
    assert packaged("--on", "2026-04-01") == [("there", None)]
    gone = replace(update, message_id="W4", created_at="2026-03-03T00:00:00Z", takedown=True)
    [made] = wavehouse_json("package", late, "--on", "2026-06-01", "--encrypt")
    objects, prefix = Objects(stack), "hls/" + made["address"].split("/hls/")[1].rsplit("/", 2)[0]
    assert {name.split("/")[3] for name in objects.names(PLAYBACK, prefix)} == {
        Recipe().name,
        Recipe(encrypted=True).name,
    }
    assert send(stack, tmp_path, gone).outcome == "taken_down"
    assert packaged("--on", "2026-06-01") == [("refused", "track_hidden")]
    # No package is left, nor a key of one, until a message shows it again.
    assert objects.names(PLAYBACK, prefix) == set()
    table = catalog_db.playback_package
    with CatalogDb(stack) as db, db.begin() as connection:
        query = sa.select(table.c.address).where(table.c.address.startswith(f"s3://{PLAYBACK}/{prefix}"))
        assert connection.execute(query).all() == []
    back = replace(update, message_id="W4b", created_at="2026-03-04T00:00:00Z")
    assert send(stack, tmp_path, back).outcome == "published"
    assert packaged("--on", "2026-06-01") == [("made", None)]


def test_only_audio_that_changed_is_compared_again(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New names bring nothing that a comparison could find; another ISRC may, and so may another recording."""
    compared: list[str] = []
    comparable = catalog_db._comparable

    def noted(connection: sa.Connection, new: Recording) -> list[Recording]:
        compared.append(new.sha256)
        return comparable(connection, new)

    monkeypatch.setattr(catalog_db, "_comparable", noted)
    first, second = (
        sound(tmp_path, f"{number}.flac", 500 + number, f"Comparée {number}", f"FRZ0326000{number}")
        for number in (38, 39)
    )
    sent = Sent(message_id="C1", icpn=ean(int(RUN, 16) + 38), artist=ARTIST, sounds=(first,))
    assert send(stack, tmp_path, sent).outcome == "published"
    assert compared == [first.sha256]
    for day, sounds, more in (
        (2, (replace(first, title="Autre nom"),), []),
        (3, (replace(first, isrc="FRZ032600138"),), [first.sha256]),
        (4, (replace(first, isrc="FRZ032600138"), second), [second.sha256]),
    ):
        compared.clear()
        update = replace(sent, message_id=f"C{day}", created_at=f"2026-03-{day:02}T12:00:00Z", sounds=sounds)
        assert send(stack, tmp_path, update).outcome == "published"
        assert compared == more


def barred(stack: Settings, content_id: int, on: str) -> str | None:
    """Why a track may not be played on a day; None when it may."""
    with CatalogDb(stack) as db:
        try:
            db.audio_of(content_id, moment(on))
        except RejectedInputError as error:
            return error.reason
    return None


def test_a_track_that_is_taken_down_alone_is_played_no_more(stack: Settings, tmp_path: Path) -> None:
    """It has deals of its own, and none of them permits anything; those of the release are not about it."""
    icpn = ean(int(RUN, 16) + 34)
    sounds = (
        replace(sound(tmp_path, "34.flac", 512, "Retirée seule", "FRZ032600034"), own_from=""),
        sound(tmp_path, "35.flac", 514, "Restée", "FRZ032600035"),
    )
    sent = Sent(message_id="W5", icpn=icpn, artist=ARTIST, sounds=sounds)
    assert send(stack, tmp_path, sent, "382").outcome == "published"
    row = released(stack, icpn)
    assert row is not None
    ids = [track.content_id for track in row.tracks]

    def asked() -> list[str | None]:
        return [barred(stack, content_id, "2026-04-01") for content_id in ids]

    assert asked() == ["not_available", None]
    # Its package goes with it, and the key before that; the other's stay.
    back = replace(sent, message_id="W5b", created_at="2026-03-02T00:00:00Z",
                   sounds=(replace(sounds[0], own_from=None), sounds[1]))  # fmt: skip
    assert send(stack, tmp_path, back, "382").outcome == "published"
    assert asked() == [None, None]
    made = wavehouse_json("package", *map(str, ids), "--on", "2026-04-01", "--encrypt")
    assert [one["outcome"] for one in made] == ["made", "made"]
    again = replace(sent, message_id="W5c", created_at="2026-03-03T00:00:00Z")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packaging, "remove_hidden", lambda *_: [])
        assert send(stack, tmp_path, again, "382").outcome == "published"
    assert asked() == ["not_available", None]
    table, objects = catalog_db.playback_package, Objects(stack)
    addresses = [one["address"] for one in made]
    with CatalogDb(stack) as db:
        with db.begin() as connection:
            rows = connection.execute(sa.select(table).where(table.c.address.in_(addresses)))
            # The stack's own service may have removed what is taken down meanwhile.
            keys = {row.address: row.wrapped_key is not None for row in rows}
        assert keys.pop(addresses[0], False) is False
        assert keys == {addresses[1]: True}
        packaging.remove_hidden(objects, db)
    kept = [objects.names(PLAYBACK, address.removeprefix(f"s3://{PLAYBACK}/")) for address in addresses]
    assert [bool(names) for names in kept] == [False, True]


def test_a_track_of_two_releases_may_be_played_by_either(stack: Settings, tmp_path: Path) -> None:
    first, second = (ean(int(RUN, 16) + extra) for extra in (36, 37))
    track = sound(tmp_path / "a", "36.flac", 516, "Deux disques", "FRZ032600036")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    early = Sent(message_id="W6", icpn=first, artist=ARTIST, sounds=(track,), ends="2026-04-30")
    late = Sent(message_id="W7", icpn=second, artist=ARTIST, sounds=(track,), starts="2026-06-01")
    assert send(stack, tmp_path / "a", early, "382").outcome == "published"
    assert send(stack, tmp_path / "b", late, "382").outcome == "published"
    rows = [released(stack, icpn) for icpn in (first, second)]
    [content_id] = {track.content_id for row in rows if row for track in row.tracks}

    def asked() -> list[str | None]:
        return [barred(stack, content_id, on) for on in ("2026-04-01", "2026-05-15", "2026-06-15")]

    assert asked() == [None, "not_available", None]
    gone = replace(early, message_id="W8", created_at="2026-03-02T00:00:00Z", takedown=True)
    assert send(stack, tmp_path / "a", gone, "382").outcome == "taken_down"
    assert asked() == ["not_available", "not_available", None]
    gone = replace(late, message_id="W9", created_at="2026-03-02T00:00:00Z", takedown=True)
    assert send(stack, tmp_path / "b", gone, "382").outcome == "taken_down"
    assert asked() == ["track_hidden"] * 3


def crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_people_correct_a_message(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = write(tmp_path / "resources" / "41.flac", chord(503, 3) * np.float32(1e-5), title=RUN)
    icpn = ean(int(RUN, 16) + 40)
    track = Sound("TBA", "FRZ032600041", "resources/41.flac", hashlib.sha256(silent.read_bytes()).hexdigest())
    done = send(stack, tmp_path, Sent(message_id="Q1", icpn=icpn, artist=ARTIST, sounds=(track,)))
    assert done.reason == "placeholder"
    key = next(
        row["digest"][:12]
        for row in wavehouse_json("ingest", "quarantine", "--limit", "100000")["messages"]
        if row["message_id"] == "Q1" and row["value"] and row["root"] == str(tmp_path)
    )
    assert [finding["code"] for finding in wavehouse_json("ingest", "inspect", key)["value"]] == [
        "placeholder",
        "silence",
    ]
    assert wavehouse("ingest", "fix", key, "--set", "A9.title=x", "--by", "ada", check=False).returncode == 65
    assert wavehouse("ingest", "fix", key, "--accept", "checksum_mismatch", "--by", "ada", check=False).returncode == 65
    wavehouse("ingest", "fix", key, "--set", "A1.title=Silence", "--by", "ada", "--note", "the label's mail")
    assert wavehouse("ingest", "release", key, "--by", "ada", check=False).returncode == 65
    assert released(stack, icpn) is None
    wavehouse("ingest", "fix", key, "--accept", "silence", "--by", "bo", "--note", "meant to be silent")
    # Killed before the audit entry, nothing is published.
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CatalogDb, "act_on_message", crash)
        deliveries.release_message(stack, key, actor="bo", note="", at=datetime.now(UTC))
    assert released(stack, icpn) is None
    assert wavehouse_json("ingest", "release", key, "--by", "bo")["outcome"] == "published"
    row = released(stack, icpn)
    assert row is not None
    assert [track.title for track in row.tracks] == ["Silence"]
    acts = [act for act in wavehouse_json("ingest", "actions") if act["object_key"].startswith(f"message:{key}")]
    assert [(act["action"], act["actor"]) for act in acts] == [("release", "bo"), ("fix", "bo"), ("fix", "ada")]
    assert wavehouse("ingest", "inspect", key, check=False).returncode == 65


def test_a_message_may_come_before_its_files(stack: Settings, tmp_path: Path) -> None:
    icpn = ean(int(RUN, 16) + 50)
    track = sound(tmp_path, "51 é.flac", 509, "Déposée", "FRZ032600051")
    late = (tmp_path / track.path).rename(tmp_path.parent / f"{RUN}.flac")
    (tmp_path / "m.xml").write_bytes(message(Sent(message_id="L1", icpn=icpn, artist=ARTIST, sounds=(track,)), "43"))

    def look() -> list[tuple[str, str | None]]:
        return [(done.outcome, done.reason) for done in deliveries.deliver(stack, str(tmp_path), only_new=True)]

    assert look() == [("rejected", "missing_resource")]
    assert look() == []  # nothing new beside it
    late.rename(tmp_path / track.path)
    assert look() == [("published", None)]
    assert look() == []


def test_the_same_bytes_in_two_folders_are_looked_at_once_each(stack: Settings, tmp_path: Path) -> None:
    icpn = ean(int(RUN, 16) + 52)
    sent = Sent(message_id="L2", icpn=icpn, artist=ARTIST, takedown=True)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.xml").write_bytes(message(sent, "43"))

    def look() -> list[tuple[str, str | None]]:
        return [(done.source, done.reason) for done in deliveries.deliver(stack, str(tmp_path), only_new=True)]

    assert look() == [("a/m.xml", "unknown_release"), ("b/m.xml", "unknown_release")]
    assert look() == []
    # Another message under a name takes the place of the former.
    track = sound(tmp_path / "a", "52.flac", 510, "Deux fois", "FRZ032600052")
    published = message(replace(sent, message_id="L3", takedown=False, sounds=(track,)), "43")
    (tmp_path / "a" / "m.xml").write_bytes(published)
    assert look() == [("a/m.xml", None)]
    with CatalogDb(stack) as db:
        rows = {row["source"]: row for row in db.deliveries() if row["root"] == str(tmp_path)}
        assert [rows[f"{name}/m.xml"]["outcome"] for name in "ab"] == ["published", "rejected"]
    # What was taken elsewhere is unchanged without its audio, and no longer refused.
    (tmp_path / "b" / "m.xml").write_bytes(published)
    assert look() == [("b/m.xml", None)]
    assert look() == []
    with CatalogDb(stack) as db:
        rows = {row["source"]: row for row in db.deliveries() if row["root"] == str(tmp_path)}
    assert [rows[f"{name}/m.xml"]["outcome"] for name in "ab"] == ["published", "unchanged"]


def test_a_delivery_that_has_landed(stack: Settings, tmp_path: Path) -> None:
    objects = Objects(stack)
    icpn, prefix = ean(int(RUN, 16) + 55), f"deliveries/{RUN}"
    track = sound(tmp_path, "55 é.flac", 511, "Arrivée", "FRZ032600055")
    (tmp_path / "m.xml").write_bytes(message(Sent(message_id="L5", icpn=icpn, artist=ARTIST, sounds=(track,)), "43"))
    objects.put(tmp_path / track.path, f"{prefix}/{track.path}")
    objects.put(tmp_path / "m.xml", f"{prefix}/m.xml")
    done = wavehouse_json("ingest", f"s3://landing/{prefix}")
    # The service that watches this prefix may have been faster.
    assert [one["outcome"] for one in done["deliveries"]] in (["published"], ["unchanged"])
    assert done["files"] == []
    assert "Arrivée" in titles(stack)


def test_a_takedown_hides_at_the_next_look(stack: Settings, tmp_path: Path) -> None:
    icpn = ean(int(RUN, 16) + 60)
    sent = Sent(message_id="T1", icpn=icpn, artist=ARTIST,
                sounds=(sound(tmp_path, "61.flac", 521, "Bientôt partie", "FRZ032600061"),))  # fmt: skip
    assert send(stack, tmp_path, sent).outcome == "published"
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "t.xml").write_bytes(purge(replace(sent, message_id="T2", created_at="2026-04-01T00:00:00Z"), "43"))
    stop, said = Event(), []

    def say(line: str) -> None:
        said.append(line)
        stop.set()

    intake.watch(stack, stop, address=str(inbox), every_s=0.1, say=say)
    assert said == ["t.xml: taken_down"]
    assert released(stack, icpn) is None
    assert "Bientôt partie" not in titles(stack)


def test_the_service_hides_within_a_minute_while_it_takes_in_audio(stack: Settings, tmp_path: Path) -> None:
    """The stack's own service, at its own interval, from the moment at which the takedown has landed."""
    objects, prefix = Objects(stack), f"deliveries/minute {RUN}"

    def deliver(name: str, number: int, seconds: int) -> Sent:
        path = write(tmp_path / name / "resources" / "1.flac", chord(560 + number, seconds), title=f"{RUN} {name}")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        track = Sound(f"Minute {name}", f"FRZ0326001{number:02}", "resources/1.flac", digest, f"PT{seconds}S")
        sent = Sent(message_id=f"Z{number}", icpn=ean(int(RUN, 16) + 70 + number), artist=ARTIST, sounds=(track,))
        (tmp_path / name / "m.xml").write_bytes(message(sent, "43"))
        objects.put(path, f"{prefix}/{name}/resources/1.flac")
        objects.put(tmp_path / name / "m.xml", f"{prefix}/{name}/m.xml")
        return sent

    def until(seen: bool, icpn: str, within_s: float) -> float:
        start = time.monotonic()
        while (released(stack, icpn) is not None) != seen:
            assert time.monotonic() - start < within_s
            time.sleep(0.5)
        return time.monotonic() - start

    sent = deliver("one", 0, 3)
    until(True, sent.icpn, 180)
    # So that the look that finds the takedown, or the one before it, has work to do.
    others = [deliver(f"work {number}", number, 120) for number in range(1, 6)]
    gone = tmp_path / "t.xml"
    gone.write_bytes(purge(replace(sent, message_id="Z9", created_at="2026-04-01T00:00:00Z"), "43"))
    objects.put(gone, f"{prefix}/gone/t.xml")
    assert until(False, sent.icpn, 60) < 60
    for other in others:  # what comes after this counts rows
        until(True, other.icpn, 300)


def many(folder: Path, number: int) -> tuple[Sound, ...]:
    """Tracks of three seconds of noise, which no codec makes small: a quarter of a megabyte each."""
    sounds = []
    for n in range(3):
        samples = np.random.default_rng(int(RUN[:8], 16) + number + n).normal(0, 0.1, 3 * 44_100).astype(np.float32)
        path = write(folder / "resources" / f"{n}.flac", samples, title=f"{RUN} {number} {n}")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sounds.append(Sound(f"Bruit {number + n}", f"FRZ0326002{number + n:02}", f"resources/{n}.flac", digest))
    return tuple(sounds)


def assert_published_by_the_next_look(stack: Settings, folder: Path, icpn: str) -> None:
    """All three tracks, and everything adds up."""
    [done] = deliveries.deliver(stack, str(folder), only_new=True)
    assert done.outcome == "published"
    row = released(stack, icpn)
    assert row is not None and len(row.tracks) == 3
    report = ingestion.report(stack)
    assert [check for check in report["checks"] if not check["equal"]] == []


def test_a_store_that_goes_away_in_the_middle_of_a_delivery_shows_nothing_and_the_next_try_all(
    stack: Settings, tmp_path: Path
) -> None:
    """It has taken the first file of three and is gone in the second."""
    sent = Sent(message_id="G1", icpn=ean(int(RUN, 16) + 90), artist=ARTIST, sounds=many(tmp_path, 0))
    (tmp_path / "m.xml").write_bytes(message(sent, "43"))
    sizes = [(tmp_path / sound.path).stat().st_size for sound in sent.sounds]
    before = rows_of(stack)
    with proxy(stack.s3.host, stack.s3.port, limit_bytes=max(sizes) * 3 // 2) as port:
        away = stack.model_copy(update={"s3": stack.s3.model_copy(update={"port": port})})
        with pytest.raises(RetryableError):
            deliveries.deliver(away, str(tmp_path))
    assert rows_of(stack) == before
    assert released(stack, sent.icpn) is None
    there = Objects(stack).names(AUDIO)
    assert sum(audio_name(str(sound.sha256)) in there for sound in sent.sounds) == 1
    assert_published_by_the_next_look(stack, tmp_path, sent.icpn)


def test_a_database_that_goes_away_in_the_middle_of_a_delivery_shows_nothing_and_the_next_try_all(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends every session of the catalogue when the rows of the release are written and not committed."""
    sent = Sent(message_id="G2", icpn=ean(int(RUN, 16) + 91), artist=ARTIST, sounds=many(tmp_path, 10))
    (tmp_path / "m.xml").write_bytes(message(sent, "43"))
    show = catalog_db._show_and_hide
    ended: list[int] = []

    def cut_off(connection: sa.Connection, content_ids: set[int], at: datetime) -> None:
        show(connection, content_ids, at)
        admin = sa.create_engine(stack.postgres.url("postgres"))
        query = (
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'catalog' and usename = 'catalog'"
        )
        with admin.begin() as other:
            ended.append(len(other.execute(sa.text(query)).all()))
        admin.dispose()

    before = rows_of(stack)
    with monkeypatch.context() as patch, pytest.raises(RetryableError):
        patch.setattr(catalog_db, "_show_and_hide", cut_off)
        deliveries.deliver(stack, str(tmp_path))
    assert ended[0] >= 1
    assert rows_of(stack) == before
    assert released(stack, sent.icpn) is None
    assert_published_by_the_next_look(stack, tmp_path, sent.icpn)


FEED = """<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"
 xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel><title>Ünder {run}</title><language>de</language>
<podcast:guid>{guid}</podcast:guid><itunes:author>Ada {run}</itunes:author><lastBuildDate>{built}</lastBuildDate>
<podcast:value type="lightning" method="keysend"><podcast:valueRecipient name="Ada" address="02d" split="90"/>
</podcast:value><item><title>{title}</title><guid>g1</guid><pubDate>Fri, 09 Jul 2021 08:00:00 +0200</pubDate>
<enclosure url="https://x.example/{run}/1.ogg?token=2" type="audio/ogg" length="1"/>
<podcast:chapters url="https://x.example/1.json" type="application/json+chapters"/>
<podcast:transcript url="https://x.example/1.vtt" type="text/vtt"/><podcast:person role="guest">Bo</podcast:person>
</item><item><title>Anderswo</title><guid>g2</guid><enclosure url="https://x.example/2.mp3" type="audio/mpeg"/></item>
<item><title>Ohne Ton</title></item></channel></rss>"""


def test_a_podcast(stack: Settings, tmp_path: Path) -> None:
    write(tmp_path / "1.ogg", chord(523, 3), title=RUN)
    guid = str(uuid4())
    values = {"run": RUN, "guid": guid, "title": "Eins", "built": "Fri, 09 Jul 2021 09:00:00 +0200"}

    def fed(**more: str) -> deliveries.Delivered:
        (tmp_path / "feed.xml").write_text(FEED.format(**values | more))
        [done] = deliveries.deliver(stack, str(tmp_path))
        return done

    done = fed()
    assert (done.outcome, done.release_key) == ("published", guid)
    assert [(f["resource"], f["code"]) for f in done.findings] == [("item 3", "missing_audio")]
    reader = CatalogReader(stack)
    show = next(row for row in reader.podcasts(after=None, limit=10_000) if row.title == f"Ünder {RUN}")
    assert show.attributes["tags"][1]["inner"][0]["attributes"] == {"name": "Ada", "address": "02d", "split": "90"}

    def episodes() -> dict[str, bool]:
        return {row.title: row.sha256 is not None for row in reader.episodes(show.content_id, after=None, limit=10)}

    assert episodes() == {"Eins": True, "Anderswo": False}
    first = reader.episodes(show.content_id, after=None, limit=1)[0]
    assert [first.attributes[name][0]["name"] for name in ("chapters", "transcripts", "persons")] == [
        "chapters", "transcript", "person",
    ]  # fmt: skip
    track = reader.track(first.content_id)
    assert track is not None
    assert (track.kind, track.duration_ms) == ("episode", 3000)
    # The same again changes nothing; a newer feed renames the episode that its guid names; an older one is refused.
    before = rows_of(stack)
    assert fed().outcome == "unchanged"
    assert rows_of(stack) == before
    assert fed(title="Eins, neu", built="Sat, 10 Jul 2021 09:00:00 +0200").outcome == "published"
    assert episodes() == {"Eins, neu": True, "Anderswo": False}
    assert rows_of(stack) == before
    assert fed(title="Eins, alt", built="Fri, 09 Jul 2021 10:00:00 +0200").reason == "out_of_order"
    assert episodes() == {"Eins, neu": True, "Anderswo": False}
    reader.close()
    report = ingestion.report(stack)
    assert [check for check in report["checks"] if not check["equal"]] == []


def test_audio_of_episodes_is_compared(stack: Settings, tmp_path: Path) -> None:
    """One episode in two encodings is noticed; a silent one is left out and told."""
    notes = np.random.default_rng(int(RUN[8:16], 16)).integers(0, 12, 40)
    tune = np.concatenate([chord(220 * 2 ** (note / 12), 0.5) for note in notes])
    for name in ("1.flac", "2.mp3"):
        write(tmp_path / name, tune, title=RUN)
    write(tmp_path / "3.flac", np.zeros(3 * 44_100, np.float32), title=f"{RUN} still")
    items = "".join(
        f"<item><title>Nr. {name[0]}</title><guid>g{name[0]}</guid>"
        f'<enclosure url="https://x.example/{RUN}/{name}" type="audio/x"/></item>'
        for name in ("1.flac", "2.mp3", "3.flac")
    )
    title = f"Doppelt {RUN}"
    (tmp_path / "feed.xml").write_text(f"<rss><channel><title>{title}</title>{items}</channel></rss>")
    [done] = deliveries.deliver(stack, str(tmp_path))
    assert (done.outcome, [(f["resource"], f["code"]) for f in done.findings]) == ("published", [("g3", "silence")])
    reader = CatalogReader(stack)
    show = next(row for row in reader.podcasts(after=None, limit=10_000) if row.title == title)
    ids = {row.content_id for row in reader.episodes(show.content_id, after=None, limit=10)}
    reader.close()
    with CatalogDb(stack) as db:
        found = [row for row in db.findings(limit=10_000) if row["content_id"] in ids]
    assert [row["code"] for row in found] == ["duplicate_recording"]
    assert {found[0]["content_id"], found[0]["other_content_id"]} == ids


def test_an_old_message_with_a_video(stack: Settings, tmp_path: Path) -> None:
    """Dated before ids begin; a wrong reference in the next one takes nothing down."""
    icpn = ean(int(RUN, 16) + 65)
    single = sound(tmp_path / "one", "51.flac", 577, "Ancienne", "FRZ032600051")
    sent = Sent(message_id="O1", icpn=f"0{icpn}", artist=ARTIST, created_at="2014-09-24T14:57:25+01:00",
                starts="2014-09-29", sounds=(single,), videos=("Clip",))  # fmt: skip
    done = send(stack, tmp_path / "one", sent, "42")
    assert (done.outcome, done.release_key) == ("published", icpn)
    assert {f["code"] for f in done.findings} == {"unsupported_resource"}
    wrong = message(replace(sent, message_id="O2", created_at="2014-09-25T00:00:00Z"), "42")
    (tmp_path / "one" / "message.xml").write_bytes(
        wrong.replace(b"<DealReleaseReference>R0<", b"<DealReleaseReference>R9<")
    )
    [refused] = deliveries.deliver(stack, str(tmp_path / "one"))
    assert refused.reason == "unmatched_deals"
    assert "Ancienne" in titles(stack)


def test_tagged_files_with_what_lies_beside_them(stack: Settings, tmp_path: Path) -> None:
    album = tmp_path / f"Album {RUN}"
    tags = {"artist": ARTIST, "album": f"Fichiers {RUN}"}
    write(album / "01 Eins.flac", chord(541, 3), title="Eins", **tags)
    (album / "01 Eins.lrc").write_text("[00:01.00]eins\n")
    (album / "merch.json").write_text('[{"title": "LP", "url": "https://shop.example/lp"}]')
    Image.new("RGB", (1500, 1500), int(RUN[:6], 16) & 0xFFFFFF).save(album / "cover.jpg")
    (tmp_path / f"Leer {RUN}").mkdir()
    (tmp_path / f"Leer {RUN}" / "cover.png").write_bytes(b"\x89PNG" + RUN.encode())
    target = tmp_path.parent / f"{RUN}.json"
    done = wavehouse("ingest", str(tmp_path), "--report", str(target), check=False)
    assert done.returncode == 65, done.stderr
    report = json.loads(target.read_text())
    # A picture without audio in its folder belongs to none, and is a file like any other.
    assert [(f["object_key"], f["outcome"], f["reason"]) for f in report["files"]] == [
        (f"Album {RUN}/01 Eins.flac", "accepted", None), (f"Leer {RUN}/cover.png", "rejected", "not_audio"),
    ]  # fmt: skip
    assert [(c["outcome"], c["reason"]) for c in report["companions"]] == [("published", None)] * 3
    reader = CatalogReader(stack)
    track = reader.track(report["files"][0]["content_id"])
    assert track is not None
    assert sorted(asset.kind for asset in reader.assets(track)) == ["artwork", "lyrics", "merch"]
    reader.close()
    # A picture for tracks without an album is told; XML of another kind makes no delivery of its folder.
    single = tmp_path / f"Ohne Album {RUN}"
    write(single / "02 Zwei.flac", chord(547, 3), title="Zwei", artist=ARTIST)
    (single / "merch.json").write_text('[{"title": "LP", "url": "https://shop.example/lp"}]')
    (single / "Library.xml").write_text(f"<plist>{RUN}</plist>")
    found = intake.take(stack, str(single))
    assert [outcome.reason for outcome in found.files] == [None, "not_audio"]
    assert [(c.outcome, c.reason) for c in found.companions] == [("rejected", "no_album")]
    shutil.rmtree(single)
    again = wavehouse_json("ingest", str(album.parent), check=False)
    assert [c["outcome"] for c in again["companions"]] == ["unchanged"] * 3


def test_what_landed_beside_audio_waits_for_whoever_takes_the_folder(stack: Settings, tmp_path: Path) -> None:
    """The DAG takes the audio and refuses none of the rest; whoever takes the folder attaches it."""
    album = tmp_path / f"Gelandet {RUN}"
    write(album / "01.flac", chord(557, 3), title="Gelandet", artist=ARTIST, album=album.name)
    (album / "01.lrc").write_text("[00:01.00]eins\n")
    Image.new("RGB", (1500, 1500), int(RUN[6:12], 16) & 0xFFFFFF).save(album / "cover.jpg")
    before = wavehouse_json("ingest", "report")
    assert wavehouse_json("ingest", "upload", str(tmp_path))["sent"] == 3
    batches = wavehouse_json("ingest", "list")["batches"]
    assert [key for batch in batches for key in batch if key.startswith(album.name)] == [f"{album.name}/01.flac"]
    assert [one.outcome for one in ingestion.process_batch(stack, [f"{album.name}/01.flac"])] == ["accepted"]
    after = wavehouse_json("ingest", "report")
    assert after["beside"] - before["beside"] == 2
    done = wavehouse_json("ingest", f"s3://landing/{album.name}")
    assert wavehouse_json("ingest", "report")["beside"] == before["beside"]
    assert sorted(c["outcome"] for c in done["companions"]) == ["published", "published"]
    reader = CatalogReader(stack)
    track = reader.track(done["files"][0]["content_id"])
    assert track is not None
    assert sorted(asset.kind for asset in reader.assets(track)) == ["artwork", "lyrics"]
    reader.close()
