"""The gateway as its clients see it: a process of its own, driven by clickhouse-connect and plain HTTP."""

from __future__ import annotations

import gzip
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import httpx
import lz4.frame
import pyarrow as pa
import pytest

from infra.local.clickhouse.protocol import NativeBlocks, pack_native
from lakehouse.adapters.clickhouse import (
    AdWindowCounts,
    CampaignCounts,
    CountryCounts,
    LiveCounts,
    LiveTables,
    Sessions,
    WindowCounts,
)
from lakehouse.contracts import load
from lakehouse.errors import FatalError, RetryableError
from tests.integration.gateway import Gateway

SECRET_TEXT = "nobody may read this"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("home with space and é"))
    gateway.start()
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture
def table(gateway: Gateway) -> Iterator[str]:
    client = gateway.client()
    client.command("CREATE DATABASE IF NOT EXISTS live")
    client.command(
        "CREATE TABLE live.events (id Int64, name String, at DateTime64(6, 'UTC'), tags Array(String))"
        " ENGINE = MergeTree ORDER BY id"
    )
    yield "live.events"
    client.command("DROP TABLE live.events")


AT = datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC)
ROWS = [[1, "it's \\ a\ttab\nand é", AT, ["a", "b"]], [2, "", AT - timedelta(days=9000), []]]
COLUMNS = ["id", "name", "at", "tags"]


def test_rows_and_arrow_round_trip_through_the_production_client(gateway: Gateway, table: str) -> None:
    writer, reader = gateway.client(), gateway.client("reader")
    assert writer.insert(table, ROWS, column_names=COLUMNS).written_rows == 2
    arrow = pa.table({"id": [3], "name": ["ü"], "at": pa.array([AT], pa.timestamp("us", "UTC")), "tags": [["x"]]})
    assert writer.insert_arrow(table, arrow).written_rows == 1
    found = reader.query("SELECT id, name, toUnixTimestamp64Micro(at), tags FROM live.events ORDER BY id").result_rows
    assert [list(row) for row in found] == [
        [i, name, int(at.timestamp()) * 10**6 + at.microsecond, tags]
        for i, name, at, tags in [*ROWS, [3, "ü", AT, ["x"]]]
    ]
    back = reader.query_arrow("SELECT name, tags FROM live.events WHERE id = 3")
    assert back.to_pylist() == [{"name": "ü", "tags": ["x"]}]


def test_parameters_are_bound_by_the_server(gateway: Gateway, table: str) -> None:
    gateway.client().insert(table, ROWS, column_names=COLUMNS)
    found = gateway.client("reader").query(
        "SELECT id FROM live.events WHERE name = {name:String} AND id IN {ids:Array(Int64)}",
        parameters={"name": ROWS[0][1], "ids": [1, 2, 3]},
    )
    assert found.result_rows == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS x FORMAT JSONEachRow",
        "select 1 as x format JSONEachRow;",
        "-- why\nSELECT 1 AS x /* so */ FORMAT JSONEachRow",
    ],
)
def test_statements_of_plain_http(gateway: Gateway, sql: str) -> None:
    response = gateway.post(sql)
    assert response.json() == {"x": 1}
    assert response.headers["x-clickhouse-format"] == "JSONEachRow"
    assert gateway.post("", query="SELECT 1").text == "1\n"
    assert gateway.post("SELECT 1", default_format="CSVWithNames").text == '"1"\n1\n'


def test_packed_data_of_every_client(gateway: Gateway, table: str) -> None:
    auth = ("loader", "loader-secret")
    data = b"7\tx\t2026-01-01 00:00:00\t[]\n"
    query = {"query": "INSERT INTO live.events FORMAT TSV"}
    for encoding, pack in {"gzip": gzip.compress, "lz4": lz4.frame.compress, "": bytes}.items():
        headers = {"Content-Encoding": encoding} if encoding else {}
        response = httpx.post(gateway.url, params=query, content=pack(data), headers=headers, auth=auth)
        assert response.status_code == 200, response.text
    native = httpx.post(gateway.url, params=query | {"decompress": "1"}, content=pack_native(data), auth=auth)
    assert native.status_code == 200, native.text
    cut = httpx.post(
        gateway.url, params=query, content=gzip.compress(data)[:-4], headers={"Content-Encoding": "gzip"}, auth=auth
    )
    assert "CANNOT_DECOMPRESS" in cut.text
    answer = httpx.post(
        gateway.url, params={"compress": "1"}, content="SELECT count(), sum(id) FROM live.events", auth=auth
    )
    assert NativeBlocks().decompress(answer.content) == b"4\t28\n"


