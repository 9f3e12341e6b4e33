"""Release deliveries on the real store and database: whole or not at all, in order, hidden by a takedown, kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from lakehouse.adapters import catalog_db, deliveries, ingestion
from lakehouse.adapters.catalog_db import CatalogDb
from lakehouse.adapters.catalog_reader import CatalogReader
from lakehouse.adapters.objects import Objects
from lakehouse.config.settings import Settings
from tests.audio_files import chord, write
from tests.conftest import wavehouse, wavehouse_json
from tests.ern_messages import Sent, Sound, message

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
    tables = (catalog_db.content, catalog_db.release_version, catalog_db.availability, catalog_db.ingest_ledger)
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
    (tmp_path / "b" / "m.xml").write_bytes(
        message(Sent(message_id="B1", icpn=OTHER_ICPN, sounds=(good,), artist=ARTIST), "42")
    )
    target = tmp_path / "outcome.json"
    done = wavehouse("ingest", "deliver", str(tmp_path), "--report", str(target), check=False)
    assert done.returncode == 65
    assert {(row["outcome"], row["reason"]) for row in json.loads(target.read_text())} == {
        ("published", None), ("rejected", "xml_forbidden"),
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
