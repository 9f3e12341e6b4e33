"""A month is settled, signed, closed, traced and restated on the real engines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lakehouse.adapters import (
    audit,
    publish,
    royalties,
    royalties_checklist,
    royalties_lake,
    royalties_ledger,
    royalties_trace,
    trino,
)
from lakehouse.adapters.royalties import Inputs, Settled
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.royalties import models, noise
from lakehouse.domain.royalties.contracts import build
from lakehouse.domain.royalties.dsr import records
from lakehouse.domain.royalties.models import ARTIST_CENTRIC, MODELS, Plays, Policy, Track, Units, count_units, weigh
from lakehouse.domain.royalties.pools import add_months
from lakehouse.domain.royalties.settlement import Line, settle
from lakehouse.errors import RejectedInputError
from tests.conftest import wavehouse, wavehouse_json

pytestmark = pytest.mark.stack


def month_played(books: Settings, inputs: Inputs) -> tuple[list[Plays], dict[str, Track]]:
    """The month's plays one by one, as plays and flags were when it was settled, and what is asked of their tracks.

    None of the models that units are counted by has a part in it.
    """
    keys = {(row.key.country, row.key.tier): row.key for row in inputs.revenue}
    tracks_then = f"lake.silver_audit.tracks for version as of {inputs.snapshots['silver_audit.tracks']}"
    first, after = f"{inputs.period}-01", f"{add_months(inputs.period, 1)}-01"
    year = f"{add_months(inputs.period, -11)}-01"
    bearing = royalties.royalty_plays(inputs)
    within = "where played_on >= cast(? as date) and played_on < cast(? as date)"
    annual = dict(
        trino.query(
            books,
            f"select track_id, count(*) from ({bearing}) {within} group by track_id",  # noqa: S608
            [year, after],
        ).rows
    )
    tracks = {
        str(track): Track(
            str(track), str(artist), (genre or "").strip().lower() in noise.genres(), annual.get(track, 0)
        )
        for track, artist, genre in trino.query(
            books,
            f"select track_id, artist_id, genre from {tracks_then}",  # noqa: S608
        ).rows
    }
    plays = [
        Plays(keys[country, tier], str(user), str(track), 1, int(context in ("search", "library")))
        for country, tier, user, track, context in trino.query(
            books,
            f"select country, tier, user_id, track_id, context from ({bearing}) {within}",  # noqa: S608
            [first, after],
        ).rows
        if str(track) in tracks
    ]
    return plays, tracks


def in_classes(units: Iterable[Units]) -> list[Units]:
    """Units as the lake keeps them: of listeners who streamed as much, one row a track."""
    sums: dict[Units, list[int]] = defaultdict(lambda: [0, 0])
    for row in units:
        of = sums[row._replace(streams=0, chosen=0)]
        of[0] += row.streams
        of[1] += row.chosen
    return sorted(row._replace(streams=streams, chosen=chosen) for row, (streams, chosen) in sums.items())


def lower_middle(values: Iterable[int]) -> int:
    """Of several different values one that is neither the largest nor, of three or more, the smallest."""
    distinct = sorted(set(values))
    return distinct[(len(distinct) - 1) // 2]


def settled_as_the_rules_say(books: Settings, settled: Settled) -> None:
    """What Trino counted and what came of it is what the domain counts and settles from single plays, row by row."""
    inputs = settled.inputs
    plays, tracks = month_played(books, inputs)
    counted = count_units(plays, tracks)
    assert counted
    for row in inputs.revenue:
        in_lake = royalties_lake.units(books, inputs.calculation.calculation, row.key)
        assert sorted(unit for part in in_lake for unit in part) == in_classes(counted.get(row.key, [])), row.key
    book = royalties.book_of(books, settled)
    accounts = (inputs.rates, inputs.opening, inputs.adjustments, inputs.account_adjustments)
    again = settle(inputs.period, inputs.revenue, weigh(plays, tracks), book, *accounts)
    assert again.digest() == settled.state.digest


def every_model_as_the_rules_say(books: Settings, settled: Settled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with all agreements of one model, and artist-centric figures that decide something here."""
    inputs = settled.inputs
    plays, tracks = month_played(books, inputs)
    units = [row for of_pool in count_units(plays, tracks).values() for row in of_pool]
    assert any(row.chosen for row in units) and any(row.chosen < row.streams for row in units)
    small = Policy(
        professional_streams=1 + lower_middle(row.artist_streams for row in units),
        professional_listeners=1,
        listener_cap=lower_middle(row.month_streams for row in units),
        minimum_annual_streams=1 + min(row.annual_streams for row in units),
    )
    assert any(row.month_streams > small.listener_cap for row in units)
    assert any(row.annual_streams >= small.minimum_annual_streams for row in units)
    book = royalties.book_of(books, settled)
    volume = royalties._volumes(books, inputs, book)
    with monkeypatch.context() as patched:
        patched.setattr(models, "Policy", partial(replace, small))
        uses = weigh(plays, tracks)
        assert {use.weight == 0 for use in uses if use.model == ARTIST_CENTRIC} == {True, False}
        for model in MODELS:
            agreements = {name: replace(row, model=model) for name, row in book.agreements.items()}
            of_model = replace(book, agreements=agreements)
            in_lake = royalties._settle(books, inputs, of_model, volume, keep=False)
            accounts = (inputs.rates, inputs.opening, inputs.adjustments, inputs.account_adjustments)
            assert in_lake.digest() == settle(inputs.period, inputs.revenue, uses, of_model, *accounts).digest(), model


