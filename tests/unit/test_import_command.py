"""`wavehouse import listens` as a whole, into a broker in memory: counts, report, progress, time zone, memory."""

from __future__ import annotations

import json
import random
import sys
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from rich.console import Console

from lakehouse.adapters import kafka, lake, listen_sender, listens
from lakehouse.adapters.listen_sender import ListenSender
from lakehouse.adapters.listens import Counts, Index, _balance, known_listens
from lakehouse.cli import imports, main
from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.contracts import load
from lakehouse.domain.listening.imports import Heard, Listen
from lakehouse.errors import FatalError
from tests.memory import measured

AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
USER = 42
Run = Callable[..., Any]


class Broker:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def __call__(self, settings: object) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, topic: str, record: Mapping[str, Any]) -> None:
        assert topic == "listens"
        self.records.append(dict(record))

    def flush(self) -> None:
        pass


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """An installation without engines, whose lake has what was sent."""
    made = Broker()

    def known(catalog: object, index: Index, user_id: int) -> None:
        for record in made.records:
            index.add(Heard.of(record["listened_at"], record["source"], record["recording_key"], record["isrc"]))

    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(kafka, "EventProducer", made)
    monkeypatch.setattr(lake, "catalog", lambda settings: None)
    monkeypatch.setattr(listens, "await_arrival", lambda settings: None)
    monkeypatch.setattr(listens, "known_listens", known)
    return made


