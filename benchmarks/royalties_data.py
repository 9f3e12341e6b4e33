"""A month of streams on the scale of a large service, as Parquet files: seeded, a day at a time, in bounded memory.

Popularity follows Zipf's law with exponent 1 over all tracks; a few listeners hear much, most hear little. Markets,
prices and products are those of the simulator. Beside every ten streams there is a play that doesn't count (skipped,
or by an automaton), and one track in a thousand is unknown to the catalogue. Files have those columns of silver
that the models of listening and royalties read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lakehouse.contracts import load
from lakehouse.domain.simulation.world import MARKETS

PERIOD, DAYS = "2026-10", 31
FIRST = date(2026, 10, 1)
TIERS = ("free", "premium")
CONTEXTS = ("album", "artist", "playlist", "search", "radio", "library")
CONTEXT_WEIGHTS = (0.18, 0.08, 0.44, 0.1, 0.1, 0.1)
#: Plays that don't count, for every so many streams.
STREAMS_A_SKIP = 10
UNKNOWN_EVERY = 1000
#: A listener's place among all is a uniform number to this power: the first tenth of them plays almost half.
LOYALTY = 3.0
CHUNK_ROWS = 1_000_000
#: One stream in so many is flagged as part of a loop; of plays that don't count this share is by automata, flagged too.
STREAMS_A_LOOP = 2_000
BOT_SHARE = 0.1
#: Columns by table. Contracts define them; these are the ones that the models of listening and royalties read.
COLUMNS = {
    "plays": (
        "event_id", "user_id", "track_id", "received_at", "ms_played", "context", "tier", "country", "played_on",
        "local_played_on", "is_bot", "is_stream",
    ),
    "play_flags": ("event_id", "rule", "played_on"),
    "tracks": ("track_id", "title", "artist_id", "artist_name"),
    "revenue": ("period", "country", "tier", "currency", "revenue_minor", "source_file"),
}  # fmt: skip

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """How much there is; the same values give the same files."""

    streams: int
    tracks: int
    payees: int
    listeners: int
    seed: int

    @property
    def name(self) -> str:
        """Names the folder of the files."""
        return f"{self.streams}-{self.tracks}-{self.payees}-{self.listeners}-{self.seed}"

    def streams_of(self, day: int) -> int:
        """Streams of the day (from 0); all days together have `streams`."""
        return self.streams * (day + 1) // DAYS - self.streams * day // DAYS


def schema(table: str) -> pa.Schema:
    """Columns of a silver table that the files have, as its contract defines them."""
    whole = load(f"silver_audit.{table}").arrow_schema()
    return pa.schema([whole.field(name).remove_metadata() for name in COLUMNS[table]])


def write(scale: Scale, folder: Path) -> dict[str, list[Path]]:
    """All files, by table; what is there from an earlier, perhaps interrupted, call is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, list[Path]] = {"plays": [], "play_flags": []}
    audience = _audience(scale)
    for day in range(DAYS):
        on = FIRST + timedelta(days=day)
        plays, flags = folder / f"plays-{on}.parquet", folder / f"play_flags-{on}.parquet"
        if not flags.exists():
            flagged: list[pa.Table] = []
            _write(plays, schema("plays"), _plays(scale, audience, day, flagged))
            _write(flags, schema("play_flags"), iter(flagged))
        made["plays"].append(plays)
        made["play_flags"].append(flags)
    for table, rows in (("tracks", _tracks(scale)), ("revenue", _revenue(scale))):
        path = folder / f"{table}.parquet"
        if not path.exists():
            _write(path, schema(table), iter([rows]))
        made[table] = [path]
    return made


def artist_of(scale: Scale, tracks: Ints) -> Ints:
    """The artist of each track, from 1: every one has about as many, and hits are spread over them."""
    return (tracks * 48_271 + scale.seed) % scale.payees + 1


