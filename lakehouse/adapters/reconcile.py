"""Reconciliation: from the truth ledger to the last cent, each figure computed two ways.

Nothing of dbt is used here: the ledger is judged by its own labels, royalties are shared out in Python by
`lakehouse.domain.royalties.allocation`, and the tables are counted as they stand.
"""

# ruff: noqa: S608 -- the statements are put together from constants of this module and names of topics
from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.adapters import catalog_relay, kafka, lake, publish, trino, truth_ledger
from lakehouse.config.settings import Settings
from lakehouse.contracts import EVENT_TOPICS, SIMULATED_TOPICS, all_ids, load
from lakehouse.domain.listening.rules import counts_live_sql
from lakehouse.domain.royalties import allocation, terms
from lakehouse.errors import FatalError

#: Records that never become a row of bronze: they can't be decoded.
UNDECODABLE = ("malformed", "unknown_schema")
#: Defects that no rule refuses: the play is good, but its track is nobody's.
ACCEPTED_DEFECTS = ("unknown_track",)
#: A play counts from this time on (policy streamed-30s), written down here a second time on purpose.
STREAM_MS = 30_000
#: What `_intake_of_others` waits for records that are under way: bronze is some 10 s, a checkpoint, behind Kafka.
ARRIVAL_S, POLL_S = 60.0, 2.0


@dataclass(frozen=True)
class Check:
    """Two ways to the same figure."""

    name: str
    left_of: str
    left: int
    right_of: str
    right: int

    @property
    def difference(self) -> int:
        """Left less right."""
        return self.left - self.right

    @property
    def equal(self) -> bool:
        """Whether both ways agree."""
        return self.left == self.right


@dataclass(frozen=True)
class Truth:
    """What the ledgers say of one topic, all runs together; `valid` holds each good event once."""

    records: int
    undecodable: int
    rejected: dict[str, int]
    duplicates: int
    valid: pa.Table


def reconcile(settings: Settings) -> list[Check]:
    """Every check, in the order of the data's way.

    Raises:
        FatalError: there is no ledger of a finished simulation to compare with.
        RetryableError: an engine does not answer.
    """
    runs = [run for run in truth_ledger.runs(settings) if run.is_produced]
    if not runs:
        raise FatalError("There is no truth ledger to compare with.", hint="Run `wavehouse simulate plays` first.")
    truths = {topic: _truth([run.table(topic) for run in runs]) for topic in SIMULATED_TOPICS}
    return [
        *_intake(settings, truths),
        *_intake_of_others(settings),
        *_silver(settings, truths),
        *_flags(settings, truths["plays"].valid),
        *_live(settings),
        *_marts(settings, truths["plays"]),
        *_royalties(settings, truths["plays"]),
    ]


def _truth(tables: list[pa.Table]) -> Truth:
    table = pa.concat_tables(tables)
    defect = table["defect"]
    bad = Counter(defect.drop_null().to_pylist())
    good = pc.or_kleene(pc.is_null(defect), pc.is_in(defect, pa.array(ACCEPTED_DEFECTS)))
    events = table.filter(good)
    valid = events.filter(pc.invert(events["is_duplicate"]))
    return Truth(
        records=table.num_rows,
        undecodable=sum(bad[code] for code in UNDECODABLE),
        rejected={code: n for code, n in bad.items() if code not in (*UNDECODABLE, *ACCEPTED_DEFECTS)},
        duplicates=events.num_rows - valid.num_rows,
        valid=valid,
    )


def _scalar(settings: Settings, sql: str) -> int:
    return int(trino.query(settings, sql).rows[0][0] or 0)