def test_an_insert_is_all_or_nothing(gateway: Gateway, table: str) -> None:
    good, bad = "1\tx\t2026-01-01 00:00:00\t[]\n", "2\tx\tnot a time\t[]\n"
    response = gateway.post(f"INSERT INTO live.events FORMAT TSV\n{good * 1000}{bad}", user="loader")
    assert response.status_code == 400
    assert gateway.post("SELECT count() FROM live.events").text == "0\n"
    assert not list((gateway.home / "run" / "clickhouse" / "spool").iterdir())


def test_fifty_thousand_rows_are_one_part(gateway: Gateway) -> None:
    """The loader goes on behind the highest offset, which is right only if a batch can't arrive in pieces."""
    tables = LiveTables(gateway.settings())
    tables.drop()
    tables.create()
    schema = load("live.play_minutes").arrow_schema()
    tables.insert("play_minutes", windows([window(i, i) for i in range(50_000)]).cast(schema))
    parts = "SELECT count(), sum(rows) FROM system.parts WHERE active AND table = 'play_minutes'"
    assert gateway.post(parts).text == "1\t50000\n"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO live.events (id) VALUES (1)",
        "INSERT INTO live.events (id) SELECT 1",
        "DROP TABLE live.events",
        "TRUNCATE TABLE live.events",
        "ALTER TABLE live.events DELETE WHERE 1",
        "CREATE TABLE live.other (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE other (a Int8)",
        "SELECT 1; DROP TABLE live.events",
        "SELECT 1 SETTINGS readonly = 0",
        "SET readonly = 0",
        "SYSTEM FLUSH LOGS",
        "KILL QUERY WHERE 1",
        "SELECT file('{secret}')",
        "SELECT `file`('{secret}')",
        r"SELECT `\x66ile`('{secret}')",
        r'SELECT "\x66i\le"(' + "'{secret}')",
        "SELECT /*'*/ file('{secret}') -- '",
        "EXPLAIN SELECT file('{secret}')",
        "WITH (SELECT file('{secret}')) AS x SELECT x",
        "DESCRIBE TABLE (SELECT file('{secret}') AS x)",
        "SELECT * FROM file('{secret}', 'LineAsString')",
        "SELECT * FROM file('{secret}', LineAsString)",
        "SELECT * FROM url('{url}', LineAsString)",
        "SELECT 1 INTO OUTFILE '{written}'",
        "SELECT 1 INTO/**/OUTFILE '{written}' FORMAT TSV",
        "SELECT 1 --\n INTO OUTFILE '{written}' TRUNCATE",
        "EXPLAIN SELECT 1 INTO OUTFILE '{written}'",
        "SHOW TABLES FROM live INTO OUTFILE '{written}'",
        "INSERT INTO FUNCTION file('{written}', 'TSV', 'a Int8') VALUES (1)",
        "SELECT * FROM executable('id', LineAsString, 'a String')",
        "SELECT * FROM Python(SECRET)",
    ],
)
def test_a_reader_can_only_read(gateway: Gateway, table: str, tmp_path: Path, sql: str) -> None:
    gateway.client().insert(table, ROWS, column_names=COLUMNS)
    secret, written = tmp_path / "secret", tmp_path / "written"
    secret.write_text(SECRET_TEXT)
    text = sql.replace("{secret}", str(secret)).replace("{written}", str(written)).replace("{url}", gateway.url)
    for parameters in ({}, {"readonly": "0"}):
        response = gateway.post(text, **parameters)
        assert response.status_code >= 400, response.text
        assert response.headers["x-clickhouse-exception-code"] in {"36", "46", "48", "62", "164", "497"}
        assert SECRET_TEXT not in response.text
    assert not written.exists()
    assert gateway.post("SELECT count() FROM live.events").text == "2\n"


def test_a_reader_cannot_lift_its_limits_by_the_url(gateway: Gateway) -> None:
    for name in ("max_execution_time", "max_memory_usage", "allow_ddl", "dialect", "max_result_bytes"):
        response = gateway.post("SELECT 1", **{name: "0"})
        assert response.headers["x-clickhouse-exception-code"] == "164", name
    assert gateway.post("SELECT getSetting('readonly')", readonly="0").text == "1\n"