@pytest.fixture
def run(broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process; the JSON it prints, and what it told people."""

    def command(path: Path, service: str, *more: str) -> tuple[dict[str, Any], str]:
        arguments = ["import", "listens", str(path), "--format", service, "--user", str(USER), "--json", *more]
        monkeypatch.setattr(sys, "argv", ["wavehouse", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        shown = capsys.readouterr()
        return (json.loads(shown.out) if shown.out else {}) | {"code": ended.value.code or 0}, shown.err

    return command


def brainz(second: int, title: str, **more: object) -> str:
    track = {"artist_name": "Björk", "track_name": title}
    return json.dumps({"listened_at": int(AT.timestamp()) + second, "track_metadata": track} | more) + "\n"


def test_every_row_has_its_line_and_importing_again_adds_nothing(tmp_path: Path, broker: Broker, run: Run) -> None:
    path, report = tmp_path / "1.jsonl", tmp_path / "report.jsonl"
    path.write_text("".join([brainz(0, "a"), "{broken\n", brainz(0, "a"), brainz(90, "a"), brainz(10**9, "b")]))
    done, _ = run(path, "listenbrainz", "--report", str(report))
    assert {name: done[name] for name in ("code", "rows", "imported", "duplicates", "rejected", "unread")} == {
        "code": 0, "rows": 5, "imported": 2, "duplicates": 1, "rejected": 2, "unread": 0,
    }  # fmt: skip
    *each, sums = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["outcome"] for line in each] == ["imported", "rejected", "duplicate", "imported", "rejected"]
    assert sums["rejected_by_reason"] == {"broken_json": 1, "time_in_future": 1}
    assert [record["user_id"] for record in broker.records] == [USER] * 2
    again, _ = run(path, "listenbrainz")
    assert (again["imported"], again["duplicates"], len(broker.records)) == (0, 3, 2)


def test_one_import_takes_the_listens_of_one_user(tmp_path: Path, broker: Broker, run: Run) -> None:
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "1.listens").write_text(brainz(0, "a", user_name="alice") + brainz(0, "b", user_name="bob"))
    (folder / "2.listens").write_text(brainz(300, "c", user_name="bob") + brainz(300, "d", user_name="alice"))
    done, told = run(folder, "listenbrainz")
    assert [record["title"] for record in broker.records] == ["a", "d"]
    assert (done["rows"], done["rejected_by_reason"]) == (4, {"other_user": 2})
    assert "--from-user" in told
    broker.records.clear()
    done, told = run(folder, "listenbrainz", "--from-user", "bob")
    assert [record["title"] for record in broker.records] == ["b", "c"]
    assert "--from-user" not in told
    assert run(folder, "lastfm", "--from-user", "bob")[0]["code"] == 2


def test_times_without_a_zone_are_those_of_the_zone_that_is_given(tmp_path: Path, broker: Broker, run: Run) -> None:
    path = tmp_path / "lastfm.csv"
    path.write_text("A,B,C,01 Jul 2024 12:00\n")
    assert run(path, "lastfm", "--timezone", "Europe/Stockholm")[0]["imported"] == 1
    assert run(path, "lastfm")[0]["imported"] == 1
    assert [record["listened_at"].hour for record in broker.records] == [10, 12]
    assert run(path, "lastfm", "--timezone", "Mars/Olympus")[0]["code"] == 65


def test_rows_that_parquet_has_and_cannot_give_are_told(tmp_path: Path, broker: Broker, run: Run) -> None:
    path = tmp_path / "1.parquet"
    numbers = [str(random.Random(number).random()) for number in range(20)]
    at = pa.array([AT] * 20, pa.timestamp("ms"))
    table = pa.table({"listened_at": at, "artist_name": numbers, "recording_name": numbers})
    pq.write_table(table, path, row_group_size=10, use_dictionary=False, compression="gzip")
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = bytes(
        column.total_compressed_size
    )
    path.write_bytes(content)
    done, told = run(path, "listenbrainz")
    assert (done["rows"], done["imported"], done["rejected"], done["unread"]) == (11, 10, 1, 9)
    assert "9 more rows" in told


def test_a_damaged_archive_is_told_and_the_other_files_are_kept(tmp_path: Path, broker: Broker, run: Run) -> None:
    path = tmp_path / "export.zip"
    noise = random.Random(1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("1.jsonl", "2.jsonl"):
            archive.writestr(name, "".join(brainz(300 * n, f"{noise.random()}") for n in range(2000)))
        place = archive.getinfo("1.jsonl").header_offset + archive.getinfo("1.jsonl").compress_size // 2
    content = bytearray(path.read_bytes())
    content[place : place + 50] = b"\xff" * 50
    path.write_bytes(content)
    done, _ = run(path, "listenbrainz")
    assert done["imported"] >= 2000
    assert done["rejected_by_reason"]["damaged_file"] == 1
    assert done["rows"] == done["imported"] + done["duplicates"] + done["rejected"]


def test_an_import_that_does_not_add_up_fails(
    tmp_path: Path, broker: Broker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "1.jsonl"
    path.write_text(brainz(0, "a") + brainz(90, "b"))

    def forgetful(counts: Counts, *_: object) -> str:
        counts.imported = 1
        return "imported"

    with monkeypatch.context() as patch:
        patch.setattr(listens, "_count", forgetful)
        done, _ = run(path, "listenbrainz")
    assert done["code"] == 1
    assert "does not add up" in done["error"]
    _balance(Counts(rows=2, imported=2), Counts(rows=2), 2)
    for counts, rows, sent in ((Counts(rows=2, imported=2), 2, 1), (Counts(rows=2, imported=2), 3, 2)):
        with pytest.raises(FatalError, match="add up"):
            _balance(counts, Counts(rows=rows), sent)


def test_progress_is_a_bar_on_a_terminal_and_a_line_now_and_then_elsewhere(
    tmp_path: Path, broker: Broker, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listens, "PROGRESS_ROWS", 10)
    monkeypatch.setattr(imports, "SAY_ROWS", 30)
    path = tmp_path / "lastfm.csv"
    path.write_text("uts,artist,track\n" + "".join(f"{1_709_294_400 + 300 * n},A,B\n" for n in range(65)))
    _, told = run(path, "lastfm")
    said = [line.split(";")[0].strip() for line in told.splitlines() if " of lastfm.csv" in line]
    assert said == [f"{rows} rows {step}" for step in ("read", "compared", "judged", "sent") for rows in (30, 60)]
    lines = told.splitlines()
    assert "    60 rows judged; 92% of lastfm.csv" in lines
    out = Output()
    out.console = Console(stderr=True, force_terminal=True, color_system=None, width=120)
    with imports._Progress(out) as progress:
        progress("compared", "[x].csv", 0.5, 1000)
        progress("sent", "[x].csv", 1.0, 10)
    bars = [
        f"[{'#' * 15}{'.' * 15}]  50% of [x].csv compared, 1,000 rows",
        f"[{'#' * 30}] 100% of [x].csv sent, 10 rows",
    ]
    assert capsys.readouterr().err == f"{bars[0]}\r{bars[1].ljust(len(bars[0]))}\r\n"


def test_counts_are_for_people_in_the_table_and_numbers_in_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = Counts(rows=10_000_003, imported=10_000_000, duplicates=3, files=1)
    monkeypatch.setattr(listens, "import_listens", lambda *_, **__: counts)
    arguments = ["wavehouse", "import", "listens", "x.zip", "--format", "spotify", "--user", str(USER)]
    shown = []
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", [*arguments, *more])
        with pytest.raises(SystemExit):
            main.main()
        shown.append(capsys.readouterr().out)
    assert "10,000,003" in shown[0] and "10,000,000" in shown[0]
    assert json.loads(shown[1])["rows"] == 10_000_003


def test_plays_here_and_earlier_imports_are_known(tmp_path: Path) -> None:
    catalog = SqlCatalog("test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("bronze")

    def table(name: str, *rows: dict[str, object]) -> None:
        schema = pa.schema([field.with_nullable(True) for field in load(f"bronze.{name}").arrow_schema()])
        catalog.create_table(f"bronze.{name}", schema).append(pa.Table.from_pylist(list(rows), schema=schema))

    played = [AT + timedelta(seconds=second) for second in (0, 70, 1000)]
    plays = [{"user_id": USER, "track_id": track, "played_at": at} for track, at in zip((1, 1, 2), played, strict=True)]
    table("plays", *plays, plays[0], {"user_id": 9, "track_id": 1, "played_at": AT + timedelta(seconds=300)})
    table(
        "catalog_content",
        {"content_id": 1, "artist_name": "BJÖRK", "title": "Jóga", "isrc": "GBAYE9700001"},
        {"content_id": 2, "artist_name": "Björk", "title": "Hunter"},
    )
    table("listens", Listen("spotify", AT + timedelta(seconds=2000), "Björk", "Jóga").record(USER, AT))

    def new(*given: tuple[int, str, str | None], between: tuple[datetime, datetime] | None = None) -> list[bool]:
        with Index(None) as index:
            known_listens(catalog, index, USER, between=between)
            seen = listens.Seen(index, "lastfm")
            made = [Listen("lastfm", AT + timedelta(seconds=s), "Björk", t, isrc=isrc) for s, t, isrc in given]
            for listen in made:
                seen.expect(listen)
            seen.settle()
            return [seen.is_new(listen) for listen in made]

    # Two plays explain two of three; the third is a listen elsewhere. A play that came twice explains one.
    assert new((10, "Jóga", None), (80, "jóga", None), (150, "Jóga", None)) == [False, False, True]
    assert new((10, "Jóga (Remastered)", "GBAYE9700001"), (1000, "Hunter", None)) == [False, False]
    assert new((300, "Jóga", None), (2060, "Jóga", None)) == [True, False]
    bounds = (AT + timedelta(seconds=60), AT + timedelta(seconds=1000))
    assert new((-60, "Jóga", None), (1000, "Hunter", None), (2000, "Jóga", None), between=bounds) == [True, False, True]


def test_a_submission_leaves_out_what_is_known_and_what_it_has_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered: list[list[datetime]] = []
    bounds: list[tuple[datetime, datetime]] = []

    def known(catalog: object, index: Index, user_id: int, *, between: tuple[datetime, datetime]) -> None:
        bounds.append(between)
        index.add(Heard.of(AT, "lastfm", made[0].recording_key, None))

    sender = ListenSender(load_settings("test"))
    made = [Listen("scrobble", AT + timedelta(seconds=second), "Björk", "Jóga") for second in (30, 30, 90)]
    monkeypatch.setattr(lake, "catalog", lambda settings: None)
    monkeypatch.setattr(listen_sender, "known_listens", known)
    monkeypatch.setattr(sender, "_ready", lambda: (None, lambda record: record["listened_at"]))
    monkeypatch.setattr(sender, "_deliver", lambda producer, key, values: delivered.append(values))
    assert sender.send(USER, made, AT) == 1
    assert delivered == [[AT + timedelta(seconds=90)]]
    assert bounds == [(AT - timedelta(seconds=90), AT + timedelta(seconds=210))]


IMPORT = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from lakehouse.adapters import kafka, lake, listens
from lakehouse.config.settings import load_settings

class Sink:
    sent = 0
    def __init__(self, settings): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def send(self, topic, record): Sink.sent += 1
    def flush(self): pass

kafka.EventProducer, lake.catalog = Sink, lambda settings: None
listens.await_arrival, listens.known_listens = lambda settings: None, lambda *_: None
folder = Path(sys.argv[1])
counts = listens.import_listens(
    load_settings("test"), folder / "lastfm.csv", format_name="lastfm", user_id=1, zone=UTC,
    received_at=datetime(2026, 11, 1, tzinfo=UTC), report=folder / "report.jsonl",
)
print(counts.rows, Sink.sent)
"""


def test_an_import_of_ten_times_the_rows_takes_no_more_memory(tmp_path: Path) -> None:
    """The index on disk has a cache of 32 MB, which the smaller one does not fill; rows that were kept, as small as
    they are here, would take 150 MB.
    """

    def peak(rows: int) -> int:
        folder = tmp_path / str(rows)
        folder.mkdir()
        with (folder / "lastfm.csv").open("w") as made:
            made.write("uts,artist,track\n")
            made.writelines(f"{1_100_000_000 + 1000 * row},Artist {row % 100},Track {row}\n" for row in range(rows))
        numbers, kib = measured(IMPORT, folder, WAVEHOUSE_HOME=str(folder))
        assert numbers == [rows, rows]
        return kib

    assert peak(300_000) - peak(30_000) < 60_000