def _intake(settings: Settings, truths: dict[str, Truth]) -> Iterable[Check]:
    """Kafka to bronze: nothing lost, nothing twice. A simulation sent again leaves repeated records, not new events."""
    for topic, truth in truths.items():
        dead = f"lake.bronze.dead_letters where topic = '{topic}'"
        positions = _scalar(
            settings, f"select count(*) from (select distinct kafka_partition, kafka_offset from lake.bronze.{topic})"
        )
        yield Check(
            f"{topic}: bronze holds each Kafka record once",
            "rows",
            lake.row_count(settings, f"bronze.{topic}"),
            "distinct positions",
            positions,
        )
        lost = len(set(truth.valid["event_id"].to_pylist()) - _event_ids(settings, f"bronze.{topic}"))
        yield Check(f"{topic}: good events produced and not in bronze", "lost", lost, "expected", 0)
        decodable = truth.valid.num_rows + sum(truth.rejected.values())
        distinct = _scalar(settings, f"select count(distinct event_id) from lake.bronze.{topic}")
        yield Check(f"{topic}: distinct events", "ledger", decodable, "bronze", distinct)
        letters = _scalar(settings, f"select count(*) from {dead}")
        produced = sum(kafka.end_offsets(settings, topic).values())
        yield Check(f"{topic}: records", "Kafka", produced, "bronze + dead letters", positions + letters)
        # A simulation that was interrupted sends its bad records again too, and each is kept.
        kept = letters if produced == truth.records else min(letters, truth.undecodable)
        yield Check(f"{topic}: undecodable records kept", "ledger", truth.undecodable, "dead letters", kept)


def _intake_of_others(settings: Settings) -> Iterable[Check]:
    """Kafka to bronze for the topics that no simulation fills; nothing sent yet is fine too.

    They are written to at any time. So what was sent is asked first and looked for afterwards, up to where the topics
    ended then, and bronze is given time for it.
    """
    before = catalog_relay.noted(settings)
    deadline = time.monotonic() + ARRIVAL_S
    for topic in (topic for topic in EVENT_TOPICS if topic not in SIMULATED_TOPICS):
        ends = kafka.end_offsets(settings, topic)
        produced = sum(ends.values())
        while (found := _kept_before(settings, topic, ends)).total < produced and time.monotonic() < deadline:
            time.sleep(POLL_S)
        yield Check(
            f"{topic}: bronze holds each Kafka record once", "rows", found.rows, "distinct positions", found.positions
        )
        yield Check(f"{topic}: records", "Kafka", produced, "bronze + dead letters", found.total)
    kept = _event_ids(settings, "bronze.catalog_changes")
    after = catalog_relay.noted(settings)
    yield Check("catalog_changes: changes sent and not in bronze", "lost", len(before.sent - kept), "expected", 0)
    unknown = kept - after.sent - after.unsent
    yield Check("catalog_changes: events of no change in the outbox", "bronze", len(unknown), "expected", 0)
    yield Check("catalog_changes: changes too large to be sent", "outbox", after.refused, "expected", 0)


@dataclass(frozen=True)
class _Kept:
    """Rows of a topic's bronze table, their distinct positions in Kafka, and the topic's dead letters."""

    rows: int
    positions: int
    letters: int

    @property
    def total(self) -> int:
        """Records that are somewhere."""
        return self.positions + self.letters


def _kept_before(settings: Settings, topic: str, ends: dict[int, int]) -> _Kept:
    """What is kept of the records that lie before the offset `ends` of their partition."""
    before = " or ".join(f"kafka_partition = {place} and kafka_offset < {end}" for place, end in ends.items())
    rows, positions = trino.query(
        settings,
        "select coalesce(sum(copies), 0), count(*) from (select count(*) as copies "
        f"from lake.bronze.{topic} where {before} group by kafka_partition, kafka_offset)",
    ).rows[0]
    letters = _scalar(settings, f"select count(*) from lake.bronze.dead_letters where topic = '{topic}' and ({before})")
    return _Kept(int(rows), int(positions), letters)


def _event_ids(settings: Settings, table: str) -> set[str]:
    return set(lake.read(settings, table, columns=("event_id",))["event_id"].to_pylist())