def test_a_get_changes_nothing_even_for_the_loader(gateway: Gateway, table: str) -> None:
    response = httpx.get(gateway.url, params={"query": "DROP TABLE live.events"}, auth=("loader", "loader-secret"))
    assert response.headers["x-clickhouse-exception-code"] == "164"
    assert gateway.post("SELECT count() FROM live.events").text == "0\n"


def test_wrong_passwords_get_516(gateway: Gateway) -> None:
    for auth in (("reader", "loader-secret"), ("nobody", "x"), ("default", ""), None):
        response = httpx.post(gateway.url, content="SELECT 1", auth=auth)
        assert (response.status_code, response.headers["x-clickhouse-exception-code"]) == (401, "516")
        assert response.text.startswith("Code: 516. DB::Exception: ")
        assert "(AUTHENTICATION_FAILED)" in response.text


def test_settings_of_one_request_never_reach_another(gateway: Gateway) -> None:
    def ask(number: int) -> tuple[str, str]:
        user, expected = ("loader", str(100 + number)) if number % 2 else ("reader", "65409")
        parameters = {"max_block_size": expected} if number % 2 else {}
        return gateway.post("SELECT getSetting('max_block_size')", user=user, **parameters).text.strip(), expected

    default = gateway.post("SELECT getSetting('max_block_size')").text.strip()
    with ThreadPoolExecutor(12) as pool:
        for found, expected in pool.map(ask, range(120)):
            assert found == (default if expected == "65409" else expected)
    assert gateway.post("SELECT getSetting('readonly')", user="loader").text == "0\n"
    assert gateway.post("SELECT currentDatabase()", database="system").text == "system\n"
    assert gateway.post("SELECT currentDatabase()").text == "default\n"


def test_errors_are_clickhouses_own(gateway: Gateway) -> None:
    for sql, status, code in (
        ("SELECT * FROM live.missing", 404, "60"),
        ("SELEC 1", 400, "62"),
        ("SELECT toInt8('x')", 400, "6"),
        ("SELECT * FROM missing.t", 404, "81"),
    ):
        response = gateway.post(sql)
        assert (response.status_code, response.headers["x-clickhouse-exception-code"]) == (status, code), response.text
        assert response.text.startswith(f"Code: {code}. DB::Exception: ")
    assert gateway.post("SELECT 1", database="missing").status_code == 404
    assert gateway.post("SELECT 1", no_such_setting="1", user="loader").headers["x-clickhouse-exception-code"] == "115"


def test_a_slow_statement_is_ended(gateway: Gateway) -> None:
    response = gateway.post(
        "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1", user="loader", max_execution_time="1"
    )
    assert (response.status_code, response.headers["x-clickhouse-exception-code"]) == (408, "159")


