"""Settling a month: what the lake, finance and the contracts say goes in; a settlement of the domain comes out.

Everything that a settlement is computed from (`Inputs`) is kept beside it in the payout ledger, so that it can be
computed again from there, byte for byte, whatever has become of the lake since.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from typing import Any

from lakehouse.adapters import lake, policies, publish, royalties_demo, trino
from lakehouse.adapters.royalties_ledger import Correction, Ledger, PeriodState, Posting
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties import contracts
from lakehouse.domain.royalties.contracts import Book
from lakehouse.domain.royalties.models import ARTIST_CENTRIC, MODELS, PRO_RATA, USER_CENTRIC, Policy, Use
from lakehouse.domain.royalties.periods import CALCULATED, CLOSED, OPEN, Period, restate
from lakehouse.domain.royalties.pools import ExchangeRate, PoolKey, Revenue, add_months
from lakehouse.domain.royalties.revenue_file import AMOUNTS
from lakehouse.domain.royalties.settlement import Adjustment, Balance, Entry, Line, PoolResult, Settlement, settle
from lakehouse.domain.royalties.statement import Statement, compile_statement
from lakehouse.errors import FatalError, RejectedInputError

#: What a settlement reads; all of it must be published, and nothing newer be built.
SOURCES = (
    "silver_audit.plays",
    "silver_audit.play_flags",
    "silver_audit.tracks",
    "silver_audit.revenue",
    "gold_audit.listener_track_monthly",
    "gold_audit.streams_monthly",
)
#: Schema of the views int_royalty_weights and int_royalty_artists.
VIEWS = "lake.staging"

#: Which account stands against the payee's for each kind of entry. `payable` is their sum and books nothing.
COUNTER = {
    "royalty": "royalty_expense",
    "true_up": "royalty_expense",
    "adjustment": "royalty_expense",
    "reserve_held": "reserve",
    "reserve_released": "reserve",
    "recoupment": "advance",
    "withholding_tax": "withholding_tax",
    "brought_forward": "deficit",
    "carried_forward": "deficit",
}


@dataclass(frozen=True)
class Inputs:
    """All that the settlement of `period` is computed from; `snapshots` are those of the tables that were read."""

    period: str
    snapshots: dict[str, int]
    revenue: tuple[Revenue, ...]
    uses: tuple[Use, ...]
    contracts: dict[str, Any]
    rates: tuple[ExchangeRate, ...] = ()
    opening: tuple[Balance, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()
    titles: dict[str, str] = field(default_factory=dict)  # of tracks, as they were called then

    def book(self) -> Book:
        """The contracts, checked; raises as `contracts.build` does."""
        return contracts.build(self.contracts)

    def settle(self, book: Book | None = None) -> Settlement:
        """The settlement; raises as `settlement.settle` does."""
        return settle(
            self.period, self.revenue, self.uses, book or self.book(), self.rates, self.opening, self.adjustments
        )


@dataclass(frozen=True)
class Settled:
    """A settlement that the ledger keeps, and what it was computed from."""

    state: PeriodState
    inputs: Inputs
    settlement: Settlement


@dataclass(frozen=True)
class Class:
    """Streams of a track in a pool by listeners who streamed `pool_streams` in the pool and `month_streams` in all."""

    key: PoolKey
    track_id: str
    artist_id: str
    pool_streams: int
    month_streams: int
    streams: int
    chosen: int


def weigh_classes(
    classes: Iterable[Class],
    professionals: Mapping[str, tuple[int, int]],
    annual_streams: Mapping[str, int],
    policy: Policy | None = None,
) -> list[Use]:
    """What `domain.royalties.models.weigh` says, from listeners counted in classes instead of one by one.

    `professionals` holds streams and listeners of the month by artist. A property test holds the two equal.
    """
    policy = policy or Policy()
    streams: dict[tuple[PoolKey, str], int] = defaultdict(int)
    votes: dict[tuple[PoolKey, str], Fraction] = defaultdict(Fraction)
    centric: dict[tuple[PoolKey, str], Fraction] = defaultdict(Fraction)
    artist_of: dict[str, str] = {}
    for row in classes:
        at = row.key, row.track_id
        artist_of[row.track_id] = row.artist_id
        streams[at] += row.streams
        votes[at] += Fraction(row.streams, row.pool_streams)
        cap = Fraction(policy.listener_cap, max(policy.listener_cap, row.month_streams))
        centric[at] += cap * (row.streams - row.chosen + row.chosen * policy.chosen_boost)
    uses: list[Use] = []
    for (key, track), number in streams.items():
        of_month, listeners = professionals[artist_of[track]]
        factor = Fraction(1)
        if of_month >= policy.professional_streams and listeners >= policy.professional_listeners:
            factor *= policy.professional_boost
        if annual_streams[track] < policy.minimum_annual_streams:
            factor *= 0
        uses += [
            Use(key, PRO_RATA, track, number, number),
            Use(key, USER_CENTRIC, track, number, votes[key, track]),
            Use(key, ARTIST_CENTRIC, track, number, centric[key, track] * factor),
        ]
    return sorted(uses)


def snapshots(settings: Settings) -> dict[str, int]:
    """The published snapshot of every table in `SOURCES`.

    Raises:
        FatalError: something newer is built than what was audited and published.
    """
    catalog = lake.catalog(settings)
    found: dict[str, int] = {}
    for name in SOURCES:
        table = catalog.load_table(name)
        published = publish.snapshot_under(table, publish.PUBLISHED)
        if published is None or publish.audited_state(table) != published:
            raise FatalError(
                f"What is in {name} is not published.",
                hint="Royalties are settled from audited data alone: `wavehouse audit`, then `wavehouse publish`.",
            )
        found[name] = published
    return found


def revenue_of(row: Mapping[str, Any]) -> Revenue:
    """The revenue of a pool from its row of silver.revenue; one delivered net, without parts, counts as before."""
    key = PoolKey(row["period"], row["country"], row["tier"], row["currency"])
    if row.get("subscription_minor") is None:
        return Revenue(key, row["revenue_minor"])
    return Revenue(key, **{name: row[name] for name in AMOUNTS})


def gather(
    settings: Settings,
    period: str,
    *,
    opening: Sequence[Balance] = (),
    adjustments: Sequence[Adjustment] = (),
    book: Mapping[str, Any] | None = None,
    rates: Sequence[ExchangeRate] | None = None,
) -> Inputs:
    """Read what `period` is settled from; without `book` and `rates` those of the demo.

    Raises:
        FatalError: the tables are not published.
        RejectedInputError: finance has not delivered the month (`missing_revenue`).
    """
    pinned = snapshots(settings)
    # All columns: a lake from before revenue came in parts lacks them until its next publication.
    delivered = trino.query(settings, "select * from lake.silver.revenue where period = ?", [period]).dicts()
    revenue = tuple(map(revenue_of, delivered))
    if not revenue:
        raise RejectedInputError(
            f"There is no revenue of {period}.",
            reason="missing_revenue",
            value=period,
            hint="Finance delivers it: `wavehouse revenue load`, then the transform.",
        )
    currency_of = {(row.key.country, row.key.tier): row.key.currency for row in revenue}
    rows = trino.query(
        settings,
        "select country, tier, track_id, artist_id, pool_streams, month_streams, streams, chosen_streams "  # noqa: S608
        f"from {VIEWS}.int_royalty_weights where period = ?",
        [period],
    ).rows
    if missing := sorted({(row[0], row[1]) for row in rows} - set(currency_of)):
        raise RejectedInputError(
            f"Plays of {period} in {missing[0][0]}, {missing[0][1]}, have no revenue.",
            reason="missing_revenue",
            value="/".join(missing[0]),
            hint="Ask finance for the whole month; the period stays as it was.",
        )
    classes = [
        Class(PoolKey(period, row[0], row[1], currency_of[row[0], row[1]]), str(row[2]), str(row[3]), *row[4:])
        for row in rows
    ]
    artists = trino.query(
        settings,
        f"select artist_id, streams, listeners from {VIEWS}.int_royalty_artists where period = ?",  # noqa: S608
        [period],
    ).rows
    annual = trino.query(
        settings,
        "select track_id, sum(royalty_streams) from lake.gold.streams_monthly "
        "where period between ? and ? group by track_id",
        [add_months(period, -11), period],
    ).rows
    uses = weigh_classes(classes, {str(a): (s, n) for a, s, n in artists}, {str(t): s for t, s in annual})
    known = trino.query(settings, "select track_id, artist_id, artist_name, title from lake.silver.tracks").rows
    if book is None:
        book = royalties_demo.standard_book([row[:3] for row in known])
    if rates is None:
        rates = royalties_demo.rates(period, sorted({row.key.currency for row in revenue}))
    return Inputs(
        period,
        pinned,
        tuple(sorted(revenue)),
        tuple(uses),
        dict(book),
        tuple(rates),
        tuple(opening),
        tuple(adjustments),
        {str(row[0]): row[3] for row in known},
    )


def run(
    settings: Settings,
    period: str,
    *,
    by: str,
    book: Mapping[str, Any] | None = None,
    rates: Sequence[ExchangeRate] | None = None,
) -> tuple[Settled, bool]:
    """Calculate `period` and keep the result; also whether it differs from the last calculation.

    Raises:
        RejectedInputError: an input breaks a rule, or the period is approved or closed; it stays as it was.
    """
    with Ledger(settings) as ledger:
        now = _period(ledger.state(period))
        before = ledger.state(add_months(period, -1))
        opening: tuple[Balance, ...] = ()
        if before.digest is not None:
            if before.state != CLOSED:
                raise RejectedInputError(
                    f"{before.period} is {before.state}; {period} begins with its balances.",
                    reason="wrong_step",
                    value=before.state,
                    hint=f"Close {before.period} first.",
                )
            opening = _read(ledger, before).settlement.balances
        adjustments = _adjustments(ledger.corrections(into=period))
        if now.state not in (OPEN, CALCULATED):
            now.calculate("")  # says why not
        inputs = gather(settings, period, opening=opening, adjustments=adjustments, book=book, rates=rates)
        settlement = inputs.settle()
        now.calculate(settlement.digest())
        changed = ledger.calculate(period, settlement.to_json(), settlement.digest(), _dump(inputs), by=by)
        return Settled(ledger.state(period), inputs, settlement), changed


def approve(settings: Settings, period: str, *, by: str, digest: str | None = None) -> bool:
    """`by` signs the settlement of `period`, that of `digest` if one is given; False when it is signed already.

    Raises:
        RejectedInputError: nothing, or something else, was calculated, or nobody signs.
    """
    with Ledger(settings) as ledger:
        state = ledger.state(period)
        digest = digest or state.digest or ""
        if (state.state, state.digest) == ("approved", digest):
            return False
        _period(state).approve(by, digest)
        return ledger.approve(period, digest, by=by)


def reject(settings: Settings, period: str, *, by: str) -> None:
    """The figures of `period` are not accepted; it is open again.

    Raises:
        RejectedInputError: nothing was calculated, or the period is closed.
    """
    with Ledger(settings) as ledger:
        _period(ledger.state(period)).reject()
        ledger.reopen(period, by=by)


def close(settings: Settings, period: str, *, by: str) -> tuple[int, list[Posting]]:
    """Book the approved settlement of `period` and close it; the number of the booking and its postings.

    Raises:
        RejectedInputError: the period is not approved (closed already, say), or the month before is not closed.
    """
    with Ledger(settings) as ledger:
        state, before = ledger.state(period), ledger.state(add_months(period, -1))
        _period(state).close(_period(before) if before.digest else None)
        kept = _read(ledger, state)
        booked = postings(kept.settlement, kept.inputs.book())
        return ledger.close(period, booked, by=by), booked


def postings(settlement: Settlement, book: Book) -> list[Posting]:
    """The double entry of a settlement: debits above zero, credits below, each pair sums to nothing.

    Raises:
        FatalError: a payee's entries don't sum to what is payable; the settlement is not sound.
    """
    made: list[Posting] = []
    owed: dict[tuple[str, str], int] = defaultdict(int)

    def pair(entry: Entry, debit: str, credit: str, amount: int) -> None:
        for account, signed in ((debit, amount), (credit, -amount)):
            made.append(
                Posting(
                    account,
                    entry.payee_id,
                    entry.agreement_id,
                    entry.clause,
                    entry.kind,
                    entry.currency,
                    signed,
                    entry.refers_to or None,
                )
            )

    for entry in settlement.entries:
        if entry.kind == "payable":
            owed[entry.agreement_id, entry.payee_id] -= entry.amount_minor
        elif entry.kind == "suspense":
            if entry.amount_minor:
                pair(entry, "royalty_expense", "suspense", entry.amount_minor)
        elif entry.amount_minor:
            owed[entry.agreement_id, entry.payee_id] += entry.amount_minor
            pair(entry, COUNTER[entry.kind], "payee", entry.amount_minor)
    if wrong := [key for key, rest in owed.items() if rest]:
        raise FatalError(
            f"The entries of {'/'.join(wrong[0])} don't sum to what is payable.", hint="Don't close; report it."
        )
    for agreement in book.agreements.values():
        for advance in agreement.advances:
            if advance.period == settlement.period and advance.amount_minor:
                what = Entry(
                    settlement.period,
                    agreement.agreement_id,
                    advance.payee_id,
                    "advance_paid",
                    advance.advance_id,
                    "",
                    agreement.currency,
                    advance.amount_minor,
                )
                pair(what, "advance", "cash", advance.amount_minor)
    return made


def kept(settings: Settings, period: str) -> Settled:
    """The settlement of `period` as it was calculated last.

    Raises:
        FatalError: it was not calculated.
    """
    with Ledger(settings) as ledger:
        return _read(ledger, ledger.state(period))


def recompute(settings: Settings, period: str) -> tuple[str, str]:
    """Digest of the kept settlement of `period`, and of one computed again from what it was computed from."""
    found = kept(settings, period)
    return found.state.digest or "", found.inputs.settle().digest()


def correct(
    settings: Settings,
    period: str,
    *,
    reason: str,
    book: Mapping[str, Any] | None = None,
    rates: Sequence[ExchangeRate] | None = None,
) -> tuple[str, list[Adjustment]]:
    """Compute the closed `period` again from what is published now; the differences go into the next open month.

    Contracts and rates are those of the closed settlement, unless others are given. Returns that month and the
    adjustments; none when nothing differs, earlier restatements included.

    Raises:
        RejectedInputError: the period isn't closed.
    """
    with Ledger(settings) as ledger:
        state = ledger.state(period)
        if state.state != CLOSED:
            raise RejectedInputError(
                f"{period} is {state.state}; only a closed period is restated.",
                reason="wrong_step",
                value=state.state,
                hint=f"Calculate it again: wavehouse royalties run --period {period}",
            )
        closed = _read(ledger, state)
        into = add_months(period, 1)
        while ledger.state(into).state not in (OPEN, CALCULATED):
            into = add_months(into, 1)
        inputs = gather(
            settings,
            period,
            opening=closed.inputs.opening,
            adjustments=closed.inputs.adjustments,
            book=book if book is not None else closed.inputs.contracts,
            rates=rates if rates is not None else closed.inputs.rates,
        )
        again = inputs.settle()
        earlier = ledger.corrections(of=period)
        found = restate(closed.settlement, _adjustments(earlier), again, into, reason)
        if found:
            turn = 1 + max((row.round for row in earlier), default=0)
            ledger.correct(
                [_correction(row, period, state.digest or "", again.digest(), turn) for row in found],
                period=period,
                document=again.to_json(),
                digest=again.digest(),
                inputs=_dump(inputs),
            )
        return into, found


def compare(settled: Settled) -> dict[tuple[str, str], dict[str, int]]:
    """What each payee would earn were all agreements of a model: (payee, currency) -> model -> minor units."""
    book = settled.inputs.book()
    result: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(MODELS, 0))
    for model in MODELS:
        agreements = {name: replace(row, model=model) for name, row in book.agreements.items()}
        for entry in settled.inputs.settle(replace(book, agreements=agreements)).entries:
            if entry.kind in ("royalty", "true_up"):
                result[entry.payee_id, entry.currency][model] += entry.amount_minor
    return dict(result)


@dataclass(frozen=True)
class Trace:
    """Where a line comes from: its pool and revenue, all weights of the pool, the clause in words, and plays."""

    line: Line
    pool: PoolResult
    revenue: Revenue
    pool_weight: Fraction
    clause: dict[str, Any]
    plays: list[dict[str, Any]]
    plays_in_all: int


def lines_of(settled: Settled, payee_id: str) -> list[Line]:
    """The lines of a payee, in order; a line is named by its place, from 1.

    Raises:
        FatalError: the payee has no line in the period.
    """
    found = [line for line in settled.settlement.lines if line.payee_id == payee_id]
    if not found:
        raise FatalError(
            f"{payee_id} has no line in {settled.inputs.period}.",
            hint="`wavehouse royalties compare` lists the payees of a period.",
        )
    return found


def trace(settings: Settings, settled: Settled, line: Line, *, limit: int) -> Trace:
    """Follow a line to its pool, clause and plays (the first `limit`, in order of time).

    Plays are read as they were when the period was calculated.

    Raises:
        FatalError: that state of the lake has expired.
    """
    inputs = settled.inputs
    agreement_id, clause = line.clause.split("/", 1)
    clause_id, version = clause.split("@")
    terms = next(
        row
        for agreement in inputs.contracts["agreements"]
        if agreement["agreement_id"] == agreement_id
        for row in agreement["terms"]
        if (row["clause_id"], row["version"]) == (clause_id, int(version))
    )
    first, after = f"{inputs.period}-01", f"{add_months(inputs.period, 1)}-01"
    pinned = {
        name: f"lake.silver_audit.{name} for version as of {inputs.snapshots[f'silver_audit.{name}']}"
        for name in ("plays", "play_flags")
    }
    where = (
        f"from ({policies.royalty_plays_sql(pinned['plays'], pinned['play_flags'])}) "
        "where played_on >= cast(? as date) and played_on < cast(? as date) "
        "and country = ? and tier = ? and track_id = ?"
    )
    values: list[object] = [first, after, line.key.country, line.key.tier, int(line.track_id)]
    total = trino.query(settings, f"select count(distinct event_id) {where}", values).rows[0][0]
    plays = trino.query(
        settings,
        f"select event_id, played_at, user_id, ms_played, context {where} order by played_at, event_id limit {limit:d}",
        values,
    ).dicts()
    return Trace(
        line,
        next(pool for pool in settled.settlement.pools if pool.key == line.key),
        next(row for row in inputs.revenue if row.key == line.key),
        sum((Fraction(u.weight) for u in inputs.uses if u.key == line.key and u.model == line.model), Fraction(0)),
        terms,
        plays,
        total,
    )


def statement(settled: Settled, payee_id: str) -> Statement:
    """The statement of a payee; the same settlement gives the same one.

    Raises:
        RejectedInputError: there is nothing about the payee in the period.
    """
    payee = settled.inputs.book().payees.get(payee_id)
    return compile_statement(
        settled.settlement,
        payee_id,
        payee.name if payee else payee_id,
        titles=settled.inputs.titles,
        opening=settled.inputs.opening,
        adjustments=settled.inputs.adjustments,
    )


def _period(state: PeriodState) -> Period:
    signed = state.decided_by if state.state in ("approved", CLOSED) else ""
    return Period(state.period, state.state, state.digest or "", signed)


def _read(ledger: Ledger, state: PeriodState) -> Settled:
    if state.digest is None:
        raise FatalError(f"{state.period} was not calculated.", hint=f"wavehouse royalties run --period {state.period}")
    document, inputs = ledger.settlement(state.digest)
    return Settled(state, _adapter(Inputs).validate_python(inputs), _adapter(Settlement).validate_json(document))


@cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _dump(inputs: Inputs) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(_adapter(Inputs).dump_json(inputs))
    return values


def _adjustments(corrections: Iterable[Correction]) -> list[Adjustment]:
    return [
        Adjustment(
            row.into_period,
            row.corrects,
            PoolKey(row.from_period, row.country, row.tier, row.currency),
            row.agreement_id,
            row.payee_id,
            row.account,
            row.amount_minor,
            row.reason,
        )
        for row in corrections
    ]


def _correction(row: Adjustment, period: str, closed: str, again: str, turn: int) -> Correction:
    return Correction(
        row.period,
        period,
        closed,
        again,
        row.corrects,
        row.key.country,
        row.key.tier,
        row.key.currency,
        row.agreement_id,
        row.payee_id,
        row.account,
        row.amount_minor,
        row.reason,
        turn,
    )