def _silver(settings: Settings, truths: dict[str, Truth]) -> Iterable[Check]:
    """Bronze to silver: duplicates dropped, bad ones set apart by reason, bots flagged."""
    for topic, truth in truths.items():
        silver = _scalar(settings, f"select count(*) from lake.silver.{topic}")
        yield Check(f"{topic}: valid events", "ledger", truth.valid.num_rows, "silver", silver)
        rejected = 0
        if has_rejected := f"silver_audit.{topic}_rejected" in all_ids():
            found = trino.query(
                settings, f"select reason, count(distinct event_id) from lake.silver.{topic}_rejected group by 1"
            )
            by_reason = {str(reason): int(n) for reason, n in found.rows}
            for reason in sorted(truth.rejected.keys() | by_reason.keys()):
                yield Check(
                    f"{topic}: refused as {reason}",
                    "ledger",
                    truth.rejected.get(reason, 0),
                    "silver",
                    by_reason.get(reason, 0),
                )
            rejected = _scalar(settings, f"select count(*) from lake.silver.{topic}_rejected")
        if "is_bot" in load(f"silver_audit.{topic}").arrow_schema().names:
            bots = _scalar(settings, f"select count_if(is_bot) from lake.silver.{topic}")
            yield Check(f"{topic}: bots set apart", "ledger", _true(truth.valid, "is_bot"), "silver", bots)
        bronze = lake.row_count(settings, f"bronze.{topic}")
        copies = _scalar(
            settings,
            "select coalesce(sum(copies - 1), 0) from (select count(*) as copies from lake.bronze."
            f"{topic} as b where not exists (select 1 from lake.silver.{topic}_rejected as r "
            "where r.kafka_partition = b.kafka_partition and r.kafka_offset = b.kafka_offset) group by event_id)"
            if has_rejected
            else f"select count(*) - count(distinct event_id) from lake.bronze.{topic}",
        )
        yield Check(f"{topic}: in = out + refused + duplicates", "bronze", bronze, "silver", silver + rejected + copies)


def _flags(settings: Settings, valid: pa.Table) -> Iterable[Check]:
    """Artificial plays by the simulator's own account against those that the rules flag."""
    flags = lake.read(settings, "silver_audit.play_flags", columns=("event_id", "rule"), tag=publish.PUBLISHED)
    flagged: dict[str, set[str]] = defaultdict(set)
    for row in flags.to_pylist():
        flagged[row["rule"]].add(row["event_id"])
    bots = set(valid.filter(valid["is_bot"])["event_id"].to_pylist())
    yield Check(
        "artificial plays: bot-user-agent", "ledger", len(bots), "flags", len(flagged.pop("bot-user-agent", ()))
    )
    made: dict[str, set[str]] = defaultdict(set)
    for row in valid.filter(pc.is_valid(valid["artificial"])).select(["event_id", "artificial"]).to_pylist():
        made[row["artificial"]].add(row["event_id"])
    # Automata that say what they are behave so too; only the others show what the rule is worth.
    for rule in sorted(made.keys() | flagged.keys()):
        found = flagged[rule] - bots
        yield Check(f"artificial plays: {rule}", "ledger", len(made[rule]), "flags", len(found))
        yield Check(f"ordinary plays flagged: {rule}", "flags", len(found - made[rule]), "expected", 0)


def _true(table: pa.Table, column: str) -> int:
    return int(pc.sum(table[column]).as_py() or 0)