def test_a_broken_upload_leaves_nothing(gateway: Gateway, table: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"INSERT INTO live.events FORMAT TSV\n"
        yield b"1\tx\t2026-01-01 00:00:00\t[]\n" * 100_000
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        httpx.post(gateway.url, content=pieces(), auth=("loader", "loader-secret"))
    assert gateway.post("SELECT count() FROM live.events").text == "0\n"


def test_one_process_owns_the_data_and_the_port(gateway: Gateway) -> None:
    second = gateway.spawn()
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"ClickHouse cannot listen on 127.0.0.1:{gateway.port}" in errors
    assert "Traceback" not in errors
    other = Gateway(gateway.home)
    third = other.spawn()
    _, errors = third.communicate(timeout=60)
    assert third.returncode == 1
    assert "One process owns this folder" in errors
    assert "Traceback" not in errors


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.start()
    client = gateway.client()
    client.command("CREATE DATABASE live")
    client.command("CREATE TABLE live.t (batch Int64, id Int64) ENGINE = MergeTree ORDER BY id")
    acknowledged: list[int] = []
    enough = threading.Event()

    def write() -> None:
        for batch in range(10_000):
            rows = pa.table({"batch": [batch] * 1000, "id": range(batch * 1000, batch * 1000 + 1000)})
            try:
                client.insert_arrow("live.t", rows)
            except Exception:  # the kill
                return
            acknowledged.append(batch)
            if batch == 20:
                enough.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(60)
    gateway.kill()
    writer.join(60)
    (tmp_path / "run" / "clickhouse" / "spool" / "insert-left-behind").write_text("x")
    gateway.start()
    try:
        found = (
            gateway.client("reader")
            .query("SELECT batch, count() FROM live.t GROUP BY batch ORDER BY batch")
            .result_rows
        )
        assert [batch for batch, _ in found[: len(acknowledged)]] == acknowledged
        assert len(found) - len(acknowledged) in (0, 1)
        assert {count for _, count in found} == {1000}
        assert not list((tmp_path / "run" / "clickhouse" / "spool").iterdir())
    finally:
        assert gateway.stop() == 0


MINUTE = datetime(2026, 10, 30, 12, tzinfo=UTC)
MEASURES = ("plays", "streams", "bot_plays", "ms_played")


def window(
    number: int, version: int, *, track_id: int | None = None, country: str = "SE", plays: int = 1, user_id: int = 1
) -> dict[str, object]:
    return {
        "window_start": MINUTE + timedelta(minutes=number),
        "track_id": number if track_id is None else track_id,
        "country": country,
        "user_id": user_id,
        "plays": plays,
        "streams": plays - plays // 3,
        "bot_plays": plays // 5,
        "late_plays": plays // 2,
        "ms_played": plays * 100_000,
        "kafka_partition": 0,
        "version": version,
    }


def windows(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=load("live.play_minutes").arrow_schema())


@pytest.fixture
def live(gateway: Gateway) -> LiveTables:
    tables = LiveTables(gateway.settings())
    tables.drop()
    tables.create()
    return tables


def test_the_highest_version_counts_in_whatever_order_it_comes(gateway: Gateway, live: LiveTables) -> None:
    for version, plays in ((5, 50), (9, 90), (7, 70)):
        live.insert("play_minutes", windows([window(0, version, plays=plays)]))
    live.insert("play_minutes", windows([window(0, 9, plays=90)]))  # a batch repeated after a lost answer
    counts = LiveCounts(gateway.settings())
    assert [m.plays for m in counts.minutes(0, MINUTE, MINUTE + timedelta(minutes=1))] == [90]
    assert counts.state().windows == 1
    assert counts.newest() == counts.state().newest_window_start == MINUTE
    assert live.offsets("play_minutes") == counts.state().offsets == {0: 9}


def test_counts_are_those_of_a_fold_over_the_updates(gateway: Gateway, live: LiveTables) -> None:
    chance = random.Random(7)
    updates = [
        window(chance.randrange(3000), version, track_id=chance.randrange(12),
               country=chance.choice(["SE", "US", "JP"]), plays=chance.randrange(9), user_id=chance.randrange(4))
        for version in range(6000)
    ]  # fmt: skip
    chance.shuffle(updates)
    for start in range(0, len(updates), 1500):
        live.insert("play_minutes", windows(updates[start : start + 1500]))
    newest: dict[tuple[object, ...], dict[str, object]] = {}
    for row in sorted(updates, key=lambda row: int(str(row["version"]))):
        newest[row["window_start"], row["track_id"], row["country"], row["user_id"]] = row
    oracle = [row for row in newest.values() if row["plays"]]
    counts = LiveCounts(gateway.settings())
    start, end = MINUTE + timedelta(minutes=10), MINUTE + timedelta(minutes=2500)

    def total(rows: list[dict[str, object]], measure: str) -> int:
        return sum(int(str(row[measure])) for row in rows)

    in_range = [row for row in oracle if start <= row["window_start"] < end]  # type: ignore[operator]
    for country in (None, "US"):
        expected = []
        for track_id in range(12):
            rows = [r for r in in_range if r["track_id"] == track_id and country in (None, r["country"])]
            expected.append((-total(rows, "streams"), track_id, total(rows, "plays")))
        found = [(-t.streams, t.track_id, t.plays) for t in counts.top(start, end, country=country, limit=5)]
        assert found == sorted(expected)[:5]
    for minute in counts.minutes(3, start, end):
        rows = [r for r in in_range if r["track_id"] == 3 and r["window_start"] == minute.window_start]
        assert [getattr(minute, m) for m in MEASURES] == [total(rows, m) for m in MEASURES]
        assert minute.listeners == len({r["user_id"] for r in rows})
    assert sum(m.plays for m in counts.minutes(3, start, end)) == total(
        [r for r in in_range if r["track_id"] == 3], "plays"
    )
    days = counts.days(date(2026, 10, 30), date(2026, 11, 1))
    assert [d.played_on for d in days] == [date(2026, 10, 30), date(2026, 10, 31), date(2026, 11, 1)]
    assert sum(d.ms_played for d in days) == total(oracle, "ms_played")
    assert sum(d.plays for d in counts.days(date(2026, 10, 31), date(2026, 10, 31), track_id=3)) == total(
        [r for r in oracle if r["track_id"] == 3 and r["window_start"].date() == date(2026, 10, 31)],  # type: ignore[attr-defined]
        "plays",
    )


@pytest.mark.parametrize(("width", "step"), [(1, 1), (5, 1), (60, 5), (30, 30), (7, 3)])
def test_sliding_windows_are_those_of_a_plain_count(gateway: Gateway, live: LiveTables, width: int, step: int) -> None:
    """Every window, its distinct listeners too, against a count of the rows by hand."""
    chance = random.Random(width * 100 + step)
    rows = [
        window(chance.randrange(150), version, track_id=version % 5, country=chance.choice(["SE", "US"]),
               plays=chance.randrange(1, 4), user_id=chance.randrange(6))
        for version in range(400)
    ]  # fmt: skip
    live.insert("play_minutes", windows(rows))
    newest = {(r["window_start"], r["track_id"], r["country"], r["user_id"]): r for r in rows}
    start, end = MINUTE + timedelta(minutes=2), MINUTE + timedelta(minutes=140)
    found = LiveCounts(gateway.settings()).windows(
        start, end, width=timedelta(minutes=width), step=timedelta(minutes=step), track_ids=[1, 3], countries=["SE"]
    )
    expected = []
    for minute in range(-150, 150):
        begin = MINUTE + timedelta(minutes=minute)
        inside = [
            row
            for row in newest.values()
            if begin <= row["window_start"] < begin + timedelta(minutes=width)  # type: ignore[operator]
            and row["track_id"] in (1, 3)
            and row["country"] == "SE"
        ]
        if int(begin.timestamp()) // 60 % step or begin < start or begin + timedelta(minutes=width) > end or not inside:
            continue
        totals = [sum(int(str(r[m])) for r in inside) for m in (*MEASURES[:3], "late_plays")]
        listeners, heard = len({r["user_id"] for r in inside}), sum(int(str(r["ms_played"])) for r in inside)
        expected.append(WindowCounts(begin, *totals, listeners, heard))
    assert len(expected) > 1
    assert found == expected


def test_windows_that_minutes_cannot_make_are_refused(gateway: Gateway, live: LiveTables) -> None:
    counts = LiveCounts(gateway.settings())
    for width, step in ((90, 60), (60, 120), (0, 0)):
        with pytest.raises(FatalError, match="can't be made of minutes"):
            counts.windows(
                MINUTE, MINUTE + timedelta(hours=1), width=timedelta(seconds=width), step=timedelta(seconds=step)
            )


def heard(number: int, minute: int, user_id: int, minutes: int, **others: Any) -> dict[str, object]:
    """A listener's play that begins `minute` minutes after MINUTE and lasts `minutes`."""
    return window(minute, number, user_id=user_id, **others) | {"ms_played": minutes * 60_000}


def test_sessions_end_after_half_an_hour_without_a_play(gateway: Gateway, live: LiveTables) -> None:
    plays = [(1, 0, 1), (1, 31, 1), (1, 62, 1), (1, 94, 1), (2, 5, 1), (3, 200, 1)]  # 31 minutes end the first session
    live.insert("play_minutes", windows([heard(n, at, user, ms) for n, (user, at, ms) in enumerate(plays)]))
    counts = LiveCounts(gateway.settings())
    assert counts.sessions(MINUTE, MINUTE + timedelta(minutes=120)) == Sessions(3, 2, 5, 300_000)
    assert counts.sessions(MINUTE - timedelta(days=2), MINUTE - timedelta(days=1)) == Sessions(0, 0, 0, 0)


def test_a_pause_begins_where_the_play_ended(gateway: Gateway, live: LiveTables) -> None:
    """Also where a shorter play came between, as on another device."""
    plays = [(1, 0, 40), (1, 70, 5), (2, 0, 90), (2, 10, 1), (2, 115, 1), (3, 0, 40), (3, 71, 1)]
    live.insert("play_minutes", windows([heard(n, at, user, ms) for n, (user, at, ms) in enumerate(plays)]))
    found = LiveCounts(gateway.settings()).sessions(MINUTE, MINUTE + timedelta(hours=3))
    assert (found.sessions, found.listeners, found.plays) == (4, 3, 7)


def test_edges_of_a_range_cut_no_session(gateway: Gateway, live: LiveTables) -> None:
    plays = [(1, -700, 690), (1, 10, 5), (2, 50, 5), (2, 70, 30), (3, 61, 5)]
    live.insert("play_minutes", windows([heard(n, at, user, ms) for n, (user, at, ms) in enumerate(plays)]))
    counts, hour = LiveCounts(gateway.settings()), timedelta(hours=1)
    assert counts.sessions(MINUTE, MINUTE + hour) == Sessions(1, 1, 2, 35 * 60_000)
    assert counts.sessions(MINUTE + hour, MINUTE + 2 * hour) == Sessions(1, 1, 1, 5 * 60_000)
    whole = counts.sessions(MINUTE - 24 * hour, MINUTE + 24 * hour)
    parts = [counts.sessions(MINUTE + n * hour, MINUTE + (n + 1) * hour) for n in range(-24, 24)]
    assert whole.sessions == sum(part.sessions for part in parts) == 3
    assert whole.plays == sum(part.plays for part in parts) == 5


def test_sessions_are_those_of_a_walk_through_the_plays(gateway: Gateway, live: LiveTables) -> None:
    chance = random.Random(3)
    rows = [
        heard(n, chance.randrange(-300, 900), chance.randrange(5), chance.choice([1, 4, 50]), track_id=n % 3)
        for n in range(120)
    ]
    live.insert("play_minutes", windows(rows))
    newest = {(row["user_id"], row["window_start"], row["track_id"]): row for row in rows}
    start, end = MINUTE + timedelta(minutes=7), MINUTE + timedelta(minutes=601)
    sessions: list[list[dict[str, Any]]] = []
    for user_id in range(5):
        own: list[dict[str, Any]] = sorted(
            (r for k, r in newest.items() if k[0] == user_id), key=itemgetter("window_start")
        )
        until = MINUTE - timedelta(days=2)
        for row in own:
            if row["window_start"] - until > timedelta(minutes=30):
                sessions.append([])
            sessions[-1].append(row)
            until = max(until, row["window_start"] + timedelta(milliseconds=row["ms_played"]))
    begun = [found for found in sessions if start <= found[0]["window_start"] < end]
    assert 10 < len(begun) < len(sessions)
    assert LiveCounts(gateway.settings()).sessions(start, end) == Sessions(
        len(begun),
        len({found[0]["user_id"] for found in begun}),
        sum(row["plays"] for found in begun for row in found),
        sum(row["ms_played"] for found in begun for row in found),
    )


def test_sessions_of_a_country_are_made_of_its_plays(gateway: Gateway, live: LiveTables) -> None:
    rows = [heard(0, 0, 1, 1), heard(1, 25, 1, 1, country="US"), heard(2, 50, 1, 1), heard(3, 50, 2, 1, country="US")]
    live.insert("play_minutes", windows(rows))
    counts, end = LiveCounts(gateway.settings()), MINUTE + timedelta(hours=1)
    assert [counts.sessions(MINUTE, end, country=c).sessions for c in (None, "SE", "US", "DE")] == [2, 2, 2, 0]


def ad(number: int, version: int, *, campaign_id: int = 1, country: str = "SE", user_id: int = 1, **others: Any) -> Any:
    measures = {"impressions": 1, "late_impressions": 0, "cost_micros": 1_000, "kafka_partition": 0}
    key = {"window_start": MINUTE + timedelta(minutes=number), "campaign_id": campaign_id, "country": country}
    return key | {"user_id": user_id, "version": version} | measures | others


def ads(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=load("live.ad_minutes").arrow_schema())


def test_windows_and_rankings_of_campaigns(gateway: Gateway, live: LiveTables) -> None:
    rows = [
        ad(0, 1, impressions=9),
        ad(0, 2, impressions=3, late_impressions=1),  # replaces the one before
        ad(1, 3, user_id=2, country="US"),
        ad(4, 4),
        ad(5, 5),
        ad(1, 6, campaign_id=2, impressions=8, cost_micros=7),
        ad(2, 7, campaign_id=3, impressions=0, cost_micros=0),
        ad(2, 8, campaign_id=4, impressions=5, country="US"),
        ad(60, 9, campaign_id=5, impressions=99),  # after the range
    ]
    live.insert("ad_minutes", ads(rows))
    counts, width = LiveCounts(gateway.settings()), timedelta(minutes=5)
    start, end = MINUTE, MINUTE + timedelta(minutes=10)
    assert counts.ad_windows(start, end, width=width, campaign_id=1) == [
        AdWindowCounts(MINUTE, 5, 1, 2, 3_000),
        AdWindowCounts(MINUTE + width, 1, 0, 1, 1_000),
    ]
    swedish = counts.ad_windows(start, end, width=width, campaign_id=1, countries=["SE"])
    assert [(w.impressions, w.listeners) for w in swedish] == [(4, 1), (1, 1)]
    assert counts.ad_windows(start, end, width=width, campaign_id=1, countries=[]) == []
    both = counts.ad_windows(start, end, width=width, campaign_id=1, countries=["SE", "US"])
    assert [w.impressions for w in both] == [5, 1]
    sliding = counts.ad_windows(start, end, width=width, step=timedelta(minutes=1))
    assert [w.impressions for w in sliding] == [18, 16, 7, 2, 2, 1]
    assert counts.top_campaigns(start, end) == [
        CampaignCounts(2, 8, 1, 7),
        CampaignCounts(1, 6, 2, 4_000),
        CampaignCounts(4, 5, 1, 1_000),
    ]
    assert [c.campaign_id for c in counts.top_campaigns(start, end, country="US")] == [4, 1]
    assert [c.campaign_id for c in counts.top_campaigns(start, end, limit=1)] == [2]


def test_rankings_of_countries(gateway: Gateway, live: LiveTables) -> None:
    rows = [
        window(0, 1, track_id=1, plays=2),
        window(1, 2, track_id=2, plays=2, user_id=2),
        window(1, 3, track_id=3, user_id=2),
        window(2, 4, track_id=1, country="US", plays=5),
        window(3, 5, track_id=1, country="DE", plays=5),
        window(4, 6, track_id=1, country="JP", plays=0),
        window(60, 7, track_id=1, country="FR", plays=50),
    ]
    live.insert("play_minutes", windows(rows))
    counts, end = LiveCounts(gateway.settings()), MINUTE + timedelta(minutes=10)
    assert counts.top_countries(MINUTE, end) == [
        CountryCounts("SE", 5, 5, 2),
        CountryCounts("DE", 5, 4, 1),
        CountryCounts("US", 5, 4, 1),
    ]
    assert [c.country for c in counts.top_countries(MINUTE, end, limit=2)] == ["SE", "DE"]


def test_late_events_are_counted_once_in_their_newest_row(gateway: Gateway, live: LiveTables) -> None:
    counts = LiveCounts(gateway.settings())
    assert counts.late() == {"play_minutes": 0, "ad_minutes": 0}
    live.insert("play_minutes", windows([window(0, 1, plays=4), window(0, 2, plays=6), window(1, 3, plays=2)]))
    live.insert("ad_minutes", ads([ad(0, 1, late_impressions=1), ad(1, 2)]))
    assert counts.late() == {"play_minutes": 3 + 1, "ad_minutes": 1}


def test_ranges_keep_their_microseconds(gateway: Gateway, live: LiveTables) -> None:
    live.insert("play_minutes", windows([window(0, 1)]))
    counts, moment = LiveCounts(gateway.settings()), timedelta(microseconds=1)
    assert len(counts.minutes(0, MINUTE, MINUTE + moment)) == 1
    assert counts.minutes(0, MINUTE + moment, MINUTE + timedelta(hours=1)) == []
    assert counts.minutes(0, MINUTE - timedelta(hours=1), MINUTE) == []
    with pytest.raises(FatalError, match="no time zone"):
        counts.minutes(0, MINUTE.replace(tzinfo=None), MINUTE)


def test_an_engine_that_is_away_is_a_passing_condition(gateway: Gateway, tmp_path: Path) -> None:
    away = Gateway(tmp_path)
    with pytest.raises(RetryableError, match="does not answer"):
        LiveCounts(away.settings()).ping()
    wrong = gateway.settings()
    wrong = wrong.model_copy(
        update={"clickhouse": wrong.clickhouse.model_copy(update={"reader_password": wrong.clickhouse.loader_password})}
    )
    with pytest.raises(FatalError, match="516"):
        LiveCounts(wrong).ping()