def test_a_month_from_plays_to_closed_books(books: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    period = trino.query(books, "select max(period) from lake.gold.royalty_pools where streams > 0").rows[0][0]
    done = wavehouse_json("royalties", "run", "--period", period)
    assert done["changed"]
    assert wavehouse_json("royalties", "run", "--period", period) == done | {"changed": False}

    kept = royalties.kept(books, period)
    lines = list(royalties.lines(books, kept))
    assert len(lines) == kept.settlement.line_count == done["lines"]
    settled_as_the_rules_say(books, kept)
    every_model_as_the_rules_say(books, kept, monkeypatch)
    # What was played is settled, stream by stream; the catalogue's unknown tracks are told apart.
    sql = "select country, sum(streams) from lake.gold.royalties where period = ? group by country"
    streams: dict[str, int] = {}
    for pool in kept.settlement.pools:
        streams[pool.key.country] = streams.get(pool.key.country, 0) + pool.streams
        assert pool.net_minor == pool.claimed_minor + pool.retained_minor
        assert pool.unlicensed_streams == 0
    assert {country: n for country, n in streams.items() if n} == dict(trino.query(books, sql, [period]).rows)

    shares = (row for row in lines if row.rule == "share" and row.account == "payable")
    line = max(shares, key=lambda row: row.streams)
    number = 1 + royalties.lines_of(books, kept, line.payee_id).index(line)
    traced = wavehouse_json(
        "royalties", "trace", "--period", period, "--payee", line.payee_id, "--line", str(number), "--limit", "1000000"
    )
    assert traced["plays_in_all"] == line.streams
    assert len({play["event_id"] for play in traced["plays"]}) == line.streams

    assert wavehouse("royalties", "close", "--period", period, check=False).returncode == 65
    wavehouse("royalties", "approve", "--period", period, "--by", "Ada", "--digest", done["digest"])
    wavehouse("royalties", "close", "--period", period)
    again = wavehouse("royalties", "close", "--period", period, check=False)
    assert again.returncode == 65
    assert "closed" in again.stderr
    assert wavehouse_json("royalties", "recompute", "--period", period)["equal"]
    # However small the portions that are weighed at once, every digit is the same.
    monkeypatch.setattr(royalties_lake, "_UNITS_AT_ONCE", 50)
    assert royalties.recompute(books, period) == (done["digest"], done["digest"])
    assert all(item["wrong"] == 0 for item in wavehouse_json("royalties", "checklist", "--period", period))

    # The same figures again are no adjustment; a corrected contract is one, and once it is entered nothing is left.
    assert wavehouse_json("royalties", "restate", "--period", period, "--reason", "again")["adjustments"] == []
    with royalties_ledger.Ledger(books) as ledger:
        book = json.loads(ledger.book(kept.inputs.book_sha256))
    agreement = next(row for row in book["agreements"] if row["agreement_id"] == line.agreement_id)
    agreement["terms"][0] = {**agreement["terms"][0], "share": "0.65"}
    agreement["terms"][0].pop("escalations", None)
    build(book)
    made = royalties.correct(books, period, reason="share corrected", book=book)
    assert made.adjustments
    assert made.account_adjustments == ()
    assert made.into > period
    closed_lines = {row.line_id for row in lines}
    assert {row.corrects for row in made.adjustments} <= closed_lines
    twice = royalties.correct(books, period, reason="share corrected", book=book)
    assert (twice.into, twice.adjustments) == (made.into, ())
    # Who restates late plays after that does not take the contract back; who asks for what it was closed with does.
    assert royalties.correct(books, period, reason="late plays").adjustments == ()
    back = royalties.correct(books, period, reason="taken back", as_closed=True)
    assert back.into == made.into
    assert sum(row.amount_minor for row in [*made.adjustments, *back.adjustments]) == 0


def book_of_every_rule(books: Settings, first_month: str) -> dict[str, Any]:
    """The demo's book with other terms for the three artists who are played most: every rule decides something.

    The first has a reserve, due a month later, and tax; the second a rate and a guarantee, in dinars; the third a
    minimum a subscriber and an advance that isn't recouped soon. For the mechanical right a minimum a stream.
    """
    book = royalties.demo_book(books)
    sql = (
        "select tracks.artist_id from lake.gold.streams_monthly as streams "
        "inner join lake.silver.tracks as tracks on streams.track_id = tracks.track_id "
        "group by tracks.artist_id order by sum(streams.royalty_streams) desc, tracks.artist_id limit 3"
    )
    artists = [str(row[0]) for row in trino.query(books, sql).rows]
    return with_every_rule(book, artists, first_month)


def with_every_rule(book: dict[str, Any], artists: list[str], first_month: str) -> dict[str, Any]:
    """`book` with the terms of `book_of_every_rule` for three artists."""
    clause = {"clause_id": "world", "version": 1, "territory": ["world"], "valid_from": "2000-01"}
    account = {"clause_id": "account", "version": 1, "valid_from": "2000-01"}
    advance = {"advance_id": "large", "payee_id": artists[2], "period": first_month, "amount_minor": 100_000_000}
    own: list[dict[str, Any]] = [
        {
            "model": "pro_rata",
            "terms": [{**clause, "share": "0.55"}],
            "accounting": [{**account, "reserve": "1/10", "release_after_months": 1, "withholding": "3/20"}],
        },
        {
            "model": "pro_rata",
            "currency": "KWD",
            "terms": [{**clause, "rate": "0.0016"}],
            "accounting": [{**account, "guarantee_minor": 100_000_000}],
        },
        {
            "model": "user_centric",
            "terms": [{**clause, "share": "0.55", "per_subscriber_minimum": "20"}],
            "accounting": [account],
            "advances": [advance],
        },
    ]
    terms = {f"A{artist}": made for artist, made in zip(artists, own, strict=True)}
    terms["mechanical"] = {"terms": [{**clause, "share": "0.045", "per_stream_minimum": "0.004"}]}
    agreements = []
    for row in book["agreements"]:
        name = row["agreement_id"]
        plain = {"licensor": name[1:], "currency": "EUR", "advances": []} if name[1:] in artists else {}
        agreements.append(row | plain | terms.get(name, {}))
    payees = [row | {"passes_on": []} if row["payee_id"] in artists else row for row in book["payees"]]
    rights = []
    for row in book["rights"]:
        name = row["holders"][0]["agreement_id"]
        if row["share_type"] == "master" and name[1:] in artists:
            row = row | {"holders": [{"agreement_id": name, "payee_id": name[1:], "share": "1"}]}  # noqa: PLW2901
        rights.append(row)
    return {"payees": payees, "agreements": agreements, "rights": rights}


@pytest.fixture
def closed_month(books: Settings) -> Iterator[tuple[Settled, str, dict[str, Any]]]:
    """The last month but one, closed by a book in which every rule is at work; the next month and the book."""
    sql = "select distinct period from lake.gold.royalty_pools where streams > 0 order by period"
    earlier, period = [row[0] for row in trino.query(books, sql).rows][-2:]
    assert add_months(earlier, 1) == period
    book = book_of_every_rule(books, earlier)
    try:
        settled, _ = royalties.run(books, earlier, by="run", book=book)
        wavehouse("royalties", "approve", "--period", earlier, "--by", "Ada", "--digest", settled.state.digest or "")
        wavehouse("royalties", "close", "--period", earlier)
        yield royalties.kept(books, earlier), period, book
    finally:
        # Other tests begin with the next month: for them nothing was held back in this one.
        trino.query(books, "delete from lake.gold_audit.settlements where period = ?", [earlier])
        audit.audit(books, ["gold_audit.settlements"])
        publish.publish(books, ["gold_audit.settlements"])


MARTS = ("streams_daily", "listener_track_monthly", "streams_monthly")
REBUILT = ("silver_audit.plays", "silver_audit.play_flags", *(f"gold_audit.{name}" for name in MARTS))
#: Marks the flags that a test sets.
BY_TEST = 99


def rebuild() -> None:
    """Build what royalties are settled from anew from the plays and flags in silver, and publish it."""
    wavehouse("dbt", "run", "--select", *MARTS)
    wavehouse("audit", *REBUILT)
    wavehouse("publish", *REBUILT)


@contextmanager
def played_otherwise(books: Settings, closed: Settled, late: Line, caught: Line) -> Iterator[None]:
    """As many plays as `late` is about come again, late, and all that `caught` is about are flagged as artificial."""
    earlier = closed.inputs.period
    columns = [column.name for column in load("silver_audit.plays").columns]
    copied = ", ".join("'late-' || event_id" if name == "event_id" else name for name in columns)

    def of(line: Line) -> list[object]:
        days = [f"{earlier}-01", f"{add_months(earlier, 1)}-01"]
        return [*days, line.key.country, line.key.tier, int(line.track_id)]

    of_line = (
        f"from ({royalties.royalty_plays(closed.inputs)}) where played_on >= cast(? as date) "
        "and played_on < cast(? as date) and country = ? and tier = ? and track_id = ?"
    )
    try:
        trino.query(
            books,
            f"insert into lake.silver_audit.plays ({', '.join(columns)}) select {copied} {of_line}",
            of(late),
        )
        trino.query(
            books,
            "insert into lake.silver_audit.play_flags (event_id, rule, rule_version, played_on) "
            f"select event_id, 'track-loop', {BY_TEST}, played_on {of_line}",
            of(caught),
        )
        rebuild()
        yield
    finally:
        trino.query(books, "delete from lake.silver_audit.plays where event_id like 'late-%'")
        trino.query(books, "delete from lake.silver_audit.play_flags where rule_version = ?", [BY_TEST])
        rebuild()


def test_what_changes_in_a_closed_month_is_settled_in_the_next(
    books: Settings, closed_month: tuple[Settled, str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, period, book = closed_month
    earlier = closed.inputs.period
    with_reserve = {
        row["agreement_id"] for row in book["agreements"] if any("reserve" in c for c in row.get("accounting", []))
    }
    lines = list(royalties.lines(books, closed))
    ours = [
        line
        for line in lines
        if line.agreement_id in with_reserve
        and (line.rule, line.account) == ("share", "payable")
        # of a track alone in its pool twice the plays would change nothing
        and line.weight < Fraction(1, 2)
    ]
    late = max(ours, key=lambda line: line.amount_minor)
    elsewhere = [line for line in ours if line.key.country != late.key.country and line.track_id != late.track_id]
    caught = max(elsewhere, key=lambda line: line.amount_minor)
    with played_otherwise(books, closed, late, caught):
        told = wavehouse_json("royalties", "restate", "--period", earlier, "--reason", "late plays, artificial plays")
        assert told["into"] == period
        changed = {row["corrects"]: row["amount_minor"] for row in told["adjustments"]}
        assert changed[late.line_id] > 0
        gone = [line for line in lines if line.key == caught.key and line.track_id == caught.track_id]
        assert {changed.get(line.line_id, 0) + line.amount_minor for line in gone} == {0}

        # Counted in portions, as a large month is.
        monkeypatch.setattr(royalties_lake, "_STREAMS_AT_ONCE", 700)
        monkeypatch.setattr(royalties_lake, "_STREAMS_OF_LISTENERS_AT_ONCE", 1500)
        settled, _ = royalties.run(books, period, by="run", book=book)
        assert settled.inputs.opening == closed.settlement.balances
        assert {row.corrects: row.amount_minor for row in settled.inputs.adjustments} == changed
        settled_as_the_rules_say(books, settled)
        the_books_go_on(closed, settled, {late.line_id, caught.line_id}, set(changed))
        corrections_are_traced(closed, settled, late, caught)

        items = wavehouse_json("royalties", "checklist", "--period", period)
        assert {item["question"] for item in items if item["wrong"]} == set()
        assert {item["question"] for item in items if not item["looked_at"]} == set()
        wavehouse("royalties", "approve", "--period", period, "--by", "Ada", "--digest", settled.state.digest or "")
        wavehouse("royalties", "close", "--period", period)
        with royalties_ledger.Ledger(books) as ledger:
            booked = {row["refers_to"] for row in ledger.entries(period) if row["kind"] == "adjustment"}
        assert {late.line_id, caught.line_id} <= booked <= set(changed)


def test_accounts_of_a_closed_month_are_corrected_in_the_next(
    books: Settings, closed_month: tuple[Settled, str, dict[str, Any]], tmp_path: Path
) -> None:
    closed, period, book = closed_month
    earlier = closed.inputs.period
    corrected = json.loads(json.dumps(book))
    agreement, rules = next(
        (row, clause)
        for row in corrected["agreements"]
        for clause in row.get("accounting", [])
        if (clause.get("reserve"), clause.get("release_after_months")) == ("1/10", 1)
    )
    agreement["accounting"].append(rules | {"version": rules["version"] + 1, "reserve": "1/5", "withholding": "1/4"})
    path = tmp_path / "corrected.json"
    path.write_text(json.dumps(corrected))

    def restate() -> Any:
        options = ("--period", earlier, "--reason", "reserve and tax corrected", "--contracts", str(path))
        return wavehouse_json("royalties", "restate", *options)

    told = restate()
    assert (told["into"], told["adjustments"]) == (period, [])
    made = told["account_adjustments"]
    assert {(row["agreement_id"], row["of_period"]) for row in made} == {(agreement["agreement_id"], earlier)}
    assert {row["kind"] for row in made} == {"reserve_held", "withholding_tax", "reserve"}
    again = restate()
    assert again["account_adjustments"] == again["adjustments"] == []

    settled, _ = royalties.run(books, period, by="run", book=corrected)
    booked = settled.settlement.entries
    kinds = {"reserve": "balance_adjustment"}
    for row in made:
        name = f"{earlier}/{row['kind']}/{row['refers_to']}".rstrip("/")
        assert (row["payee_id"], kinds.get(row["kind"], "account_adjustment"), name, row["amount_minor"]) in {
            (entry.payee_id, entry.kind, entry.refers_to, entry.amount_minor) for entry in booked
        }
    # What was held too little of was released with the rest: all that should have been held.
    (reserve,) = (row for row in made if row["kind"] == "reserve")
    (held,) = (
        reserve_of.amount_minor
        for row in closed.settlement.balances
        if (row.agreement_id, row.payee_id) == (agreement["agreement_id"], reserve["payee_id"])
        for reserve_of in row.reserves
    )
    released = next(
        entry.amount_minor
        for entry in booked
        if (entry.agreement_id, entry.payee_id, entry.kind)
        == (agreement["agreement_id"], reserve["payee_id"], "reserve_released")
    )
    assert released == held + reserve["amount_minor"]

    tax = next(row for row in made if row["kind"] == "withholding_tax")
    name = f"{earlier}/withholding_tax"
    entries = royalties_trace.entries_of(settled, tax["payee_id"])
    number = next(n for n, entry in enumerate(entries, start=1) if entry.refers_to == name)
    traced = wavehouse_json(
        "royalties", "trace", "--period", period, "--payee", tax["payee_id"], "--entry", str(number)
    )
    (one,) = traced["account_corrections"]
    assert one["before"]["digest"] == closed.state.digest
    assert one["amount_minor"] == one["after"]["amount_minor"] - one["before"]["amount_minor"]
    assert [one[side]["terms"]["withholding"] for side in ("before", "after")] == ["3/20", "1/4"]

    items = wavehouse_json("royalties", "checklist", "--period", period)
    assert {item["question"] for item in items if item["wrong"]} == set()
    wavehouse("royalties", "approve", "--period", period, "--by", "Ada", "--digest", settled.state.digest or "")
    wavehouse("royalties", "close", "--period", period)
    with royalties_ledger.Ledger(books) as ledger:
        postings = [row for row in ledger.entries(period) if row["kind"] == "account_adjustment"]
    assert {row["account"] for row in postings} == {"reserve", "withholding_tax", "payee"}
    assert sum(row["amount_minor"] for row in postings) == 0
    assert wavehouse_json("royalties", "recompute", "--period", period)["equal"]


def corrections_are_traced(closed: Settled, settled: Settled, late: Line, caught: Line) -> None:
    """From the corrections of two lines to the closed settlement and the plays, from a reserve to where it was held."""
    earlier, period = closed.inputs.period, settled.inputs.period

    def traced(payee: str, kind: str, refers_to: str) -> Any:
        entries = royalties_trace.entries_of(settled, payee)
        number = next(n for n, e in enumerate(entries, start=1) if (e.kind, e.refers_to) == (kind, refers_to))
        options = ("--period", period, "--payee", payee, "--entry", str(number), "--limit", "1000000")
        return wavehouse_json("royalties", "trace", *options)

    (came,) = traced(late.payee_id, "adjustment", late.line_id)["corrections"]
    (went,) = traced(caught.payee_id, "adjustment", caught.line_id)["corrections"]
    for made, line in ((came, late), (went, caught)):
        assert (made["from_period"], made["from_digest"]) == (earlier, closed.state.digest)
        assert (made["before"]["amount_minor"], made["before"]["streams"]) == (line.amount_minor, line.streams)
        assert made["amount_minor"] == made["after"]["amount_minor"] - line.amount_minor
    assert came["after"]["streams"] == 2 * late.streams
    assert (came["plays_added_in_all"], came["plays_removed_in_all"]) == (late.streams, 0)
    assert len({play["event_id"] for play in came["plays_added"]}) == late.streams
    assert all(play["event_id"].startswith("late-") for play in came["plays_added"])
    assert (went["after"]["streams"], went["plays_added_in_all"]) == (0, 0)
    assert went["plays_removed_in_all"] == len(went["plays_removed"]) == caught.streams
    released = traced(late.payee_id, "reserve_released", earlier)
    assert released["clause"] == f"{late.agreement_id}/account@1"
    assert released["opening"]["period"] == earlier
    assert released["basis"] == {"reserve carried": released["entry"]["amount_minor"]}


def the_books_go_on(closed: Settled, settled: Settled, corrected: set[str], known: set[str]) -> None:
    """What the closed month left on the accounts is where the next one begins, and what was corrected is booked."""
    entries = settled.settlement.entries
    adjusted = {entry.refers_to for entry in entries if entry.kind == "adjustment"}
    assert corrected <= adjusted <= known
    carried = closed.settlement.balances
    released = sorted((e.agreement_id, e.payee_id, e.amount_minor) for e in entries if e.kind == "reserve_released")
    assert released
    assert released == sorted(
        (row.agreement_id, row.payee_id, reserve.amount_minor)
        for row in carried
        for reserve in row.reserves
        if reserve.release_in <= settled.inputs.period
    )
    brought = sorted((e.agreement_id, e.payee_id, e.amount_minor) for e in entries if e.kind == "brought_forward")
    assert brought == sorted(
        (row.agreement_id, row.payee_id, -row.deficit_minor) for row in carried if row.deficit_minor
    )
    # An advance that is not recouped yet goes on, less what this month recoups.
    unrecouped = {(row.agreement_id, row.payee_id): row.unrecouped_minor for row in carried if row.unrecouped_minor}
    recouped = {(e.agreement_id, e.payee_id): e.amount_minor for e in entries if e.kind == "recoupment"}
    after = {(row.agreement_id, row.payee_id): row.unrecouped_minor for row in settled.settlement.balances}
    going_on = unrecouped.keys() & recouped.keys()
    assert going_on
    assert {account: unrecouped[account] + recouped[account] for account in going_on} == {
        account: after[account] for account in going_on
    }


def test_what_can_not_be_settled_leaves_the_period_as_it_was(books: Settings, tmp_path: Path) -> None:
    with pytest.raises(RejectedInputError, match="no revenue"):
        royalties.run(books, "2001-05", by="run")
    period = trino.query(books, "select max(period) from lake.gold.royalty_pools where streams > 0").rows[0][0]
    with pytest.raises(RejectedInputError, match="Exchange rate"):
        royalties.run(books, period, by="run", rates=[])
    book = royalties.demo_book(books)
    book["rights"][0]["holders"][0]["payee_id"] = "nobody"
    with pytest.raises(RejectedInputError, match="nobody"):
        royalties.run(books, period, by="run", book=book)
    # The same at the command line: a line that names place and rule, and the exit code of rejected input.
    (tmp_path / "book.json").write_text(json.dumps(book))
    (tmp_path / "rates.csv").write_text("day,base,quote,rate,source\n2001-01-31,EUR,USD,1.1,ECB\n")
    for option, name, said in (
        ("--contracts", "book.json", "no payee 'nobody' (unknown_payee)"),
        ("--rates", "rates.csv", f"for {period}: no rate of that month"),
    ):
        refused = wavehouse("royalties", "run", "--period", period, option, str(tmp_path / name), check=False)
        assert refused.returncode == 65
        assert said in " ".join(refused.stderr.split())
        assert "Traceback" not in refused.stderr
    with royalties_ledger.Ledger(books) as ledger:
        assert ledger.periods() == []


def test_a_calculation_that_was_broken_off_is_in_nobodys_way(books: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "select distinct period from lake.gold.royalty_pools where streams > 0 order by period"
    earlier, period = [row[0] for row in trino.query(books, sql).rows][-2:]

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for month in (earlier, period):
        with monkeypatch.context() as patched:
            patched.setattr(royalties.royalties_lake, "put_results", killed)
            with pytest.raises(KeyboardInterrupt):
                royalties.run(books, month, by="run")

    def incomplete() -> set[str]:
        sql = (
            "select distinct period from lake.gold_audit.settlement_lines "
            "where calculation not in (select calculation from lake.gold_audit.settlements)"
        )
        return {row[0] for row in trino.query(books, sql).rows}

    assert incomplete() == {earlier, period}
    settled, _ = royalties.run(books, period, by="run")
    assert incomplete() == {earlier}
    assert sum(1 for _ in royalties.lines(books, settled)) == settled.settlement.line_count
    royalties.run(books, earlier, by="run")
    assert incomplete() == set()


#: What is changed in a copy of a calculation, and the files of the checklist that must see it.
TAMPERED: list[tuple[str, set[str]]] = [
    ("select 1 from {t}lines where calculation = '{c}'", set()),
    ("update {t}lines set amount_minor = amount_minor + 1 where calculation = '{c}' and {line}", {"06", "11"}),
    ("update {t}lines set unrounded_amount = unrounded_amount * 2 where calculation = '{c}' and {line}", {"07"}),
    ("update {t}lines set amount_minor = amount_minor + 9 where calculation = '{c}' and {line}", {"08"}),
    ("update {t}lines set clause = 'A/of-nobody@1' where calculation = '{c}' and {line}", {"04", "07"}),
    ("delete from {t}lines where calculation = '{c}' and {track}", {"02", "06", "11"}),
    ("insert into {t}lines select * from {t}lines where calculation = '{c}' and {line}", {"05", "06"}),
    ("delete from {t}pools where calculation = '{c}' and {streams}", {"01", "04"}),
    ("update {t}entries set amount_minor = amount_minor + 1 where calculation = '{c}' and {entry}", {"10", "11"}),
    (
        "update {t}lines set unrounded_amount = unrounded_amount * 2 "
        "where calculation = '{c}' and deciding_rule = 'rate'",
        {"07"},
    ),
    (
        "update {t}lines set unrounded_amount = unrounded_amount * 2 "
        "where calculation = '{c}' and deciding_rule = 'per_stream_minimum'",
        {"07"},
    ),
    (
        "update {t}lines set unrounded_amount = unrounded_amount * 2 "
        "where calculation = '{c}' and deciding_rule = 'per_subscriber_minimum'",
        {"07"},
    ),
    ("update {t}clauses set rate_a_stream = rate_a_stream * 2 where calculation = '{c}'", {"07", "12"}),
    ("update {t}clauses set minimum_a_stream = 1000 where calculation = '{c}'", {"07", "12"}),
    ("update {t}clauses set minimum_a_subscriber = 1000 where calculation = '{c}'", {"07", "12"}),
    (
        "update {t}rates set exchange_rate = exchange_rate * 1.1 where calculation = '{c}' "
        "and base_currency <> quote_currency",
        {"07", "11"},
    ),
    (
        "update {t}entries set amount_minor = amount_minor + 2 where calculation = '{c}' and entry_kind = 'royalty' "
        "and refers_to not like '%/' || currency",
        {"10", "11"},
    ),
    ("delete from {t}entries where calculation = '{c}' and entry_kind = 'reserve_released'", {"09", "10"}),
    *(
        (
            f"update {{t}}entries set amount_minor = amount_minor - 1 "  # noqa: S608
            f"where calculation = '{{c}}' and entry_kind = '{kind}'",
            {"10", "13"},
        )
        for kind in ("reserve_held", "true_up", "recoupment", "withholding_tax")
    ),
    ("update {t}accounts set reserve = '1/11' where calculation = '{c}' and reserve = '1/10'", {"13"}),
    ("update {t}accounts set withholding = '1/1000' where calculation = '{c}' and withholding = '0'", {"13"}),
    ("update {t}accounts set unrecouped_before_minor = 0 where calculation = '{c}'", {"13"}),
    ("delete from {t}accounts where calculation = '{c}'", {"13"}),
]


def test_the_checklist_sees_what_was_tampered_with(
    books: Settings, closed_month: tuple[Settled, str, dict[str, Any]]
) -> None:
    _, period, book = closed_month
    settled, _ = royalties.run(books, period, by="run", book=book)
    prefix = "lake.gold_audit.settlement_"
    copies = [f"{number:032x}" for number in range(len(TAMPERED))]
    made = settled.inputs.calculation.calculation
    streams, line, track, entry = trino.query(
        books,
        f"select (select max(streams) from {prefix}pools where calculation = ?), line_number, track_id, "  # noqa: S608
        f"(select min(entry_number) from {prefix}entries where calculation = ? and entry_kind = 'royalty' "
        f"and refers_to = '{settled.inputs.period}/EUR' and currency = 'EUR') from {prefix}lines where calculation = ? "
        "and currency = 'EUR' and account = 'payable' and deciding_rule = 'share' and amount_minor > 0 "
        # of an account in euro: other accounts book the line converted, together with others
        f"and agreement_id in (select agreement_id from {prefix}entries where calculation = ? and currency = 'EUR') "
        "order by line_number limit 1",
        [made, made, made, made],
    ).rows[0]
    names = {
        "t": prefix,
        "streams": f"streams = {streams}",
        "line": f"line_number = {line}",
        "track": f"track_id = {track}",
        "entry": f"entry_number = {entry}",
    }
    files = sorted(path.name[:2] for path in royalties_checklist.QUERIES.glob("*.sql"))
    questions = dict(zip(files, (sql for _, (sql,) in royalties_checklist.queries(settled)), strict=True))
    of_plays = questions.pop("03")

    def wrong(copy: str, number: str) -> int:
        of_copy = questions[number].replace(made, copy).replace("lake.gold.settlement_", prefix)
        return int(trino.query(books, of_copy, user="auditor").rows[0][1])

    tables = ("lines", "pools", "entries", "clauses", "rates", "accounts")
    in_copies = ", ".join(f"'{copy}'" for copy in copies)
    try:
        for table in tables:
            columns = [column.name for column in load(f"gold_audit.settlement_{table}").columns][1:]
            trino.query(
                books,
                f"insert into {prefix}{table} select copy, {', '.join(columns)} "  # noqa: S608
                f"from {prefix}{table} cross join unnest(array[{in_copies}]) as copies (copy) where calculation = ?",
                [made],
            )
        for copy, (statement, seen_by) in zip(copies, TAMPERED, strict=True):
            trino.query(books, statement.format(**names, c=copy))
            asked = seen_by or set(questions)
            assert {number for number in asked if wrong(copy, number)} == seen_by, statement
    finally:
        for table in tables:
            trino.query(books, f"delete from {prefix}{table} where calculation in ({in_copies})")  # noqa: S608
    # Plays can't be changed for a moment, so it is the query that sees one of the month before in this one as well.
    plays = f"lake.silver_audit.plays for version as of {settled.inputs.snapshots['silver_audit.plays']}"
    bearing = royalties.royalty_plays(settled.inputs)
    before = f"select min(event_id) from ({bearing}) where played_on < date '{period}-01'"  # noqa: S608
    event = trino.query(books, before).rows[0][0]
    columns = [column.name for column in load("silver_audit.plays").columns]
    moved = ", ".join(f"date '{period}-15'" if name == "played_on" else name for name in columns)
    twice = (
        f"(select {', '.join(columns)} from {plays} union all select {moved} from {plays} where event_id = '{event}')"  # noqa: S608
    )
    assert plays in of_plays
    looked_at, none = trino.query(books, of_plays, user="auditor").rows[0]
    assert looked_at and not none
    assert trino.query(books, of_plays.replace(plays, twice), user="auditor").rows[0] == (looked_at, 1)


def test_the_checklist_of_a_large_month_is_asked_in_portions_with_the_same_answers(
    books: Settings, closed_month: tuple[Settled, str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled, _, _ = closed_month
    period = settled.inputs.period
    whole = royalties_checklist.checklist(books, period)
    monkeypatch.setattr(royalties_checklist, "_STREAMS_AT_ONCE", whole[2].looked_at // 5)
    monkeypatch.setattr(royalties_checklist, "_SAMPLE", 1000)
    said: list[str] = []
    assert royalties_checklist.checklist(books, period, say=said.append) == whole
    # Plays, and what lines three questions ask about, market by market.
    assert sum("portion 6 of" in line for line in said) == 4


def test_the_month_is_reported_to_a_licensor(played: Settings, tmp_path: Path) -> None:
    period = trino.query(played, "select max(period) from lake.gold.royalty_pools where streams > 0").rows[0][0]
    wavehouse(
        *("royalties", "write-dsr", "--period", period, "--to", str(tmp_path), "--created-at", "2026-11-02T03:00:00Z"),
        *("--sender", "PADPIDA2014111801Y::Wavehouse", "--recipient", "PADPIDA2013020802I::Label"),
    )
    (path,) = tmp_path.iterdir()
    read = wavehouse_json("royalties", "read-dsr", str(path))
    assert read["violations"] == 0
    streams = "select sum(streams) from lake.gold.royalties where period = ?"
    assert read["uses"] == trino.query(played, streams, [period]).rows[0][0]
    # Every market and product is a summary, with the subscribers that finance counted.
    names = ["RecordType", *(cell.name for cell in records.profile().records["SY01.03"])]
    summaries = [
        dict(zip(names, line.split("\t"), strict=True))
        for line in path.read_text().splitlines()
        if line.startswith("SY01.03\t")
    ]
    reported = {(row["SummaryRecordId"], row["Subscribers"]) for row in summaries}
    sql = "select country, tier, subscribers from lake.silver.revenue where period = ?"
    delivered = trino.query(played, sql, [period]).rows
    assert any(subscribers for *_, subscribers in delivered)
    assert reported == {(f"{country}-{tier}", str(subscribers or "")) for country, tier, subscribers in delivered}
