"""The feature views on the data of the main job: counted again from the plays, joined, and equal online."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from lakehouse.adapters import trino
from lakehouse.adapters.feature_store import FeatureStore, key
from lakehouse.config.settings import Settings
from lakehouse.domain.features.views import views
from tests.conftest import wavehouse, wavehouse_json

pytestmark = pytest.mark.stack

POPULARITY = views()["track_popularity"]

#: What the plays themselves say of a date: those received before its end, of the 28 days that end with it.
FROM_PLAYS = """
select track_id,
    count_if(is_stream and played_on > date(?) - interval '7' day),
    count_if(is_stream),
    count(distinct user_id) filter (where played_on > date(?) - interval '7' day),
    count(distinct user_id),
    count(*),
    cast(count_if(reason_end = 'fwdbtn' and not is_stream) as double) / count(*)
from silver.plays
where not is_bot and received_at < date(?) + interval '1' day
    and played_on > date(?) - interval '28' day and played_on <= date(?)
group by track_id order by track_id
"""


@pytest.fixture
def dates(played: Settings) -> list[str]:
    """The first date with popularity, one in the middle and the last."""
    found = trino.query(played, "select distinct as_of_on from gold.track_popularity_daily order by 1", user="analyst")
    days = [str(day) for (day,) in found.rows]
    return [days[0], days[len(days) // 2], days[-1]]


def test_popularity_is_what_had_been_received_by_the_end_of_each_date(played: Settings, dates: list[str]) -> None:
    columns = ", ".join(POPULARITY.columns)
    for date in dates:
        rows = trino.query(
            played,
            f"select track_id, {columns} from gold.track_popularity_daily where as_of_on = date(?) order by 1",  # noqa: S608
            [date],
            user="analyst",
        ).rows
        assert rows
        assert rows == trino.query(played, FROM_PLAYS, [date] * 5, user="analyst").rows


def newest(settings: Settings) -> datetime:
    """The last moment at which popularity became available."""
    found = trino.query(settings, "select max(available_at) from gold.track_popularity_daily", user="analyst")
    moment: datetime = found.rows[0][0]
    return moment


def test_the_online_copy_equals_a_join_at_the_same_moment(played: Settings, tmp_path: Path) -> None:
    at = newest(played).isoformat()
    written = wavehouse_json("features", "materialize")
    assert written == wavehouse_json("features", "materialize")
    assert all(written.values())

    tracks = [t for (t,) in trino.query(played, "select track_id from silver.tracks order by 1", user="analyst").rows]
    spine = tmp_path / "spine.csv"
    csv.write_csv(pa.table({"track_id": tracks, "at": [at] * len(tracks)}), spine)
    file = tmp_path / "joined.parquet"
    told = wavehouse_json("features", "join", "--spine", str(spine), "--views", "track_popularity", "--out", str(file))
    joined = parquet.read_table(file).to_pylist()
    assert [row["track_id"] for row in joined] == tracks
    assert told["rows"] == len(tracks) > told["without_value"]["track_popularity"]
    for row in joined:
        found = wavehouse_json("features", "online", str(row["track_id"]), "--at", at)["track_popularity"]
        event_at = row["track_popularity__event_at"]
        assert found["status"] == ("fresh" if event_at else "missing")
        assert found["event_at"] == (event_at and event_at.isoformat())
        assert found["values"] == (
            {name: row[f"track_popularity__{name}"] for name in POPULARITY.columns} if event_at else {}
        )


def test_audio_features_are_online_and_known_only_since_they_were_published(played: Settings, tmp_path: Path) -> None:
    rows = trino.query(
        played,
        "select track_id, min(available_at), max_by(tempo_bpm, available_at), max(available_at) "
        "from silver.audio_features_history group by track_id",
        user="analyst",
    ).rows
    assert rows
    spine = pa.table(
        {
            "track_id": [track for track, *_ in rows] * 2,
            "at": [first - timedelta(seconds=1) for _, first, *_ in rows] + [last for *_, last in rows],
        }
    )
    parquet.write_table(spine, tmp_path / "spine.parquet")
    arguments = ("--spine", str(tmp_path / "spine.parquet"), "--out", str(tmp_path / "joined.parquet"))
    wavehouse_json("features", "join", *arguments, "--views", "track_audio")
    tempi = parquet.read_table(tmp_path / "joined.parquet")["track_audio__tempo_bpm"].to_pylist()
    assert tempi == [None] * len(rows) + [tempo for *_, tempo, _ in rows]

    track, _, tempo, _ = rows[0]
    found = wavehouse_json("features", "online", str(track), "--views", "track_audio")["track_audio"]
    assert (found["status"], found["values"]["tempo_bpm"]) == ("fresh", tempo)
    assert wavehouse_json("features", "record") == {"recorded": 0}


def test_what_is_old_or_differs_online_is_noticed(played: Settings) -> None:
    wavehouse_json("features", "materialize")
    at = newest(played).isoformat()
    arguments = ("features", "staleness", "--views", "track_popularity", "--at")
    assert wavehouse_json(*arguments, at)[0]["equal"] > 0
    assert wavehouse(*arguments, "2099-01-01T00:00:00Z", check=False).returncode == 1

    store = FeatureStore(played)
    track = wavehouse_json("sql", "select min(track_id) as t from gold.track_popularity_daily where as_of_on = "
                           "(select max(as_of_on) from gold.track_popularity_daily)")[0]["t"]  # fmt: skip
    fields = store.read("track_popularity", [track])[track]
    store.write("track_popularity", {track: fields | {"streams_7d": "-1"}})
    assert wavehouse(*arguments, at, check=False).returncode == 1
    assert wavehouse_json(*arguments, at, check=False)[0]["different"] == 1
    wavehouse_json("features", "materialize", "--views", "track_popularity")
    assert store.read("track_popularity", [track])[track] == fields
    assert key("track_popularity", track) == f"features:track_popularity:{track}"
    store.close()