def _write(path: Path, columns: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """Under another name first, so that a file with the right name is whole."""
    partial = path.with_suffix(".partial")
    with pq.ParquetWriter(partial, columns, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    partial.replace(path)


@dataclass(frozen=True)
class _Audience:
    """Market and product of every listener, as places in MARKETS and TIERS, and which track has which rank."""

    market: NDArray[np.int8]
    tier: NDArray[np.int8]
    track_at: NDArray[np.int32]


def _audience(scale: Scale) -> _Audience:
    rng = np.random.default_rng([scale.seed, DAYS])
    weights = np.array([market.weight for market in MARKETS])
    market = rng.choice(len(MARKETS), size=scale.listeners, p=weights / weights.sum()).astype(np.int8)
    premium = np.array([m.premium_share for m in MARKETS])[market]
    return _Audience(
        market,
        (rng.random(scale.listeners) < premium).astype(np.int8),
        rng.permutation(scale.tracks).astype(np.int32) + np.int32(1),
    )


def _plays(scale: Scale, audience: _Audience, day: int, flagged: list[pa.Table]) -> Iterator[pa.Table]:
    """The plays of a day in parts; what a rule has against some of them is added to `flagged`."""
    rng = np.random.default_rng([scale.seed, day])
    streams = scale.streams_of(day)
    total = streams + streams // STREAMS_A_SKIP
    skips_before = 0
    for start in range(0, total, CHUNK_ROWS):
        count = min(CHUNK_ROWS, total - start)
        skips = (start + count) * (total - streams) // total - skips_before
        skips_before += skips
        counts = np.ones(count, dtype=np.bool_)
        counts[rng.choice(count, size=skips, replace=False)] = False
        is_bot = ~counts & (rng.random(count) < BOT_SHARE)
        in_loop = counts & (np.arange(start, start + count) % STREAMS_A_LOOP == 0)
        listener = np.minimum((scale.listeners * rng.random(count) ** LOYALTY).astype(np.int64), scale.listeners - 1)
        rank = np.minimum(np.exp(rng.random(count) * np.log(scale.tracks + 1)).astype(np.int64), scale.tracks)
        on = FIRST + timedelta(days=day)
        known: dict[str, Any] = {
            "event_id": _event_ids(day, start, count),
            "user_id": listener + 1,
            "track_id": audience.track_at[rank - 1].astype(np.int64),
            "received_at": _same(datetime(on.year, on.month, on.day, 23, tzinfo=UTC), count, "received_at"),
            "ms_played": np.where(
                counts | is_bot, rng.integers(30_000, 300_000, count), rng.integers(0, 30_000, count)
            ),
            "context": _words(rng.choice(len(CONTEXTS), size=count, p=CONTEXT_WEIGHTS), CONTEXTS),
            "tier": _words(audience.tier[listener], TIERS),
            "country": _words(audience.market[listener], [market.country for market in MARKETS]),
            "played_on": _same(on, count, "played_on"),
            "local_played_on": _same(on, count, "local_played_on"),
            "is_bot": is_bot,
            "is_stream": counts,
        }
        whole = pa.table({name: known[name] for name in COLUMNS["plays"]}).cast(schema("plays"))
        for where, rule in ((is_bot, "bot-user-agent"), (in_loop, "track-loop")):
            found = whole.select(["event_id", "played_on"]).filter(pa.array(where))
            rules = pa.repeat(pa.scalar(rule), found.num_rows)
            flagged.append(found.append_column("rule", rules).select(COLUMNS["play_flags"]).cast(schema("play_flags")))
        yield whole


def _event_ids(day: int, start: int, count: int) -> pa.Array:
    """UUIDs (version 7) in order, as players give them: day and number of the play in the day stand in them."""
    numbers = pc.utf8_lpad(pa.array(np.arange(start, start + count)).cast(pa.string()), 12, "0")
    return pc.binary_join_element_wise(f"01999999-{day:04d}-7000-8000-", numbers, "")


def _same(value: object, count: int, column: str) -> pa.Array:
    return pa.repeat(pa.scalar(value, schema("plays").field(column).type), count)


def _words(places: NDArray[Any], words: Any) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), pa.array(list(words))).cast(pa.string())


def _tracks(scale: Scale) -> pa.Table:
    tracks = np.arange(1, scale.tracks + 1, dtype=np.int64)
    tracks = tracks[tracks % UNKNOWN_EVERY != 0]
    artists = artist_of(scale, tracks)
    return pa.table(
        {
            "track_id": tracks,
            "title": [f"Track {number}" for number in tracks],
            "artist_id": artists,
            "artist_name": [f"Artist {number}" for number in artists],
        }
    ).cast(schema("tracks"))


def _revenue(scale: Scale) -> pa.Table:
    """Of every market: the price of a month from its payers, and of other listeners the price of two ads a stream."""
    rows = []
    weights = sum(market.weight for market in MARKETS)
    for market in MARKETS:
        people = round(scale.listeners * market.weight / weights)
        payers = round(people * market.premium_share)
        ads = round(scale.streams * market.weight / weights * (1 - market.premium_share)) * 2
        earned = {"free": ads * market.ad_price_micros // 10_000, "premium": payers * market.premium_price_minor}
        rows += [
            {
                "period": PERIOD,
                "country": market.country,
                "tier": tier,
                "currency": market.currency,
                "revenue_minor": earned[tier],
                "source_file": "benchmark",
            }
            for tier in TIERS
        ]
    return pa.Table.from_pylist(rows, schema=schema("revenue"))
