"""Audio files on the real object store and database: every outcome, twice, at once, and after a crash."""

from __future__ import annotations

import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import mutagen
import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from minio import MinioAdmin
from minio.credentials import StaticProvider
from numpy.typing import NDArray
from urllib3 import HTTPHeaderDict

from lakehouse.adapters import catalog_db, deliveries, ingestion, lake, packaging
from lakehouse.adapters.catalog_db import CatalogDb, Landed, Outcome
from lakehouse.adapters.catalog_reader import CatalogReader
from lakehouse.adapters.objects import LANDING, PART_BYTES, Objects, etag_of
from lakehouse.config.settings import Settings
from lakehouse.domain.capacity import backlog
from lakehouse.domain.catalog.content import ContentKind, Item
from lakehouse.errors import RejectedInputError, RetryableError
from serving.backlog.app import create_app
from tests.asgi import get
from tests.audio_files import REJECTED, chord, clicks, write, write_bad_files
from tests.conftest import wavehouse, wavehouse_json
from tests.cut_off import proxy
from tests.ern_messages import Sent, Sound, message
from tests.unit.test_bad_audio import PROTECTED

pytestmark = pytest.mark.stack

#: Unlike those of an earlier run on a stack that was kept: the title makes every file's bytes new.
RUN = uuid4().hex
TAGS = {"title": f"Probe {RUN}", "artist": "Ingest Test", "album": "Tests"}


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in ("landed", "in", "accepted", "duplicate", "rejected")}


def land(stack: Settings, path: Path, key: str) -> Landed:
    objects = Objects(stack)
    objects.put(path, key)
    return objects.landed_one(key)


def balanced(stack: Settings) -> dict[str, Any]:
    report = ingestion.report(stack)
    assert [check for check in report["checks"] if not check["equal"]] == []
    assert report["waiting"] == 0
    return report


def test_a_folder_with_everything_wrong_in_it(stack: Settings, tmp_path: Path) -> None:
    base = tmp_path / f"ingest test - ünïcode {RUN}"
    first = write(base / "Ein Künstler" / "Stück 1.ogg", chord(431, 3), **TAGS)
    (base / "Ein Künstler" / "dasselbe nochmal.ogg").write_bytes(first.read_bytes())
    write(base / "日本" / "曲 [2].flac", chord(433, 3), **TAGS)
    write_bad_files(base / "bad")
    files = sum(1 for path in base.rglob("*") if path.is_file())
    wavehouse("ingest", "run")
    before = balanced(stack)

    assert wavehouse_json("ingest", "upload", str(tmp_path))["sent"] == files
    assert wavehouse_json("ingest", "upload", str(tmp_path))["unchanged"] == files
    listed = wavehouse_json("ingest", "list", "--batch-size", "5")
    assert listed["waiting"] == files == sum(map(len, listed["batches"]))
    assert max(map(len, listed["batches"])) == 5
    done = wavehouse_json("ingest", "run")
    refused = sum(REJECTED.values())
    assert done == {
        "in": files, "accepted": 2, "duplicate": 1, "rejected": refused, "rejected_by_reason": REJECTED,
    }  # fmt: skip

    after = balanced(stack)
    assert difference(before, after) == {
        "landed": files, "in": files, "accepted": 2, "duplicate": 1, "rejected": refused,
    }  # fmt: skip
    assert wavehouse_json("ingest", "run")["in"] == 0
    assert wavehouse_json("ingest", "batch", *listed["batches"][0])["in"] == 5  # what is done stays as it is
    assert difference(after, balanced(stack)) == dict.fromkeys(("landed", "in", "accepted", "duplicate", "rejected"), 0)


def test_the_copy_in_the_lake_changes_only_with_the_catalogue(stack: Settings, tmp_path: Path) -> None:
    wavehouse("catalog", "snapshot")
    assert not wavehouse_json("catalog", "snapshot")["changed"]
    path, mbid = write(tmp_path / "s.ogg", chord(437, 3), **TAGS), str(uuid4())
    file = mutagen.File(path)
    file["MUSICBRAINZ_TRACKID"] = mbid
    file.save()
    ingestion.process_batch(stack, [land(stack, path, "snap.ogg").object_key])
    snapshot = wavehouse_json("catalog", "snapshot")
    assert snapshot["changed"]
    assert snapshot["rows"] == balanced(stack)["accepted"]
    assert lake.read(stack, "bronze.catalog_content", where=f"recording_mbid == '{mbid}'").num_rows == 1


