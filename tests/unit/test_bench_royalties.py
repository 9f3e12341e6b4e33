"""The benchmark of royalties at small size: its files and its baseline, which is compared with the rule in Python."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks import royalties_data, royalties_duckdb
from benchmarks.royalties_data import Scale
from lakehouse.domain.royalties.allocation import allocate

SCALE = Scale(streams=200_000, tracks=20_000, payees=500, listeners=10_000, seed=7)
SHARE_BPS = 7000


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("month")
    royalties_data.write(SCALE, folder)
    return folder


@pytest.fixture(scope="module")
def plays(month: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(month.glob("plays-*.parquet")))


def test_a_month_has_its_streams_and_every_play_is_another(plays: pa.Table) -> None:
    assert pc.sum(plays["is_stream"]).as_py() == SCALE.streams
    assert len(plays) > SCALE.streams
    assert pc.count_distinct(plays["event_id"]).as_py() == len(plays)
    long = pc.greater_equal(plays["ms_played"], 30_000)
    assert pc.all(pc.equal(plays["is_stream"], pc.and_(long, pc.invert(plays["is_bot"])))).as_py()
    assert pc.count_distinct(plays["country"]).as_py() > 5
    # far from even: the first hundredth of the tracks has more than a third of the plays
    counts = sorted(Counter(plays["track_id"].to_pylist()).values(), reverse=True)
    assert sum(counts[: SCALE.tracks // 100]) * 3 > len(plays)


def test_what_was_interrupted_is_completed_to_the_same_bytes(month: Path, tmp_path: Path) -> None:
    for path in month.glob("p*-2026-10-0[12].parquet"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "play_flags-2026-10-02.parquet").unlink()  # as after a kill between the two files of a day
    (tmp_path / "plays-2026-10-02.parquet").write_bytes(b"not whole")
    before = (tmp_path / "plays-2026-10-01.parquet").stat().st_mtime_ns
    royalties_data.write(SCALE, tmp_path)
    assert (tmp_path / "plays-2026-10-01.parquet").stat().st_mtime_ns == before
    names = sorted(path.name for path in month.glob("p*.parquet"))
    assert sorted(path.name for path in tmp_path.glob("p*.parquet")) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (month / name).read_bytes(), name


def test_the_baseline_pays_what_the_rule_says(month: Path, plays: pa.Table, tmp_path: Path) -> None:
    result = tmp_path / "out.parquet"
    royalties_duckdb.run(month, result, SHARE_BPS)
    flags = pa.concat_tables(pq.read_table(path) for path in month.glob("play_flags-*.parquet"))
    flagged = set(flags["event_id"].to_pylist())
    assert flagged
    artist_of = {row["track_id"]: row["artist_id"] for row in pq.read_table(month / "tracks.parquet").to_pylist()}
    streams: dict[str, Counter[int]] = {}
    for event, country, track, ms in zip(
        *(plays[name].to_pylist() for name in ("event_id", "country", "track_id", "ms_played")), strict=True
    ):
        if ms >= 30_000 and event not in flagged and track in artist_of:
            streams.setdefault(country, Counter())[track] += 1
    revenue: Counter[str] = Counter()
    for row in pq.read_table(month / "revenue.parquet").to_pylist():
        revenue[row["country"]] += row["revenue_minor"]
    expected = {
        (country, track): (artist_of[track], counts[track], amount)
        for country, counts in streams.items()
        for track, amount in allocate(revenue[country] * SHARE_BPS // 10_000, counts).items()
    }
    rows = pq.read_table(result)
    found = {
        (row["country"], row["track_id"]): (row["payee_id"], row["streams"], row["amount_minor"])
        for row in rows.to_pylist()
    }
    assert found == expected
    assert royalties_duckdb.differences(rows, result) == 0
    wrong = rows.set_column(
        5, "amount_minor", pc.add(rows["amount_minor"], pc.equal(rows["track_id"], 1).cast("int64"))
    )
    assert royalties_duckdb.differences(wrong, result) > 0
