"""The dbt project and the suites fit the contracts; needs no engine."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters import audit, dbt, lake, publish, trino
from lakehouse.adapters.reconcile import expected_royalties
from lakehouse.config.settings import CHECKOUT, Settings, load_settings
from lakehouse.contracts import SILVER_TOPICS, all_ids, dbt_files, load
from lakehouse.domain.listening import rules
from lakehouse.errors import FatalError

PROJECT = CHECKOUT / "dbt"
AUDITED = [id_ for id_ in all_ids() if id_.split(".")[0] in publish.LAYERS.values()]


def test_generated_files_are_what_contracts_and_rules_say() -> None:
    stale = [str(path) for path, text in dbt_files.files(PROJECT).items() if path.read_text() != text]
    assert not stale, "run `wavehouse contracts generate`"


def test_a_changed_column_is_noticed() -> None:
    contract = load("silver_audit.likes")
    path = PROJECT / "models/silver/likes.yml"
    changed = path.read_text().replace("data_type: boolean", "data_type: varchar")
    assert changed != path.read_text()
    assert dbt_files.properties(contract, changed) == path.read_text()


@pytest.mark.parametrize("path", sorted((PROJECT / "models").rglob("*.sql")), ids=lambda path: path.stem)
def test_only_staging_reads_sources_and_nothing_names_a_schema(path: Path) -> None:
    text = path.read_text()
    assert ("bronze(" in text) == (path.parent.name == "staging")
    # What a calculation has counted already is no model's: `wavehouse royalties run` makes it.
    assert set(re.findall(r"source\('(\w+)'", text)) <= ({"settlement"} if path.stem == "int_royalty_units" else set())
    assert "lake." not in text


def test_every_model_is_described_and_every_mart_has_a_key_test() -> None:
    for path in (PROJECT / "models").rglob("*.yml"):
        for model in yaml.safe_load(path.read_text()).get("models", []):
            assert model["description"], model["name"]
            if path.is_relative_to(PROJECT / "models/marts"):
                keys = [
                    test["unique_rows"]["arguments"]["columns"] for test in model["data_tests"] if "unique_rows" in test
                ]
                assert keys == [list(load(f"gold_audit.{model['name']}").key)]


@pytest.mark.parametrize("name", AUDITED)
def test_every_audited_table_has_a_suite_that_great_expectations_knows(name: str) -> None:
    for expectation in audit.suite(load(name)):
        audit.implementation(expectation.type)(**expectation.kwargs)
        assert expectation.why


def test_keys_of_a_large_table_are_compared_in_parts_that_are_all_of_it() -> None:
    contract = load("gold_audit.settlement_units")
    (whole,) = (q for e in audit.suite(contract, 10) if "Key:" in (q := str(e.kwargs)))
    parts = [q for e in audit.suite(contract, 7_000_000) if "Key:" in (q := str(e.kwargs))]
    assert "where" not in whole
    assert [re.findall(r", (\d)\) = (\d) ", part) for part in parts] == [[("3", "0")], [("3", "1")], [("3", "2")]]
    # Rows with the same key are in the same part: it is chosen by columns of the key alone.
    cut_by = {part[part.index("mod(") : part.index(", 3) = ")] for part in parts}
    assert cut_by == {"mod(bitwise_and(bitwise_xor(bitwise_xor(track_id, pool_streams), month_streams), 2147483647)"}
    of_text = [q for e in audit.suite(load("silver_audit.likes"), 7_000_000) if "Key:" in (q := str(e.kwargs))]
    assert len(of_text) == 3
    assert all("mod(crc32(to_utf8(concat(cast(event_id as varchar), ''))), 3) = " in part for part in of_text)


def test_reasons_in_the_suites_are_the_rules_codes() -> None:
    for topic in ("plays", "ad_impressions"):
        suite = audit.suite(load(f"silver_audit.{topic}_rejected"))
        sets = [tuple(e.kwargs["value_set"]) for e in suite if e.kwargs.get("column") == "reason"]
        assert sets == [rules.rejection_codes(topic)]


def test_an_unknown_table_or_layer_is_refused() -> None:
    for tables, layer in (([], ""), (["bronze.plays"], ""), (["silver_audit.nothing"], ""), ([], "platinum")):
        with pytest.raises(FatalError):
            publish.chosen(tables, layer)
    assert publish.chosen([], "silver,gold") == publish.tables_of("silver") + publish.tables_of("gold")
    assert "silver_audit.audio_features" not in publish.tables_of("silver")


def test_dbt_trusts_our_own_authority_whatever_the_environment_says() -> None:
    settings = load_settings()
    env = dbt.environment(settings, {"REQUESTS_CA_BUNDLE": "/elsewhere", "DBT_TARGET_PATH": "/mine"})
    assert env["REQUESTS_CA_BUNDLE"] == env["WAVEHOUSE_DBT_CA"] == str(settings.run / "trino" / "ca.pem")
    assert env["DBT_TARGET_PATH"] == "/mine"


def test_a_run_knows_the_catalogues_that_the_marts_may_have_been_made_with(tmp_path: Path) -> None:
    contract = load("silver_audit.tracks")
    row: dict[str, Any] = dict.fromkeys(contract.arrow_schema().names)
    row |= {"track_id": 1, "kind": "track", "title": "T", "artist_id": 1, "artist_name": "A", "duration_ms": 1}
    row |= {"sha256": "0", "created_at": datetime(2026, 10, 1, tzinfo=UTC)}
    rows = pa.Table.from_pylist([row], schema=contract.arrow_schema())
    tables = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())
    tables.create_namespace("silver_audit")
    earlier = pa.schema([column for column in contract.arrow_schema() if column.name != "recording_mbid"])
    table = tables.create_table(contract.id, earlier)

    def run() -> int:
        if table.current_snapshot():
            table.delete()
        table.append(rows.select(table.schema().column_names))
        made = table.current_snapshot()
        assert made is not None
        return made.snapshot_id

    def publishes(snapshot_id: int) -> None:
        table.manage_snapshots().create_tag(snapshot_id, publish.PUBLISHED).commit()

    assert dbt.tracks_before(table) == []
    publishes(run())
    assert dbt.tracks_before(table) == []  # a snapshot without the column can't be compared
    lake._add_columns(table, contract)
    first = run()
    assert dbt.tracks_before(table) == []
    publishes(first)
    assert dbt.tracks_before(table) == [first]
    failed = run()  # never published, and still in the marts that are built
    assert dbt.tracks_before(table) == [failed, first]


def test_a_copy_that_lacks_a_column_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run reads a snapshot of it, which has the columns of its time, though every value of the new one is null."""
    contract = load("bronze.catalog_content")
    texts = ("kind", "title", "artist_name", "audio_format", "sha256", "attributes")
    numbers = ("content_id", "artist_id", "duration_ms", "sample_rate_hz", "channels", "size_bytes")
    row = dict.fromkeys(contract.arrow_schema().names) | dict.fromkeys(texts, "x") | dict.fromkeys(numbers, 1)
    rows = pa.Table.from_pylist([row | {"created_at": datetime(2026, 10, 1, tzinfo=UTC)}], contract.arrow_schema())
    tables = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())
    monkeypatch.setattr(lake, "catalog", lambda _: tables)
    tables.create_namespace("bronze")
    earlier = pa.schema([column for column in contract.arrow_schema() if column.name != "recording_mbid"])
    tables.create_table(contract.id, earlier).append(rows.select(earlier.names))
    lake._add_columns(tables.load_table(contract.id), contract)
    assert lake.overwrite(load_settings(), contract.id, rows)
    table = tables.load_table(contract.id)
    made = table.current_snapshot()
    assert made is not None
    assert table.scan(snapshot_id=made.snapshot_id).to_arrow().column_names == contract.arrow_schema().names
    assert not lake.overwrite(load_settings(), contract.id, rows)