def _live(settings: Settings) -> Iterable[Check]:
    """Silver against the stream job's windows in ClickHouse, which come to their figures without the lake."""
    from lakehouse.adapters import clickhouse

    client = clickhouse.connect(settings, "reader")
    try:
        plays = client.query(
            "select sum(plays), sum(streams), sum(bot_plays), sum(ms_played), count() "
            "from live.play_minutes final where plays > 0"
        ).result_rows[0]
        ads = client.query(
            "select sum(impressions), sum(cost_micros), count() from live.ad_minutes final where impressions > 0"
        ).result_rows[0]
    finally:
        client.close()
    silver = trino.query(
        settings,
        "select sum(plays), sum(streams), sum(bot_plays), sum(ms_played), count(*) from (select count(*) as plays, "
        "count_if(is_stream) as streams, count_if(is_bot) as bot_plays, sum(ms_played) as ms_played "
        f"from lake.silver.plays where {counts_live_sql('played_at')} "
        "group by date_trunc('minute', played_at), track_id, country, user_id)",
    ).rows[0]
    for name, left, right in zip(("plays", "streams", "bot plays", "ms played", "windows"), silver, plays, strict=True):
        yield Check(f"live: {name}", "silver", int(left or 0), "ClickHouse", int(right or 0))
    silver = trino.query(
        settings,
        "select sum(impressions), sum(cost), count(*) "
        "from (select count(*) as impressions, sum(cost_micros) as cost "
        f"from lake.silver.ad_impressions where {counts_live_sql('shown_at')} "
        "group by date_trunc('minute', shown_at), campaign_id, country, user_id)",
    ).rows[0]
    for name, left, right in zip(("impressions", "ad cost (micros)", "ad windows"), silver, ads, strict=True):
        yield Check(f"live: {name}", "silver", int(left or 0), "ClickHouse", int(right or 0))


def too_late(settings: Settings) -> dict[str, int]:
    """Events in silver that came too late for the live minutes of their time, by the live table that lacks them.

    They are told by the rule that the stream job goes by; reads two columns of all of silver.

    Raises:
        FatalError: nothing is published yet.
        RetryableError: Trino does not answer.
    """
    return {
        table: _scalar(settings, f"select count(*) from lake.silver.{source} where not {counts_live_sql(event_time)}")
        for table, source, event_time in (
            ("play_minutes", "plays", "played_at"),
            ("ad_minutes", "ad_impressions", "shown_at"),
        )
    }


def _streams(valid: pa.Table) -> pa.Table:
    """The plays of the ledger that count: heard long enough, and by people."""
    long_enough = pc.greater_equal(valid["ms_played"], STREAM_MS)
    return valid.filter(pc.and_(long_enough, pc.invert(valid["is_bot"])))


def _royalty_streams(valid: pa.Table) -> pa.Table:
    """Those that are paid: the farms of the simulator, which says itself what they are, are not (streamed-30s@2)."""
    streams = _streams(valid)
    return streams.filter(pc.is_null(streams["artificial"]))


def _marts(settings: Settings, plays: Truth) -> Iterable[Check]:
    streams = _streams(plays.valid).num_rows
    sums = "select sum(plays), sum(streams), sum(ms_played), sum(royalty_streams) from lake.gold"
    daily = trino.query(settings, f"{sums}.streams_daily").rows[0]
    monthly = trino.query(settings, f"{sums}.streams_monthly").rows[0]
    yield Check("streams", "ledger", streams, "streams_daily", int(daily[1] or 0))
    paid = _royalty_streams(plays.valid)
    yield Check("streams that bear royalties", "ledger", paid.num_rows, "streams_daily", int(daily[3] or 0))
    yield Check(
        "time heard (ms)",
        "ledger",
        int(pc.sum(plays.valid["ms_played"]).as_py() or 0),
        "streams_daily",
        int(daily[2] or 0),
    )
    for name, left, right in zip(("plays", "streams", "ms played", "royalty streams"), daily, monthly, strict=True):
        yield Check(f"months are the sum of their days: {name}", "daily", int(left or 0), "monthly", int(right or 0))
    people = plays.valid.filter(pc.invert(plays.valid["is_bot"]))
    wrapped = _scalar(settings, "select sum(plays) from lake.gold.wrapped")
    yield Check("Wrapped: plays of people", "ledger", people.num_rows, "wrapped", wrapped)
    known = set(lake.read(settings, "bronze.catalog_content", columns=("content_id",))["content_id"].to_pylist())
    catalogued = pa.array(sorted(known), pa.int64())
    for name, heard, column in (
        ("streams of catalogued tracks", _streams(plays.valid), "streams"),
        ("streams of catalogued tracks that bear royalties", paid, "royalty_streams"),
    ):
        of_artists = pc.sum(pc.is_in(heard["track_id"], catalogued)).as_py() or 0
        creators = _scalar(settings, f"select sum({column}) from lake.gold.creators_daily")
        yield Check(name, "ledger", int(of_artists), "creators_daily", creators)
    cost = _scalar(settings, "select sum(cost_micros) from lake.silver.ad_impressions")
    reported = _scalar(settings, "select sum(cost_micros) from lake.gold.advertisers_daily")
    yield Check("cost of ads (micros)", "silver", cost, "advertisers_daily", reported)
    clicks = _scalar(
        settings,
        "select count(*) from lake.silver.ad_clicks"
        " where impression_event_id in (select event_id from lake.silver.ad_impressions)",
    )
    reported = _scalar(settings, "select sum(clicks) from lake.gold.advertisers_daily")
    yield Check("clicks on ads", "silver", clicks, "advertisers_daily", reported)


