"""Feature views: what they are declared as, spines that are refused, the history's rows, and what is read online."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from lakehouse.adapters import feature_history, feature_store, lake, publish, trino
from lakehouse.adapters.feature_store import compared, decoded, encoded, reading
from lakehouse.cli.features import app
from lakehouse.config.settings import Settings, load_settings
from lakehouse.contracts import load
from lakehouse.domain.features.recorded import unrecorded
from lakehouse.domain.features.views import View, named, newest, views
from lakehouse.errors import FatalError, RejectedInputError

DAY = timedelta(days=1)
T0 = datetime(2026, 10, 1, tzinfo=UTC)
POPULARITY = views()["track_popularity"]
NAMES = [POPULARITY]


def popularity(rows: list[tuple[int, datetime, int]]) -> pa.Table:
    """Rows of (track, event time, streams), available six hours later."""
    contract = load(POPULARITY.table)
    numbers = {"streams_28d": 9, "listeners_7d": 1, "listeners_28d": 2, "plays_28d": 10, "skip_rate_28d": 0.1}
    return pa.Table.from_pylist(
        [
            {"track_id": track, "event_at": at, "available_at": at + DAY / 4, "streams_7d": streams} | numbers
            for track, at, streams in rows
        ],
        pa.schema([contract.arrow_schema().field(name) for name in POPULARITY.read]),
    )


@pytest.mark.parametrize("view", views().values(), ids=lambda view: view.name)
def test_a_view_is_made_of_columns_of_its_contract_that_can_be_put_online(view: View) -> None:
    contract = load(view.table)
    assert contract.column(view.entity).type == "integer"
    assert {contract.column(name).type for name in (view.event_at, view.available_at)} == {"timestamp"}
    assert {contract.column(name).type for name in view.columns} <= {"string", "integer", "number", "list<number>"}
    assert {view.entity, view.event_at, view.available_at, "event_at"}.isdisjoint(view.columns)
    assert len(set(view.columns)) == len(view.columns)
    # Nothing but an entity and its moments tells rows apart, or a join could not choose.
    assert set(contract.key) <= {view.entity, view.event_at, view.available_at, "as_of_on"}


def test_the_history_of_audio_features_carries_all_of_them() -> None:
    """The list of beats and the fingerprint are no features of a model, and large."""
    source = {column.name for column in load(feature_history.AUDIO).columns}
    history = {column.name for column in load(feature_history.AUDIO_HISTORY).columns}
    assert history - source == {"available_at"}
    assert source - history == {"beat_times_s", "fingerprint"}


def test_a_view_that_is_unknown_or_named_twice_is_refused() -> None:
    with pytest.raises(FatalError, match="no feature view 'nothing'"):
        named(["nothing"])
    with pytest.raises(FatalError, match="twice"):
        named(["track_audio", "track_audio"])
    assert [view.name for view in named([])] == ["track_audio", "track_popularity"]


class TestSpine:
    def read(self, folder: Path, text: str) -> pa.Table:
        path = folder / "spine.csv"
        path.write_text(text)
        return feature_history.read_spine(path, NAMES)

    def test_keeps_order_and_other_columns_and_moments_are_utc(self, tmp_path: Path) -> None:
        spine = self.read(
            tmp_path, "at,label,track_id\n2026-10-02T06:00:00+02:00,1,7\n2026-10-01T00:00:00.000001Z,0,5\n"
        )
        assert spine.schema.names == ["at", "label", "track_id"]
        assert spine.to_pylist() == [
            {"at": datetime(2026, 10, 2, 4, tzinfo=UTC), "label": 1, "track_id": 7},
            {"at": T0 + timedelta(microseconds=1), "label": 0, "track_id": 5},
        ]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("track_id,when\n1,2026-10-01T00:00:00Z\n", "'at' is missing"),
            ("at\n2026-10-01T00:00:00Z\n", "'track_id' is missing"),
            ("track_id,at\n1,2026-10-01T00:00:00Z\n2,yesterday\n", "Row #3.*yesterday"),
            ("track_id,at\n1,2026-10-01T00:00:00\n", "Row #2.*zone offset"),
            ("track_id,at\n1,2026-10-01T00:00:00Z\nx,2026-10-01T00:00:00Z\n", "Row #3.*'x'"),
            ("track_id,at\n1,2026-10-01T00:00:00Z\n2,\n", "'at' is empty in data row 2"),
            ("track_id,at\n,2026-10-01T00:00:00Z\n", "'track_id' is empty in data row 1"),
            ("track_id,at,at\n1,2026-10-01T00:00:00Z,2026-10-01T00:00:00Z\n", "several"),
            ("track_id,at,track_popularity__plays_28d\n1,2026-10-01T00:00:00Z,3\n", "name of a feature"),
            ("", "[Ee]mpty"),
        ],
    )
    def test_bad_ones_are_refused_with_file_row_and_column(self, tmp_path: Path, text: str, told: str) -> None:
        with pytest.raises(RejectedInputError, match=told) as refused:
            self.read(tmp_path, text)
        assert "spine.csv" in refused.value.message
        assert "2026-10-01T06:00:00Z" in refused.value.hint

    def test_a_parquet_file_names_its_time_zone(self, tmp_path: Path) -> None:
        path = tmp_path / "spine.parquet"
        for zone, fits in (("Europe/Berlin", True), (None, False)):
            moments = pa.array([T0.replace(tzinfo=None)], pa.timestamp("ns")).cast(pa.timestamp("ns", zone))
            parquet.write_table(pa.table({"track_id": pa.array([1], pa.int32()), "at": moments}), path)
            if fits:
                assert feature_history.read_spine(path, NAMES)["at"].to_pylist() == [T0]
            else:
                with pytest.raises(RejectedInputError, match="not a timestamp with a time zone"):
                    feature_history.read_spine(path, NAMES)

    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        for name in ("spine.xlsx", "missing.csv"):
            with pytest.raises(RejectedInputError, match=name):
                feature_history.read_spine(tmp_path / name, NAMES)


class TestJoin:
    def test_stands_beside_the_spine(self) -> None:
        spine = pa.table({"label": ["b", "a", "c"], "track_id": [1, 1, 2], "at": [T0 + DAY, T0 + DAY / 8, T0 + DAY]})
        asked: list[str] = []

        def read(view: View, where: str) -> pa.Table:
            asked.append(where)
            return popularity([(1, T0, 5)])

        joined = feature_history.join(spine, NAMES, read)
        assert joined.schema.names[:4] == ["label", "track_id", "at", "track_popularity__event_at"]
        assert joined["label"].to_pylist() == ["b", "a", "c"]
        assert joined["track_popularity__streams_7d"].to_pylist() == [5, None, None]
        # What can't answer is not read.
        assert asked == [
            "available_at <= '2026-10-02T00:00:00+00:00' and event_at >= '2026-09-29T03:00:00+00:00'"
            " and track_id in (1, 2)"
        ]

    def test_of_nothing_is_nothing_with_all_columns(self) -> None:
        spine = pa.table({"track_id": pa.array([], pa.int64()), "at": pa.array([], pa.timestamp("us", "UTC"))})
        joined = feature_history.join(spine, NAMES, lambda view, where: popularity([]))
        assert joined.num_rows == 0
        assert len(joined.schema.names) == 3 + len(POPULARITY.columns)


class TestRecorded:
    @staticmethod
    def row(track: int, sha256: str, version: str, **more: Any) -> dict[str, Any]:
        return {"track_id": track, "sha256": sha256, "extractor": "one-pass", "extractor_version": version} | more

    def test_what_is_new_is_recorded_once(self) -> None:
        published = [self.row(2, "b", "2.0.0"), self.row(1, "a", "2.0.0"), self.row(1, "a", "10.0.0")]
        new = unrecorded(published, [])
        assert new == [self.row(1, "a", "10.0.0"), self.row(2, "b", "2.0.0")]
        recorded = [row | {"available_at": T0} for row in new]
        assert unrecorded(published, recorded) == []
        better = self.row(2, "b", "2.0.1")
        assert unrecorded([*published, better], recorded) == [better]
        recorded.append(better | {"available_at": T0 + DAY})
        assert unrecorded([*published, better], recorded) == []

    def test_another_recording_of_a_track_counts_when_it_comes(self) -> None:
        old, new = self.row(1, "z", "2.0.0"), self.row(1, "a", "2.0.0")
        recorded = [old | {"available_at": T0}]
        assert unrecorded([old, new], recorded) == [new]
        for published in ([old, new], [new, old]):
            assert unrecorded(published, [new | {"available_at": T0 + DAY}, *recorded]) == []


class TestLake:
    """On real Iceberg tables, in a catalogue and a folder of the test's own."""

    @pytest.fixture
    def settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
        from pyiceberg.catalog.sql import SqlCatalog

        made = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
        monkeypatch.setattr(lake, "catalog", lambda settings: made)
        for namespace in ("silver_audit", "gold_audit"):
            made.create_namespace(namespace)
        for table in (feature_history.AUDIO, feature_history.AUDIO_HISTORY, POPULARITY.table):
            lake.create(made, load(table))
        return load_settings()

    @staticmethod
    def publish(settings: Settings, table: str) -> None:
        snapshot = lake.catalog(settings).load_table(table).current_snapshot()
        assert snapshot is not None
        publish.move_tag(settings, table, publish.PUBLISHED, snapshot.snapshot_id)

    @staticmethod
    def extracted(track: int, version: str, tempo_bpm: float) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for column in load(feature_history.AUDIO).columns:
            values = {"string": "A", "integer": 1, "number": 0.5, "list<number>": [0.25, 0.5]}
            made[column.name] = values[column.type] if column.required else None
        return made | {
            "track_id": track,
            "sha256": f"sha-{track}",
            "extractor_version": version,
            "tempo_bpm": tempo_bpm,
        }

    def extract(self, settings: Settings, *rows: dict[str, Any]) -> None:
        schema = load(feature_history.AUDIO).arrow_schema()
        lake.append(settings, feature_history.AUDIO, pa.Table.from_pylist(list(rows), schema))

    def joined(self, settings: Settings, *asked: tuple[int, datetime]) -> list[float | None]:
        spine = pa.table({"track_id": [track for track, _ in asked], "at": [at for _, at in asked]})
        view = views()["track_audio"]
        found = feature_history.join(spine, [view], feature_history.reader(settings))
        tempi: list[float | None] = found[view.joined("tempo_bpm")].to_pylist()
        return tempi

    def test_features_are_seen_from_the_moment_that_they_were_recorded_as_published(self, settings: Settings) -> None:
        self.extract(settings, self.extracted(1, "1.0.0", 100.0))
        self.publish(settings, feature_history.AUDIO)
        assert feature_history.record(settings, T0) == 1
        self.publish(settings, feature_history.AUDIO_HISTORY)

        self.extract(settings, self.extracted(1, "2.0.0", 120.0), self.extracted(2, "2.0.0", 90.0))
        assert feature_history.record(settings, T0 + DAY) == 0  # not published yet
        self.publish(settings, feature_history.AUDIO)
        assert feature_history.record(settings, T0 + 2 * DAY) == 2
        assert feature_history.record(settings, T0 + 3 * DAY) == 0
        self.publish(settings, feature_history.AUDIO_HISTORY)

        second = timedelta(seconds=1)
        asked = [
            (2, T0 + 2 * DAY),
            (1, T0 + 2 * DAY),
            (1, T0 + 2 * DAY - second),
            (1, T0 - second),
            (2, T0 + DAY),
            (3, T0 + 9 * DAY),
        ]
        assert self.joined(settings, *asked) == [90.0, 120.0, 100.0, None, None, None]

    def test_a_clock_that_went_back_records_nothing(self, settings: Settings) -> None:
        self.extract(settings, self.extracted(1, "1.0.0", 100.0))
        self.publish(settings, feature_history.AUDIO)
        feature_history.record(settings, T0)
        with pytest.raises(FatalError, match="has rows of 2026-10-01"):
            feature_history.record(settings, T0)

    def test_what_is_not_published_is_not_joined(self, settings: Settings) -> None:
        with pytest.raises(FatalError, match="no snapshot 'published'"):
            self.joined(settings, (1, T0))

    def test_the_newest_values_are_of_a_date_that_is_over(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fill(settings, [(1, T0, 5), (2, T0 - DAY, 6), (3, T0 - 3 * DAY, 7), (1, T0 + DAY, 8)])
        asked: list[Any] = []

        def query(settings: Settings, sql: str, parameters: list[datetime]) -> trino.Result:
            asked.extend((sql, *parameters))
            return trino.Result(("available_at",), [(T0 + DAY / 4,)])

        monkeypatch.setattr(trino, "query", query)
        # Half past four: what is available from six on is published already.
        now = T0 + timedelta(hours=4.5)
        rows = feature_history.newest_values(settings, POPULARITY, now).to_pylist()
        assert [(row["track_id"], row["streams_7d"]) for row in rows] == [(1, 5), (2, 6)]
        assert asked == ["select max(available_at) from lake.gold.track_popularity_daily where event_at <= ?", now]

    def fill(self, settings: Settings, popular: list[tuple[int, datetime, int]]) -> None:
        """Popularity by (track, event time, streams), published."""
        rows = popularity(popular)
        rows = rows.append_column("as_of_on", rows["event_at"].cast(pa.timestamp("us")).cast(pa.date32()))
        lake.append(settings, POPULARITY.table, rows)
        self.publish(settings, POPULARITY.table)

    def test_the_filter_reads_what_can_answer_and_changes_no_answer(self, settings: Settings) -> None:
        days = [T0 + number * DAY for number in range(10)]
        self.fill(settings, [(track, day, day.day * track) for track in (1, 2, 3) for day in days])
        read = feature_history.reader(settings)
        sizes: list[int] = []

        def counted(view: View, where: str) -> pa.Table:
            sizes.append((found := read(view, where)).num_rows)
            return found

        spine = pa.table({"track_id": [2, 3, 2], "at": [T0 + 5 * DAY, T0 + 6 * DAY, T0 - DAY]})
        for part, most in ((spine, 12), (spine.slice(0, 1), 2), (spine.slice(0, 0), 0)):
            joined = feature_history.join(part, NAMES, counted)
            assert joined.equals(feature_history.join(part, NAMES, lambda view, where: read(view, "")))
            assert sizes.pop() == most
        assert feature_history.join(spine, NAMES, read)["track_popularity__streams_7d"].to_pylist() == [10, 18, None]


NUMBERS = st.floats(allow_nan=False)


class TestOnline:
    @given(st.integers(-(2**63), 2**63 - 1), NUMBERS, st.lists(NUMBERS, max_size=3), st.text(), st.booleans())
    def test_values_read_back_as_they_are_in_the_lake(
        self, track: int, number: float, numbers: list[float], text: str, known: bool
    ) -> None:
        view = views()["track_audio"]
        names = ("tempo_bpm", "mfcc_mean", "musical_key", "silence_end_ms")
        view = replace(view, columns=names)
        contract = load(view.table)
        row = dict(zip(names, (number, numbers, text, track if known else None), strict=True))
        table = pa.Table.from_pylist(
            [row | {"track_id": track, "available_at": T0}],
            pa.schema([contract.arrow_schema().field(name) for name in view.read]),
        )
        assert decoded(view, encoded(view, table)[track]) == row

    @pytest.mark.parametrize(
        ("age", "status"),
        [(timedelta(0), "fresh"), (2 * DAY, "fresh"), (2 * DAY + timedelta(seconds=1), "stale"), (-DAY, "early")],
    )
    def test_values_are_given_within_the_bound_alone(self, age: timedelta, status: str) -> None:
        fields = encoded(POPULARITY, popularity([(1, T0, 5)]))[1]
        found = reading(POPULARITY, fields, T0 + age)
        assert (found.status, found.event_at, found.age) == (status, T0, age)
        assert found.values.get("streams_7d") == (5 if status == "fresh" else None)
        assert bool(found.values) == (status == "fresh")

    def test_without_a_bound_values_hold(self) -> None:
        found = reading(views()["track_audio"], {"event_at": T0.isoformat(), "tempo_bpm": "120.5"}, T0 + 5000 * DAY)
        assert (found.status, found.values["tempo_bpm"], found.values["mfcc_mean"]) == ("fresh", 120.5, None)

    def test_what_is_not_there_is_missing(self) -> None:
        assert reading(POPULARITY, {}, T0).status == "missing"

    def test_equals_a_join_at_the_same_moment(self) -> None:
        history = popularity([(1, T0, 5), (1, T0 + DAY, 6), (2, T0 - 3 * DAY, 7)])
        at = T0 + 1.5 * DAY
        online = encoded(POPULARITY, newest(POPULARITY, history, pa.scalar(at, pa.timestamp("us", "UTC"))))
        spine = pa.table({"track_id": [1, 2], "at": [at, at]})
        for row in feature_history.join(spine, NAMES, lambda view, where: history).to_pylist():
            found = reading(POPULARITY, online.get(row["track_id"], {}), at)
            assert found.event_at == row["track_popularity__event_at"]
            for name in POPULARITY.columns:
                assert found.values.get(name) == row[f"track_popularity__{name}"]

    def test_comparing_with_the_lake_counts_what_differs(self) -> None:
        newest_rows = popularity([(1, T0 + DAY, 5), (2, T0 + DAY, 6), (3, T0 + DAY, 7)])
        online = encoded(POPULARITY, popularity([(1, T0 + DAY, 5), (2, T0, 6)]))
        told = compared(POPULARITY, newest_rows, lambda view, ids: {i: online.get(i, {}) for i in ids}, T0 + 2.5 * DAY)
        assert told == {
            "equal": 1,
            "different": 1,
            "missing": 1,
            "stale": 1,
            "oldest_event_at": T0.isoformat(),
            "newest_event_at": (T0 + DAY).isoformat(),
        }


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (DAY / 8 + DAY / 120, "fresh, 3 h 12 min old (of 2026-10-01 00:00:00 UTC)"),
        (
            30 * DAY,
            f"stale, 30 d old (of 2026-10-01 00:00:00 UTC), and {POPULARITY.max_age.days} d are allowed; withheld",
        ),
        (-DAY / 24, "early, of 2026-10-01 00:00:00 UTC, which is 1 h after the moment asked for; withheld"),
    ],
)
def test_online_features_tell_their_age_in_words(after: timedelta, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Store:
        def __init__(self, _: Settings) -> None:
            pass

        def read(self, _: str, ids: list[int]) -> dict[int, dict[str, str]]:
            return {id_: encoded(POPULARITY, popularity([(1, T0, 5)])).get(id_, {}) for id_ in ids}

        def close(self) -> None:
            pass

    monkeypatch.setattr(feature_store, "FeatureStore", Store)
    asked = ["online", "1", "--views", POPULARITY.name, "--at", (T0 + after).isoformat()]
    assert f"{POPULARITY.name}: {says}" in CliRunner().invoke(app, asked).stdout.splitlines()[0]
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)[POPULARITY.name]
    assert (found["age_s"], found["event_at"]) == (after.total_seconds(), T0.isoformat())
    missing = CliRunner().invoke(app, ["online", "2", "--views", POPULARITY.name])
    assert missing.stdout.startswith(f"{POPULARITY.name}: missing\n")