Moments = tuple[str, ...]


@pytest.mark.parametrize(
    ("bronze", "published", "expected"),
    [
        # A daily run: all of yesterday is to be taken in, and the day before has been.
        ({"plays": ("10-29 23:59:59.999999", "10-30 00:00:00", "10-30 12:00:00")}, {"plays": "10-29 23:59:59.999999"},
         "10-30"),
        # A topic that is quiet for two months makes nobody look at them again,
        ({"plays": ("10-29 23:00:00", "10-30 01:00:00"), "ad_clicks": ("08-31 10:00:00",)},
         {"plays": "10-29 23:00:00", "ad_clicks": "08-31 10:00:00"}, "10-30"),
        # nor do its first events after that,
        ({"ad_clicks": ("08-31 10:00:00", "10-30 10:00:00")}, {"ad_clicks": "08-31 10:00:00"}, "10-30"),
        # but one of a day whose run never happened does.
        ({"ad_clicks": ("08-31 10:00:00", "10-12 10:00:00", "10-30 10:00:00")}, {"ad_clicks": "08-31 10:00:00"},
         "10-12"),
        # What came on a published day after its last published event, a microsecond later even, is due with that day.
        ({"plays": ("10-26 12:00:00.000001", "10-26 12:00:00.000002")}, {"plays": "10-26 12:00:00.000001"}, "10-26"),
        # Before anything is published, bronze from its beginning; nothing anywhere, the window as asked for.
        ({"plays": ("09-01 10:00:00", "10-30 10:00:00")}, {}, "09-01"),
        ({}, {}, "10-30"),
        # A published table without a row is as none.
        ({"likes": ("10-02 10:00:00",)}, {"likes": None}, "10-02"),
        # What is received after the window does not move it.
        ({"plays": ("10-30 10:00:00", "11-02 10:00:00")}, {"plays": "10-30 10:00:00"}, "10-30"),
    ],
)  # fmt: skip
def test_a_run_reaches_back_to_events_that_are_not_published_and_no_further(
    bronze: dict[str, Moments],
    published: dict[str, str | None],
    expected: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Moments and dates of 2026, UTC. The queries are those for Trino, in DuckDB."""

    class Tables:
        def load_table(self, name: str) -> Any:
            return SimpleNamespace(name=name, current_snapshot=lambda: None)

    with duckdb.connect() as database:
        database.execute("attach ':memory:' as lake; create schema lake.bronze; create schema lake.silver_audit")
        database.execute("set TimeZone = 'UTC'")  # DuckDB reads a literal with a zone as one of the session's
        for topic in SILVER_TOPICS:
            for schema, moments in (("bronze", bronze.get(topic, ())), ("silver_audit", (published.get(topic),))):
                database.execute(f"create table lake.{schema}.{topic} (received_at timestamptz)")
                for moment in filter(None, moments):
                    database.execute(f"insert into lake.{schema}.{topic} values ('2026-{moment}+00')")  # noqa: S608

        def query(_: Settings, statement: str) -> trino.Result:
            statement = re.sub(r" for version as of 7\b", "", statement)
            return trino.Result((), database.execute(statement).fetchall())

        monkeypatch.setattr(trino, "query", query)
        monkeypatch.setattr(lake, "catalog", lambda _: Tables())
        monkeypatch.setattr(dbt, "tracks_before", lambda _: [])
        monkeypatch.setattr(
            publish, "snapshot_under", lambda table, _: 7 if table.name.split(".")[1] in published else None
        )
        found = dbt.run_vars(settings, date(2026, 10, 30), date(2026, 10, 30))
    assert (found["from"], found["to"]) == (f"2026-{expected}", "2026-10-30")


def test_royalties_from_first_principles() -> None:
    revenue: list[dict[str, Any]] = [
        {"period": "2026-10", "country": "DE", "revenue_minor": 100},
        {"period": "2026-10", "country": "DE", "revenue_minor": 43},
    ]
    streams = {("2026-10", "DE", 1): 1, ("2026-10", "DE", 2): 1, ("2026-10", "DE", 9): 5, ("2026-11", "DE", 1): 7}
    assert expected_royalties(streams, revenue, {1: 10, 2: 20}) == {
        ("2026-10", "DE", 1): (10, 50),
        ("2026-10", "DE", 2): (20, 50),
    }


def test_sql_is_clean() -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("sqlfluff"),
            "lint",
            "--disable-progress-bar",
            "dbt/models",
            *map(str, (PROJECT / "tests").glob("*.sql")),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