Line = tuple[str, str, int]


def expected_royalties(
    streams: dict[Line, int], revenue: Iterable[dict[str, Any]], payees: dict[int, int]
) -> dict[Line, tuple[int, int]]:
    """Royalties computed from first principles: (period, country, track) -> (payee, minor units).

    `streams` counts streams by period, country and track; `revenue` has rows of period, country and revenue_minor.
    Tracks without a payee get nothing and take part in nothing.
    """
    pools: dict[tuple[str, str], int] = defaultdict(int)
    for row in revenue:
        pools[row["period"], row["country"]] += row["revenue_minor"]
    weights: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for (period, country, track), count in streams.items():
        if track in payees and (period, country) in pools:
            weights[period, country][track] = count
    return {
        (period, country, track): (payees[track], amount)
        for (period, country), shares in weights.items()
        for track, amount in allocation.allocate(terms.pool_minor(pools[period, country], period), shares).items()
    }


def _royalties(settings: Settings, plays: Truth) -> Iterable[Check]:
    heard = _royalty_streams(plays.valid)
    table = pa.table(
        {"period": pc.strftime(heard["played_at"], "%Y-%m"), "country": heard["country"], "track_id": heard["track_id"]}
    )
    counted = table.group_by(["period", "country", "track_id"]).aggregate([([], "count_all")]).to_pylist()
    streams = {(row["period"], row["country"], row["track_id"]): row["count_all"] for row in counted}
    revenue = trino.query(settings, "select period, country, revenue_minor from lake.silver.revenue").dicts()
    catalogue = lake.read(settings, "bronze.catalog_content", columns=("content_id", "artist_id")).to_pylist()
    payees = {row["content_id"]: row["artist_id"] for row in catalogue}
    expected = expected_royalties(streams, revenue, payees)
    found = trino.query(
        settings, "select period, country, track_id, payee_id, amount_minor from lake.gold.royalties"
    ).rows
    paid = {(period, country, track): (payee, amount) for period, country, track, payee, amount in found}
    yield Check("royalties: lines", "from the ledger", len(expected), "royalties", len(found))
    differing = sum(expected.get(line) != paid.get(line) for line in expected.keys() | paid.keys())
    yield Check("royalties: lines that differ by payee or minor unit", "differing", differing, "expected", 0)
    pools = trino.query(
        settings, "select period, country, pool_minor, unallocated_minor, currency from lake.gold.royalty_pools"
    ).rows
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for (period, country, _), (_, amount) in paid.items():
        sums[period, country] += amount
    for period, country, pool, unallocated, currency in sorted(pools):
        yield Check(
            f"royalties {period} {country} ({currency}, minor units)",
            "pool",
            pool - unallocated,
            "paid",
            sums[period, country],
        )
    unmatched = sum(n for (_, _, track), n in streams.items() if track not in payees)
    kept = _scalar(settings, "select sum(streams) from lake.gold.royalties_unmatched")
    yield Check("streams of unknown tracks, never paid", "ledger", unmatched, "royalties_unmatched", kept)
    statements = _scalar(settings, "select sum(amount_minor) from lake.gold.royalty_statements")
    yield Check("statements (minor units)", "royalties", sum(sums.values()), "statements", statements)