def test_the_same_audio_under_many_names_at_once_is_one_object(stack: Settings, tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", chord(439, 3), **TAGS)
    landed = [land(stack, path, f"race/{number}.ogg") for number in range(6)]
    objects = Objects(stack)
    with CatalogDb(stack) as db, ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda thing: ingestion.process(objects, db, thing), landed))
    assert sorted(outcome.outcome for outcome in outcomes) == ["accepted", *["duplicate"] * 5]
    assert len({outcome.content_id for outcome in outcomes}) == 1
    balanced(stack)


def test_a_crash_between_object_and_row_loses_nothing(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed = land(stack, write(tmp_path / "a.ogg", chord(443, 3), **TAGS), "crash/a.ogg")
    objects = Objects(stack)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with CatalogDb(stack) as db:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(catalog_db, "_record", crash)
            ingestion.process(objects, db, landed)
        assert db.outcome(landed) is None
        assert ingestion.process(objects, db, landed).outcome == "accepted"
    balanced(stack)


def test_a_mended_file_under_the_same_name_is_taken(stack: Settings, tmp_path: Path) -> None:
    key = "mended/a.ogg"
    bad = land(stack, write(tmp_path / "bad.ogg", chord(449, 3)), key)
    assert [outcome.reason for outcome in ingestion.process_batch(stack, [key])] == ["missing_tags"]
    good = land(stack, write(tmp_path / "good.ogg", chord(449, 3), **TAGS), key)
    assert good.etag != bad.etag
    assert [outcome.outcome for outcome in ingestion.process_batch(stack, [key])] == ["accepted"]


def test_an_unknown_key_is_a_clear_error(stack: Settings) -> None:
    done = wavehouse("ingest", "batch", "no such file.ogg", check=False)
    assert done.returncode == 65
    assert "no such file.ogg" in done.stderr
    assert "Traceback" not in done.stderr
    done = wavehouse("ingest", "upload", "/no/such/folder", check=False)
    assert done.returncode == 65


def columns(db: CatalogDb) -> list[tuple[str, str]]:
    query = sa.text(
        "select table_name, column_name from information_schema.columns where table_schema = 'catalog' order by 1, 2"
    )
    with db.begin() as connection:
        return [(row[0], row[1]) for row in connection.execute(query)]


def test_a_new_medium_needs_no_schema_change(stack: Settings) -> None:
    """NFR-EXT1: an audiobook is a row in content_kind, then items of it with their own attributes."""
    book = ContentKind(
        kind="audiobook_test",
        description="A book that is read aloud",
        attributes_schema={
            "type": "object",
            "required": ["narrator"],
            "properties": {"narrator": {"type": "string"}, "chapters": {"type": "integer"}},
        },
        needs_audio=False,
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with CatalogDb(stack) as db:
        before = columns(db)
        db.put_kind(book)
        item = Item(kind=book.kind, title="A Book", artist="A Writer", attributes={"narrator": "N", "chapters": 12})
        assert db.put_item(item, at=at) == db.put_item(item, at=at)
        with pytest.raises(RejectedInputError) as caught:
            db.put_item(Item(kind=book.kind, title="Another", artist="A Writer"), at=at)
        assert caught.value.reason == "invalid_attributes"
        assert columns(db) == before
        with db.begin() as connection:
            connection.execute(sa.delete(catalog_db.content).where(catalog_db.content.c.kind == book.kind))
            connection.execute(sa.delete(catalog_db.content_kind).where(catalog_db.content_kind.c.kind == book.kind))


def test_a_track_without_audio_is_refused(stack: Settings) -> None:
    with CatalogDb(stack) as db, pytest.raises(RejectedInputError) as caught:
        db.put_item(Item(kind="track", title="T", artist="A"), at=datetime(2026, 1, 1, tzinfo=UTC))
    assert caught.value.reason == "missing_audio"


def test_migrations_make_the_tables_that_the_code_uses(stack: Settings) -> None:
    assert catalog_db.migrate(stack) == []
    with CatalogDb(stack) as db, db.begin() as connection:
        # The role's own schema is first on its search path; reflection names a schema only where it is not the default.
        connection.execute(sa.text("set local search_path to public"))
        connection.dialect.default_schema_name = "public"
        options = {
            "include_schemas": True,
            "compare_type": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == catalog_db.SCHEMA,
            "version_table_schema": catalog_db.SCHEMA,
            # Alembic compares the words of an expression, which PostgreSQL stores in its own.
            "include_object": lambda _object, name, *_: name != "content_title_ix",
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, catalog_db.metadata) == []


def test_features_of_what_was_ingested(stack: Settings, tmp_path: Path) -> None:
    """Spark extracts what is new, once; see tests/integration/test_extract_features.py for what fails."""
    audio = chord(220, 8) + clicks(120, 8)
    key = land(stack, write(tmp_path / "f.ogg", audio, **TAGS), "features/f.ogg").object_key
    [outcome] = ingestion.process_batch(stack, [key])
    wavehouse("catalog", "snapshot")
    waiting = wavehouse_json("features", "pending")["pending"]
    assert waiting >= 1
    done = wavehouse_json("features", "extract")
    assert done == {"in": waiting, "extracted": waiting, "failed": 0}
    assert wavehouse("features", "pending", "--skip-when-none", check=False).returncode == 99
    assert wavehouse_json("features", "extract")["in"] == 0
    from lakehouse.adapters import lake

    rows = lake.read(stack, "silver_audit.audio_features", where=f"sha256 = '{outcome.sha256}'").to_pylist()
    assert [row["track_id"] for row in rows] == [outcome.content_id]
    assert rows[0]["tempo_bpm"] == pytest.approx(120, rel=0.02)
    assert (rows[0]["musical_key"], rows[0]["musical_mode"]) == ("A", "major")


def test_what_waits_is_counted_for_people_and_for_the_scaler(stack: Settings, tmp_path: Path) -> None:
    wavehouse("ingest", "run")
    assert wavehouse_json("ingest", "backlog")["files"] == 0
    landed = land(stack, write(tmp_path / "b.ogg", chord(453, 3), **TAGS), f"backlog {RUN}/b.ogg")
    told = wavehouse_json("ingest", "backlog")
    assert (told["files"], told["size_bytes"]) == (1, landed.size_bytes)
    assert told["core_s"] > 0 and told["oldest_age_s"] >= 0 and told["deliveries"] >= 0
    service = create_app(stack)
    assert get(service, "/v1/backlog").json()[backlog.SCALED] == pytest.approx(told["core_s"])
    [outcome] = ingestion.process_batch(stack, [landed.object_key])
    assert outcome.outcome == "accepted"
    wavehouse("catalog", "snapshot")
    waiting = wavehouse_json("features", "pending")
    assert waiting["pending"] >= 1 and waiting["audio_s"] >= 3 and waiting["oldest_age_s"] > 0
    features = get(service, "/v1/backlog/features").json()
    assert features["wavehouse_features_backlog_recordings"] == waiting["pending"]


def test_an_object_that_is_replaced_while_it_is_read_is_tried_again(stack: Settings, tmp_path: Path) -> None:
    old = land(stack, write(tmp_path / "a.ogg", chord(451, 3), **TAGS), "replaced/a.ogg")
    new = tmp_path / "new"
    new.write_bytes(b"x")
    Objects(stack).put(new, old.object_key)
    with CatalogDb(stack) as db, pytest.raises(RetryableError):
        ingestion.process(Objects(stack), db, old)
    assert [outcome.reason for outcome in ingestion.process_batch(stack, [old.object_key])] == ["not_audio"]


def test_a_file_in_parts_comes_back_as_it_was_and_the_store_has_checked_it(stack: Settings, tmp_path: Path) -> None:
    """Two whole parts and a bit; the checksum that the store answers with is of the whole object."""
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(range(256)) * ((2 * PART_BYTES + 256) // 256))
    objects = Objects(stack)
    landed = land(stack, path, f"parts {RUN}/large.bin")
    assert landed.etag == etag_of(path)
    objects.fetch(landed, tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == path.read_bytes()
    found = objects._client.stat_object(
        LANDING, landed.object_key, extra_headers=HTTPHeaderDict({"x-amz-checksum-mode": "ENABLED"})
    )
    assert found.metadata["x-amz-checksum-type"] == "FULL_OBJECT"
    assert found.metadata["x-amz-checksum-crc64nvme"]
    assert ingestion.process_batch(stack, [landed.object_key])[0].reason == "not_audio"


def test_bad_files_harm_no_other_of_the_delivery(stack: Settings, tmp_path: Path) -> None:
    """Each has its reason and is kept; the good ones around them, with names of every kind, are accepted."""
    base = f"mixed {RUN}"
    names = [
        "a very long name " + "x" * 225 + ".ogg",
        "Zoë \u200f\u05e9\u05d9\u05e8 👩\u200d🎤.flac",
        "#1 100% [live]?.wav",
    ]
    for number, name in enumerate(names):
        write(tmp_path / base / name, chord(460 + number, 3), **TAGS)
    bad = {"shop.m4p": PROTECTED["fairplay.m4p"], "empty.wav": b"", "cut.flac": b"fLaC" + bytes(200)}
    for name, data in bad.items():
        (tmp_path / base / name).write_bytes(data)
    assert wavehouse_json("ingest", "upload", str(tmp_path))["sent"] == 6
    keys = [f"{base}/{name}" for name in (*names, *bad)]
    outcomes = {o.object_key: (o.outcome, o.reason) for o in ingestion.process_batch(stack, keys)}
    assert [outcomes[f"{base}/{name}"] for name in names] == [("accepted", None)] * 3
    assert [outcomes[f"{base}/{name}"][1] for name in bad] == ["protected", "zero_byte", "undecodable"]
    balanced(stack)


def test_a_full_landing_bucket_is_tried_again(stack: Settings, tmp_path: Path) -> None:
    root = StaticProvider(stack.s3.root_user, stack.s3.root_password.get_secret_value())
    admin = MinioAdmin(endpoint=stack.s3.address, credentials=root, region=stack.s3.region, secure=False)
    key = f"full {RUN}/large.bin"
    path = tmp_path / "large.bin"
    path.write_bytes(b"x" * (PART_BYTES + 1))
    objects = Objects(stack)
    admin.bucket_quota_set(LANDING, 1 << 20)
    try:
        with pytest.raises(RetryableError, match="s3://landing is full"):
            objects.put(path, key)
        assert key not in objects.names(LANDING, f"full {RUN}/")
    finally:
        admin.bucket_quota_clear(LANDING)
    objects.put(path, key)
    assert objects.landed_one(key).etag == etag_of(path)
    assert ingestion.process_batch(stack, [key])[0].reason == "not_audio"


def test_workers_take_each_file_once(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several at once, as the cluster runs them; what the one has the other leaves."""
    wavehouse("ingest", "run")
    keys = [f"workers {RUN}/{number}.ogg" for number in range(6)]
    for number, key in enumerate(keys):
        land(stack, write(tmp_path / "w.ogg", chord(600 + number, 3), **TAGS), key)
    stop, done, taken, said = Event(), Event(), list[str](), list[str]()
    process = ingestion.process

    def counted(objects: Objects, db: CatalogDb, landed: Landed) -> Outcome:
        taken.append(landed.object_key)
        return process(objects, db, landed)

    def told() -> list[str]:
        return sorted(line for line in said if line.startswith(f"workers {RUN}/"))

    def say(line: str) -> None:
        said.append(line)
        if len(told()) >= len(keys):
            done.set()

    monkeypatch.setattr(ingestion, "process", counted)
    with ThreadPoolExecutor(3) as pool:
        try:
            workers = [
                pool.submit(ingestion.work, stack, stop, every_s=0.1, worker=name, say=say) for name in ("a", "b", "c")
            ]
            assert done.wait(120), said
        finally:
            stop.set()
    assert [worker.result() for worker in workers] == [None] * 3
    assert sorted(key for key in taken if key in keys) == keys
    assert told() == [f"{key}: accepted" for key in keys]
    balanced(stack)


def test_a_burst_through_the_queue_is_all_in_the_ledger(stack: Settings) -> None:
    """The smallest burst: the figures are for a quiet machine, what became of the files is not."""
    wavehouse("ingest", "run")
    seed = int(RUN[:7], 16)
    small = ("--files", "12", "--seconds", "5", "--workers", "2", "--factor", "1000", "--seed", str(seed))
    told = wavehouse_json("bench", "burst", *small)
    assert (told["files"], told["lost"], told["outcomes"]) == (12, 0, {"accepted": 12})
    assert told["service_s"] > 0 and told["compression"] > 1
    assert told["delay_p99_s"]["real"] >= told["delay_p50_s"]["real"] >= 0
    assert balanced(stack)["waiting"] == 0


def test_a_store_that_goes_away_in_the_middle_holds_nothing_by_halves(stack: Settings, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(range(256)) * (4 * PART_BYTES // 256))
    key = f"away {RUN}/large.bin"
    with proxy(stack.s3.host, stack.s3.port, limit_bytes=2 * PART_BYTES) as port:
        away = stack.model_copy(update={"s3": stack.s3.model_copy(update={"port": port})})
        with pytest.raises(RetryableError, match="does not answer"):
            Objects(away).put(path, key)
    objects = Objects(stack)
    assert objects.names(LANDING, f"away {RUN}/") == set()
    objects.put(path, key)
    landed = objects.landed_one(key)
    assert landed.etag == etag_of(path)
    with proxy(stack.s3.host, stack.s3.port, limit_bytes=PART_BYTES) as port:
        away = stack.model_copy(update={"s3": stack.s3.model_copy(update={"port": port})})
        with CatalogDb(stack) as db, pytest.raises(RetryableError):
            ingestion.process(Objects(away), db, landed)
    assert [outcome.reason for outcome in ingestion.process_batch(stack, [key])] == ["not_audio"]
    balanced(stack)


def test_a_database_that_goes_away_in_the_middle_has_nothing_double(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed = land(stack, write(tmp_path / "a.ogg", chord(479, 3), **TAGS), f"gone {RUN}/a.ogg")
    objects = Objects(stack)
    keep = objects.keep_audio

    def cut_off(*arguments: Any) -> str:
        """The object is kept; then the server ends every session of the catalogue."""
        kept = keep(*arguments)
        admin = sa.create_engine(stack.postgres.url("postgres"))
        query = (
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'catalog' and usename = 'catalog'"
        )
        with admin.begin() as connection:
            assert connection.execute(sa.text(query)).all()
        admin.dispose()
        return kept

    with CatalogDb(stack) as db:
        with monkeypatch.context() as patch, pytest.raises(RetryableError):
            patch.setattr(objects, "keep_audio", cut_off)
            ingestion.process(objects, db, landed)
        first = ingestion.process(objects, db, landed)
        assert first.outcome == "accepted"
        assert ingestion.process(objects, db, landed).content_id == first.content_id
    balanced(stack)


def test_the_same_recording_in_another_encoding_is_noticed_and_not_merged(stack: Settings, tmp_path: Path) -> None:
    """FLAC, then MP3 and Ogg of one tune, and another tune: each is a track, and people are told which are the same."""
    notes = np.random.default_rng(int(RUN[:8], 16)).integers(0, 12, (2, 40))
    tunes = [np.concatenate([chord(220 * 2 ** (note / 12), 0.5) for note in tune]) for tune in notes]
    files = [("one.flac", 0), ("one.mp3", 0), ("one.ogg", 0), ("other.flac", 1)]
    keys = [f"tunes {RUN}/{name}" for name, _ in files]
    for key, (name, tune) in zip(keys, files, strict=True):
        land(stack, write(tmp_path / name, tunes[tune], **TAGS), key)
    ids = [outcome.content_id for outcome in ingestion.process_batch(stack, keys)]
    assert len(set(ids)) == 4
    ingestion.process_batch(stack, keys)
    found = [row for row in wavehouse_json("ingest", "findings", "--limit", "1000") if row["content_id"] in ids]
    assert {(row["code"], row["content_id"], row["other_content_id"]) for row in found} == {
        ("duplicate_recording", ids[1], ids[0]),
        ("duplicate_recording", ids[2], ids[0]),
        ("duplicate_recording", ids[2], ids[1]),
    }
    assert len(found) == 3
    balanced(stack)


def isrc(number: int) -> str:
    """Of this run alone; `number` below 10."""
    return f"QZ{RUN[:3].upper()}{int(RUN[3:9], 16) % 1_000_000:06}{number}"


def findings_of(*ids: int | None) -> set[tuple[str, int, int | None, str | None]]:
    rows = wavehouse_json("ingest", "findings", "--limit", "1000")
    return {
        (row["code"], row["content_id"], row["other_content_id"], str(row["value"]) if row["value"] else None)
        for row in rows
        if row["content_id"] in ids
    }


def tune(number: int, seconds: int) -> NDArray[np.float32]:
    """Of this run alone: two notes a second, by `number`."""
    notes = np.random.default_rng([int(RUN[:8], 16), number]).integers(0, 12, 2 * seconds)
    return np.concatenate([chord(220 * 2 ** (note / 12), 0.5) for note in notes])


@pytest.mark.parametrize(("number", "seconds"), [(1, 2), (2, 4), (3, 12)])
def test_one_isrc_for_two_recordings_is_noticed(stack: Settings, tmp_path: Path, number: int, seconds: int) -> None:
    """However short they are; neither is held back. Of less than three seconds nothing is known but the length."""
    keys = [f"isrc {RUN}/{number}-{extra}.flac" for extra in range(2)]
    for extra, key in enumerate(keys):
        samples = tune(10 * number + extra, seconds + extra)
        land(stack, write(tmp_path / "i.flac", samples, isrc=isrc(number), **TAGS), key)
    first, second = (outcome.content_id for outcome in ingestion.process_batch(stack, keys))
    assert findings_of(first, second) == {("isrc_reused", second, first, None)}
    balanced(stack)


def test_one_recording_with_two_isrcs_is_noticed(stack: Settings, tmp_path: Path) -> None:
    """In another encoding; and the same bytes, whose second ISRC comes in a message."""
    keys = [f"isrcs {RUN}/{name}" for name in ("a.flac", "a.mp3")]
    for number, key in enumerate(keys, 7):
        land(stack, write(tmp_path / Path(key).name, tune(50, 20), isrc=isrc(number), **TAGS), key)
    first, second = (outcome.content_id for outcome in ingestion.process_batch(stack, keys))
    assert findings_of(first, second) == {
        ("duplicate_recording", second, first, None),
        ("recording_two_isrcs", second, first, None),
    }
    path = tmp_path / "a.flac"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    body = f"{int(RUN, 16) % 10**12:012}"
    check = -sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(body)) % 10
    single = Sound("Zweimal", isrc(9), "a.flac", digest, duration="PT20S")
    sent = Sent(icpn=f"{body}{check}", message_id=RUN, artist="Ingest Test", sounds=(single,))
    (tmp_path / "m.xml").write_bytes(message(sent, "42"))
    [done] = deliveries.deliver(stack, str(tmp_path))
    assert (done.outcome, done.reason) == ("published", None)
    both = str(sorted([isrc(7), isrc(9)]))
    assert ("recording_two_isrcs", first, None, both) in findings_of(first)
    balanced(stack)


def test_tags_are_mended_or_refused_by_the_rules(stack: Settings, tmp_path: Path) -> None:
    good, bad = f"tags {RUN}/good.flac", f"tags {RUN}/bad.flac"
    spoilt = {"title": f"BjÃ¶rk {RUN} (feat. Bo)", "artist": "Ingest  Test", "album": "Unknown Album"}
    land(stack, write(tmp_path / "g.flac", chord(613, 3), **spoilt), good)
    land(stack, write(tmp_path / "b.flac", chord(617, 3), **TAGS | {"artist": "Unknown Artist"}), bad)
    taken, refused = ingestion.process_batch(stack, [good, bad])
    assert (taken.outcome, refused.reason) == ("accepted", "placeholder")
    reader = CatalogReader(stack)
    assert taken.content_id is not None
    track = reader.track(taken.content_id)
    reader.close()
    assert track is not None
    assert (track.title, track.artist_name) == (f"Björk {RUN}", "Ingest Test")
    assert track.attributes["featured"] == ["Bo"]
    assert {code for code, *_ in findings_of(taken.content_id)} == {
        "mojibake", "featured_in_title", "untidy_text", "placeholder",
    }  # fmt: skip
    # Somebody may be called so; no wrong identifier may be passed over.
    assert wavehouse("ingest", "fix", bad, "--accept", "invalid_isrc", "--by", "ada", check=False).returncode == 65
    wavehouse("ingest", "fix", bad, "--accept", "placeholder", "--by", "ada", "--note", "asked the label")
    assert wavehouse_json("ingest", "release", bad, "--by", "ada")["outcome"] == "accepted"
    balanced(stack)


def test_silence_and_clipping_are_kept_as_findings(stack: Settings, tmp_path: Path) -> None:
    silent = np.zeros(3 * 44_100, np.float32)
    silent[int(RUN[:4], 16)] = 0.5  # bytes of its own
    land(stack, write(tmp_path / "s.flac", silent, **TAGS), f"sound {RUN}/silent.flac")
    land(stack, write(tmp_path / "c.flac", 9 * chord(440, 3), **TAGS), f"sound {RUN}/clipped.flac")
    keys = [f"sound {RUN}/silent.flac", f"sound {RUN}/clipped.flac"]
    ids = [outcome.content_id for outcome in ingestion.process_batch(stack, keys)]
    found = {row["content_id"]: row for row in wavehouse_json("ingest", "findings", "--limit", "1000")}
    assert [found[content_id]["code"] for content_id in ids] == ["silence", "clipping"]
    assert found[ids[0]]["value"] > 0.99


@pytest.mark.parametrize(("suffix", "source"), [(".flac", True), (".ogg", False), (".wav", True), (".mp3", True)])
def test_a_package_plays_as_long_as_its_track_and_is_made_once(
    stack: Settings, tmp_path: Path, suffix: str, source: bool
) -> None:
    path = write(tmp_path / f"p{suffix}", chord(300, 13), **TAGS)
    key = land(stack, path, f"package {RUN}/p{suffix}").object_key
    [outcome] = ingestion.process_batch(stack, [key])
    [made] = wavehouse_json("package", str(outcome.content_id))
    assert made["outcome"] == "made"
    assert -40 < made["loudness_lufs"] < 0
    assert wavehouse_json("package", str(outcome.content_id)) == [{**made, "outcome": "there"}]
    prefix = made["address"].removeprefix("s3://playback/")
    objects = Objects(stack)
    names = objects.names("playback", prefix)
    for name in names:
        target = tmp_path / "package" / name.removeprefix(prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        objects._receive("playback", name, target)
    rungs = {name.removeprefix(prefix).split("/")[0] for name in names} - {"main.m3u8"}
    assert rungs == {"aac-64", "aac-128", "aac-256"} | ({"source"} if source else set())
    for rung in rungs:
        assert seconds_of(tmp_path / "package" / rung / "stream.m3u8") == pytest.approx(13, abs=0.15)
    assert seconds_of(tmp_path / "package" / "main.m3u8") == pytest.approx(13, abs=0.15)


def test_an_encrypted_package_opens_with_its_key_alone(stack: Settings, tmp_path: Path) -> None:
    key = land(stack, write(tmp_path / "e.flac", chord(310, 13), **TAGS), f"package {RUN}/e.flac").object_key
    [outcome] = ingestion.process_batch(stack, [key])
    [made] = wavehouse_json("package", str(outcome.content_id), "--encrypt")
    prefix = made["address"].removeprefix("s3://playback/")
    objects = Objects(stack)
    for name in objects.names("playback", prefix):
        target = tmp_path / "package" / name.removeprefix(prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        objects._receive("playback", name, target)
    playlist = tmp_path / "package" / "aac-128" / "stream.m3u8"
    table = catalog_db.playback_package
    with CatalogDb(stack) as db, db.begin() as connection:
        kept = connection.scalar(sa.select(table.c.wrapped_key).where(table.c.address == made["address"]))
    aes = packaging.unwrapped(packaging.wrapping_key(stack), kept)
    assert aes not in kept
    (tmp_path / "package" / "key").write_bytes(bytes(16))
    assert seconds_of(playlist, "-allowed_extensions", "ALL") == 0.0
    (tmp_path / "package" / "key").write_bytes(aes)
    assert seconds_of(playlist, "-allowed_extensions", "ALL") == pytest.approx(13, abs=0.15)


def seconds_of(playlist: Path, *options: str) -> float:
    """How long ffmpeg's own player decodes a playlist; 0 when it can't."""
    command = ["ffmpeg", "-v", "error", *options, "-i", str(playlist), "-map", "0:a:0", "-f", "s16le", "-ac", "1",
               "-ar", "8000", "-"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return len(done.stdout) / 16_000
