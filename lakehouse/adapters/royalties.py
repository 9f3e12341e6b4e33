"""Settling a month: what the lake, finance and the contracts say goes in; a settlement of the domain comes out.

The volume stays in the lake (`royalties_lake`): what is weighed and the lines that come out, written pool by pool,
audited and published. All else that a settlement is computed from is kept in the payout ledger (`Inputs`, and the book
of contracts by its SHA-256). So it can be computed again, byte for byte, whatever has become of the sources since.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

from lakehouse.adapters import audit, lake, policies, publish, royalties_demo, royalties_lake, trino
from lakehouse.adapters.royalties_lake import CURRENT, RESTATEMENT, Calculation, Say
from lakehouse.adapters.royalties_ledger import (
    AccountCorrection,
    Correction,
    Ledger,
    NoLedgerError,
    PeriodState,
    Posting,
    Restated,
)
from lakehouse.config.settings import Settings
from lakehouse.domain.listening import rules
from lakehouse.domain.royalties import contracts
from lakehouse.domain.royalties.allocation import exact_sum
from lakehouse.domain.royalties.contracts import Book
from lakehouse.domain.royalties.models import MODELS, Use, weigh_units
from lakehouse.domain.royalties.periods import (
    APPROVED,
    CALCULATED,
    CLOSED,
    OPEN,
    ClosedMonth,
    Period,
    predecessor,
    restate,
    restate_accounts,
)
from lakehouse.domain.royalties.pools import ExchangeRate, PoolKey, Revenue, add_months
from lakehouse.domain.royalties.revenue_file import AMOUNTS
from lakehouse.domain.royalties.settlement import (
    ADVANCE_PAID,
    BALANCE_ADJUSTMENT,
    SUSPENSE,
    AccountAdjustment,
    Adjustment,
    Balance,
    Entry,
    Line,
    PoolResult,
    Settlement,
    Settling,
    advances_paid,
    canonical_json,
    corrected,
    corrected_balances,
    volumes,
)
from lakehouse.domain.royalties.statement import Statement, compile_statement
from lakehouse.errors import FatalError, RejectedInputError, RetryableError

#: What a settlement reads; all of it must be published, and nothing newer be built.
SOURCES = (
    "silver_audit.plays",
    "silver_audit.play_flags",
    "silver_audit.tracks",
    "silver_audit.revenue",
    "gold_audit.listener_track_monthly",
    "gold_audit.streams_monthly",
)

#: Which account stands against the payee's for each kind of entry. `payable` is their sum and books nothing; an account
#: adjustment is booked as what it corrects.
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
    "overpayment_brought_forward": "deficit",
    "overpayment_carried_forward": "deficit",
}


@dataclass(frozen=True)
class Inputs:
    """What the settlement of `period` is computed from, beside the units in the lake and the book of contracts.

    `snapshots` are those of the tables that were read, `book_sha256` names the book in the payout ledger.
    `counting_policy` is the label of the policy by which plays of the month bore royalties then; empty in what was
    kept before it was.
    """

    period: str
    snapshots: dict[str, int]
    revenue: tuple[Revenue, ...]
    book_sha256: str
    rates: tuple[ExchangeRate, ...] = ()
    opening: tuple[Balance, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()
    counting_policy: str = ""
    account_adjustments: tuple[AccountAdjustment, ...] = ()

    @property
    def calculation(self) -> Calculation:
        """The calculation, named by all of this: the same inputs are the same calculation.

        But for the policy: what it counted is named by the snapshots, and calculations from before keep their names.
        """
        return Calculation(
            hashlib.sha256(canonical_json(_dump(replace(self, counting_policy="")))).hexdigest()[:32],
            self.period,
            self.book_sha256,
            self.snapshots["silver_audit.plays"],
            self.snapshots["silver_audit.play_flags"],
            self.snapshots["silver_audit.tracks"],
            self.counting_policy,
        )


@dataclass(frozen=True)
class Settled:
    """A settlement that the ledger keeps (without its lines: `lines`), and what it was computed from."""

    state: PeriodState
    inputs: Inputs
    settlement: Settlement


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
                hint="Royalties are settled from audited data alone. If the DAG transform_plays is running, wait for "
                "its end; else `wavehouse audit`, then `wavehouse publish`.",
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
    book_sha256: str,
    *,
    opening: Sequence[Balance] = (),
    adjustments: Sequence[Adjustment] = (),
    account_adjustments: Sequence[AccountAdjustment] = (),
    rates: Sequence[ExchangeRate] | None = None,
) -> Inputs:
    """Read what `period` is settled from; without `rates` those of the demo.

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
    if rates is None:
        keys = [row.key for row in revenue] + [row.key for row in adjustments]
        rates = royalties_demo.rates({key.period for key in keys}, {key.currency for key in keys})
    return Inputs(
        period,
        pinned,
        tuple(sorted(revenue)),
        book_sha256,
        tuple(rates),
        tuple(opening),
        tuple(adjustments),
        rules.royalty_policy(period).label,
        tuple(account_adjustments),
    )


def demo_book(settings: Settings) -> dict[str, Any]:
    """The demo's book of contracts for the catalogue as it is published."""
    known = trino.query(settings, "select track_id, artist_id, artist_name from lake.silver.tracks").rows
    return royalties_demo.standard_book(known)


def _streams(settings: Settings, period: str) -> dict[tuple[str, str], int]:
    """Streams of catalogued tracks by market and product."""
    rows = trino.query(
        settings,
        "select monthly.country, monthly.tier, sum(monthly.royalty_streams) from lake.gold.streams_monthly as monthly "
        "inner join lake.silver.tracks as tracks on monthly.track_id = tracks.track_id "
        "where monthly.period = ? and monthly.royalty_streams > 0 group by monthly.country, monthly.tier",
        [period],
    ).rows
    return {(country, tier): streams for country, tier, streams in rows}


def calculate(
    settings: Settings, inputs: Inputs, book: Book, *, kind: str = CURRENT, say: Say = lambda _: None
) -> Settlement:
    """Count the month's units into the lake, settle them there pool by pool, audit the result and publish it.

    Again with the same inputs it gives the same rows, in place of the former ones. `say` hears how far it is.

    Raises:
        RejectedInputError: a market that was played has no revenue (`missing_revenue`), or as `Settling` does; nothing
            of the result is published.
        RetryableError: the sources changed meanwhile.
        FatalError: the result does not pass its audit.
    """
    of = inputs.calculation
    played = _streams(settings, inputs.period)
    if missing := sorted(played.keys() - {(row.key.country, row.key.tier) for row in inputs.revenue}):
        raise RejectedInputError(
            f"Plays of {inputs.period} in {missing[0][0]}, {missing[0][1]}, have no revenue.",
            reason="missing_revenue",
            value="/".join(missing[0]),
            hint="Ask finance for the whole month; the period stays as it was.",
        )
    by_country: dict[str, int] = defaultdict(int)
    for (country, _), number in played.items():
        by_country[country] += number
    royalties_lake.put_units(settings, of, by_country, say=say)
    if snapshots(settings) != inputs.snapshots:
        raise RetryableError("New data was published meanwhile.", hint="Run it again; the period stays as it was.")
    volume = _volumes(settings, inputs, book)
    settlement = _settle(settings, inputs, book, volume, keep=True, say=say)
    begun_with = corrected_balances(inputs.period, inputs.opening, inputs.account_adjustments)
    results = (inputs.revenue, begun_with, book, volume, settlement, inputs.rates)
    royalties_lake.put_results(settings, of, *results, kind=kind)
    say(f"{inputs.period}: the result is written, and audited now")
    for verdict in audit.audit(settings, royalties_lake.TABLES):
        if not verdict.passed:
            failed = next(finding for finding in verdict.findings if finding.severity == audit.FAIL)
            raise FatalError(
                f"{verdict.table} does not pass its audit: {failed.why} Seen: {failed.observed}",
                hint=f"Nothing was published, the period stays as it was. {failed.todo}",
            )
    publish.publish(settings, royalties_lake.TABLES)
    return settlement


def _volumes(settings: Settings, inputs: Inputs, book: Book) -> dict[str, int]:
    """The streams of each agreement, from the units that the lake holds of this calculation."""
    return volumes(royalties_lake.streams_of_tracks(settings, inputs.calculation.calculation), book, inputs.period)


def _settle(
    settings: Settings, inputs: Inputs, book: Book, volume: Mapping[str, int], *, keep: bool, say: Say = lambda _: None
) -> Settlement:
    """Settle the units that the lake holds of this calculation; `keep` writes the lines there."""
    of = inputs.calculation
    accounts = (inputs.rates, inputs.opening, inputs.adjustments, inputs.account_adjustments)
    settling = Settling(inputs.period, inputs.revenue, book, volume, *accounts)
    models = {agreement.model for agreement in book.agreements.values()}
    with royalties_lake.lines_writer(settings, of) if keep else nullcontext() as writer:
        for key in settling.pools:
            lines = settling.settle_pool(key, _weigh(settings, of.calculation, key, models))
            if writer is not None:
                writer.write(lines)
            say(f"{key}: {len(lines):,} lines")
        return settling.finish()


def _weigh(settings: Settings, calculation: str, key: PoolKey, models: Collection[str]) -> Iterator[Use]:
    """What the tracks of the pool `key` weigh, from the units that the lake holds of the calculation."""
    for units in royalties_lake.units(settings, calculation, key):
        yield from weigh_units(key, units, models=models)


def run(
    settings: Settings,
    period: str,
    *,
    by: str,
    book: Mapping[str, Any] | None = None,
    rates: Sequence[ExchangeRate] | None = None,
    say: Say = lambda _: None,
) -> tuple[Settled, bool]:
    """Calculate `period` and keep the result; also whether it differs from the last calculation.

    `say` hears how far it is.

    Raises:
        RejectedInputError: an input breaks a rule, the period is approved or closed, or the month before isn't closed
            though an earlier one is known; it stays as it was.
    """
    with Ledger(settings) as ledger:
        now = _period(ledger.state(period))
        adjustments = _adjustments(ledger.corrections(into=period))
        of_accounts = list(map(account_adjustment, ledger.account_corrections(into=period)))
        if now.state not in (OPEN, CALCULATED):
            now.calculate("")  # says why not
        opening = _balances_before(ledger, period)
        document = canonical_json(demo_book(settings) if book is None else book)
        del book  # of a million rights it is most of a gigabyte
        checked = contracts.load(document.decode())
        sha256 = ledger.put_book(document)
        del document
        inputs = gather(
            settings,
            period,
            sha256,
            opening=opening,
            adjustments=adjustments,
            account_adjustments=of_accounts,
            rates=rates,
        )
        settlement = calculate(settings, inputs, checked, say=say)
        _pin(settings, inputs, f"royalties-{period}")
        now.calculate(settlement.digest())
        changed = ledger.calculate(period, settlement.to_json(), settlement.digest(), _dump(inputs), by=by)
        return Settled(ledger.state(period), inputs, settlement), changed


def _pin(settings: Settings, inputs: Inputs, tag: str) -> None:
    """Keep the plays and tracks that were settled from expiring, so that lines can be traced to them for good."""
    for name in ("silver_audit.plays", "silver_audit.play_flags", "silver_audit.tracks"):
        publish.move_tag(settings, name, tag, inputs.snapshots[name])


def approve(settings: Settings, period: str, *, by: str, digest: str | None = None) -> bool:
    """`by` signs the settlement of `period`, that of `digest` if one is given; False when it is signed already.

    Raises:
        RejectedInputError: nothing, or something else, was calculated, nobody signs, or the calculation lacks
            adjustments or balances that are there now (`stale`).
    """
    with Ledger(settings) as ledger:
        state = ledger.state(period)
        digest = digest or state.digest or ""
        if (state.state, state.digest) == ("approved", digest):
            return False
        _period(state).approve(by, digest)
        _refuse_stale(ledger, _read(ledger, state))
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
        RejectedInputError: the period is not approved (closed already, say), the month before is not closed, or the
            calculation lacks adjustments or balances that are there now (`stale`).
    """
    with Ledger(settings) as ledger:
        state = ledger.state(period)
        known = map(_period, ledger.periods())
        _period(state).close(predecessor(period, known) if state.state == APPROVED else None)
        kept = _read(ledger, state)
        _refuse_stale(ledger, kept)
        booked = postings(kept.settlement, kept.inputs.opening, _book(ledger, kept.inputs))
        return ledger.close(period, booked, by=by), booked


def _balances_before(ledger: Ledger, period: str) -> tuple[Balance, ...]:
    """What `period` begins with; raises as `predecessor` does."""
    before = predecessor(period, map(_period, ledger.periods()))
    return _read(ledger, ledger.state(before.period)).settlement.balances if before else ()


def _refuse_stale(ledger: Ledger, settled: Settled) -> None:
    """Refuse a calculation that does not begin with the balances, or not book the adjustments, that the ledger has.

    An adjustment can be entered into a month that is calculated already. Closed without it, it would be lost: every
    later restatement takes it for booked.
    """
    period, inputs = settled.inputs.period, settled.inputs
    entered = _adjustments(ledger.corrections(into=period))
    of_accounts = list(map(account_adjustment, ledger.account_corrections(into=period)))
    if sorted(entered) != sorted(inputs.adjustments) or sorted(of_accounts) != sorted(inputs.account_adjustments):
        taken = len(inputs.adjustments) + len(inputs.account_adjustments)
        rule = f"takes in {taken} adjustments, but {len(entered) + len(of_accounts)} are entered into it"
        if len(entered) + len(of_accounts) == taken:
            rule = "takes in other adjustments than are entered into it"
    elif _balances_before(ledger, period) != inputs.opening:
        rule = f"does not begin with the balances of {add_months(period, -1)}"
    else:
        return
    again = f"wavehouse royalties run --period {period}"
    raise RejectedInputError(
        f"The calculation of {period} {rule}; calculate it again.",
        reason="stale",
        value=settled.state.digest or "",
        hint=f"`wavehouse royalties reject`, then `{again}`" if settled.state.state == APPROVED else f"`{again}`",
    )


def postings(settlement: Settlement, opening: Iterable[Balance], book: Book) -> list[Posting]:
    """The double entry of a settlement: debits above zero, credits below, each pair sums to nothing.

    `opening` are the balances it began with: an advance that they lack and its own have was taken up by it, and is
    booked now, whatever month it was paid in.

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
        _, corrects, _ = corrected(entry) or ("", entry.kind, "")
        if entry.kind == "payable":
            owed[entry.agreement_id, entry.payee_id] -= entry.amount_minor
        elif entry.kind == SUSPENSE:
            if entry.amount_minor:
                pair(entry, "royalty_expense", "suspense", entry.amount_minor)
        elif entry.kind == BALANCE_ADJUSTMENT:
            # What is carried follows from the account adjustments beside it; cash alone is booked by none of them.
            if corrects == ADVANCE_PAID:
                pair(entry, "advance", "cash", entry.amount_minor)
        elif entry.amount_minor:
            owed[entry.agreement_id, entry.payee_id] += entry.amount_minor
            pair(entry, COUNTER[corrects], "payee", entry.amount_minor)
    if wrong := [key for key, rest in owed.items() if rest]:
        raise FatalError(
            f"The entries of {'/'.join(wrong[0])} don't sum to what is payable.", hint="Don't close; report it."
        )
    for paid in advances_paid(settlement.period, opening, settlement.balances, book):
        if paid.amount_minor:
            pair(paid, "advance", "cash", paid.amount_minor)
    return made


def kept(settings: Settings, period: str, digest: str | None = None) -> Settled:
    """The settlement of `period` as it was calculated last, or that of `digest`.

    Raises:
        FatalError: it was not calculated.
    """
    with Ledger(settings) as ledger:
        state = ledger.state(period)
        return _read(ledger, state if digest is None else replace(state, digest=digest))


def pools_before(settings: Settings, period: str) -> tuple[PoolResult, ...]:
    """The pools of the month before `period`; none when that was not calculated."""
    before = add_months(period, -1)
    with Ledger(settings) as ledger:
        known = ledger.state(before).digest is not None
    return kept(settings, before).settlement.pools if known else ()


def recompute(settings: Settings, period: str, *, say: Say = lambda _: None) -> tuple[str, str]:
    """Digest of the kept settlement of `period`, and of one computed again from what it was computed from.

    `say` hears how far it is.
    """
    found = kept(settings, period)
    book = book_of(settings, found)
    again = _settle(settings, found.inputs, book, _volumes(settings, found.inputs, book), keep=False, say=say)
    if not found.settlement.adjustments_sha256:  # kept before settlements named their adjustments
        again = replace(again, adjustments_sha256="")
    return found.state.digest or "", again.digest()


def book_of(settings: Settings, settled: Settled) -> Book:
    """The contracts that a settlement was made with."""
    with Ledger(settings) as ledger:
        return _book(ledger, settled.inputs)


def book_for(settings: Settings, period: str) -> tuple[str, Book] | None:
    """The contracts that `period` was settled by, or else those of the newest month that was; and which month that is.

    None when nothing was settled yet.
    """
    with Ledger(settings) as ledger:
        try:
            settled = {state.period: state for state in ledger.periods() if state.digest is not None}
        except NoLedgerError:
            return None
        if not settled:
            return None
        of = period if period in settled else max(settled)
        _, inputs = ledger.settlement(settled[of].digest or "")
        return of, contracts.reload(ledger.book(inputs["book_sha256"]).decode())


def _book(ledger: Ledger, inputs: Inputs) -> Book:
    return contracts.reload(ledger.book(inputs.book_sha256).decode())


def _raw_book(settings: Settings, settled: Settled) -> dict[str, Any]:
    """The document of contracts as it was given: to look one thing up it need not be checked and built again."""
    with Ledger(settings) as ledger:
        raw: dict[str, Any] = json.loads(ledger.book(settled.inputs.book_sha256))
    return raw


def lines(settings: Settings, settled: Settled, **which: Any) -> Iterator[Line]:
    """The lines of a settlement, in order: all, those of a pool (`key`) or of a payee (`payee`)."""
    return royalties_lake.lines(settings, settled.inputs.calculation.calculation, **which)


@dataclass(frozen=True)
class Restatement:
    """What a restatement entered into the month `into`: adjustments of lines, and of accounts."""

    into: str
    adjustments: tuple[Adjustment, ...]
    account_adjustments: tuple[AccountAdjustment, ...]


def correct(
    settings: Settings,
    period: str,
    *,
    reason: str,
    book: Mapping[str, Any] | None = None,
    rates: Sequence[ExchangeRate] | None = None,
    as_closed: bool = False,
    say: Say = lambda _: None,
) -> Restatement:
    """Compute the closed `period` again from what is published now; the differences go into the next open month.

    Contracts and rates that are not given are those that it was restated with last, or else closed with; `as_closed`:
    those it was closed with. There are no adjustments when nothing differs, earlier restatements included. `say` hears
    how far it is.

    Raises:
        RejectedInputError: the period isn't closed, or others would change what no adjustment carries
            (`restate_accounts`).
        RetryableError: somebody else restated a month meanwhile.
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
        # A month before a closed one can't be settled any more, also where it is open.
        into = add_months(max(known.period for known in ledger.periods() if known.state == CLOSED), 1)
        while ledger.state(into).state not in (OPEN, CALCULATED):
            into = add_months(into, 1)
        made, accounted = ledger.restatements(), ledger.account_corrections()
        before = {row.period: row for row in made}  # the last of each
        standing = {of: _read(ledger, replace(state, digest=row.to_digest)).inputs for of, row in before.items()}
        kept_by = closed.inputs if as_closed else standing.get(period, closed.inputs)
        document = ledger.book(kept_by.book_sha256) if book is None else canonical_json(book)
        checked = (contracts.reload if book is None else contracts.load)(document.decode())
        new_rates = kept_by.rates if rates is None else tuple(rates)
        of_others = {
            *(row.from_period for row in accounted),
            *(of for of, by in standing.items() if not _same_accounts(by, _read(ledger, ledger.state(of)).inputs)),
        }
        of_accounts: list[AccountAdjustment] = []
        if book is not None or rates is not None or of_others:
            first = min({period, *of_others})
            months = _months_to_account(settings, ledger, first, standing, {period: (checked, new_rates)})
            of_accounts = restate_accounts(months, map(account_adjustment, accounted), into, reason)
            del months
        inputs = gather(
            settings,
            period,
            ledger.put_book(document),
            opening=closed.inputs.opening,
            adjustments=closed.inputs.adjustments,
            account_adjustments=closed.inputs.account_adjustments,
            rates=new_rates,
        )
        if inputs.calculation.calculation == closed.inputs.calculation.calculation:
            again = closed.settlement
        else:
            again = calculate(settings, inputs, checked, kind=RESTATEMENT, say=say)
        earlier = _adjustments(ledger.corrections(of=period))
        turn = 1 + (before[period].round if period in before else 0)
        found: list[Adjustment] = []
        for key in sorted({row.key for row in closed.inputs.revenue} | {row.key for row in inputs.revenue}):
            was, now = (
                replace(one, lines=tuple(royalties_lake.lines(settings, of.calculation.calculation, key=key)))
                for one, of in ((closed.settlement, closed.inputs), (again, inputs))
            )
            found += restate(was, [row for row in earlier if row.key == key], now, into, reason)
        found.sort()
        # Also where nothing differs: of a later month it may, once that is restated too.
        if found or of_accounts or not _same_accounts(inputs, standing.get(period, closed.inputs)):
            restated = Restated(len(made) + 1, period, turn, state.digest or "", again.digest())
            stands_by = {of: row.to_digest for of, row in before.items()} | {period: restated.to_digest}
            _pin(settings, inputs, f"royalties-{period}-{turn}")
            ledger.correct(
                restated,
                [_correction(row, restated) for row in found],
                [
                    _account_correction(
                        row, restated, stands_by.get(row.of_period) or ledger.state(row.of_period).digest or ""
                    )
                    for row in of_accounts
                ],
                document=again.to_json(),
                inputs=_dump(inputs),
            )
        return Restatement(into, tuple(found), tuple(of_accounts))


def _same_accounts(one: Inputs, other: Inputs) -> bool:
    """Whether accounts are kept by the same contracts and rates."""
    return (one.book_sha256, one.rates) == (other.book_sha256, other.rates)


def _months_to_account(
    settings: Settings,
    ledger: Ledger,
    first: str,
    standing: Mapping[str, Inputs],
    corrected_by: Mapping[str, tuple[Book, tuple[ExchangeRate, ...]]],
) -> list[ClosedMonth]:
    """The closed months from `first` on, the earliest whose accounts are or were corrected.

    Each with the contracts and rates of `corrected_by`, or else those of `standing` that it was restated with last, or
    else those it was closed with.
    """
    books: dict[str, Book] = {}

    def accounts_of(sha256: str) -> Book:
        if sha256 not in books:
            books[sha256] = contracts.without_rights(ledger.book(sha256).decode())
        return books[sha256]

    months = []
    for state in ledger.periods():
        if state.state != CLOSED or state.period < first:
            continue
        closed = _read(ledger, state)
        by = standing.get(state.period, closed.inputs)
        book, rates = corrected_by.get(state.period) or (accounts_of(by.book_sha256), by.rates)
        months.append(
            ClosedMonth(
                closed.settlement,
                closed.inputs.opening,
                closed.inputs.adjustments,
                royalties_lake.earned(settings, closed.inputs.calculation.calculation),
                accounts_of(closed.inputs.book_sha256),
                book,
                rates,
            )
        )
    return months


def licensed_by(settings: Settings, settled: Settled, payee_id: str) -> tuple[str, ...]:
    """The agreements that a payee is the licensor of, by the contracts that a settlement was made with; in order.

    Raises:
        RejectedInputError: those contracts know no such payee.
    """
    raw = _raw_book(settings, settled)
    if all(row["payee_id"] != payee_id for row in raw["payees"]):
        raise RejectedInputError(
            f"The contracts that {settled.inputs.period} was settled with have no payee '{payee_id}'.",
            reason="unknown_payee",
            value=payee_id,
            hint=f"`wavehouse royalties compare --period {settled.inputs.period}` lists the payees of the month.",
        )
    return tuple(sorted(row["agreement_id"] for row in raw["agreements"] if row["licensor"] == payee_id))


def compare(settings: Settings, settled: Settled) -> dict[tuple[str, str, str], dict[str, int]]:
    """What each payee would earn were all agreements of a model: (payee, account, currency) -> model -> minor units.

    The account is `payable` (royalties and true-ups) or `suspense`: disputed, or claimed by nobody (payee "").
    """
    book = book_of(settings, settled)
    period, volume = settled.inputs.period, _volumes(settings, settled.inputs, book)
    result: dict[tuple[str, str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(MODELS, 0))
    accounts = {"royalty": "payable", "true_up": "payable", "suspense": "suspense"}
    for model in MODELS:
        agreements = {name: replace(row, model=model) for name, row in book.agreements.items()}
        of_model = replace(book, agreements=agreements)
        for entry in _settle(settings, settled.inputs, of_model, volume, keep=False).entries:
            # Corrections of earlier months that are held back are suspense too, and no model's.
            if entry.kind in accounts and (entry.kind != "suspense" or entry.refers_to.startswith(f"{period}/")):
                result[entry.payee_id, accounts[entry.kind], entry.currency][model] += entry.amount_minor
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


def lines_of(settings: Settings, settled: Settled, payee_id: str) -> list[Line]:
    """The lines of a payee, in order; a line is named by its place, from 1.

    Raises:
        FatalError: the payee has no line in the period.
    """
    found = list(lines(settings, settled, payee=payee_id))
    if not found:
        raise FatalError(
            f"{payee_id} has no line in {settled.inputs.period}.",
            hint="`wavehouse royalties compare` lists the payees of a period.",
        )
    return found


def royalty_plays(inputs: Inputs) -> str:
    """SQL of all plays that bear royalties, as plays and flags were when the month was calculated.

    The month's own are judged by the policy it was calculated with, also where another was decided for it since.
    """
    plays, flags = (
        f"lake.silver_audit.{name} for version as of {inputs.snapshots[f'silver_audit.{name}']}"
        for name in ("plays", "play_flags")
    )
    settled = {inputs.period: inputs.counting_policy} if inputs.counting_policy else {}
    return policies.royalty_plays_sql(plays, flags, settled)


def trace(settings: Settings, settled: Settled, line: Line, *, limit: int) -> Trace:
    """Follow a line to its pool, clause and plays (the first `limit`, in order of time).

    Plays are read as they were when the period was calculated: that snapshot is tagged, so it does not expire.
    """
    inputs = settled.inputs
    agreement_id, clause = line.clause.split("/", 1)
    clause_id, version = clause.split("@")
    raw = _raw_book(settings, settled)
    terms = next(
        row
        for agreement in raw["agreements"]
        if agreement["agreement_id"] == agreement_id
        for row in agreement["terms"]
        if (row["clause_id"], row["version"]) == (clause_id, int(version))
    )
    first, after = f"{inputs.period}-01", f"{add_months(inputs.period, 1)}-01"
    where = (
        f"from ({royalty_plays(inputs)}) "
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
    weighed = _weigh(settings, inputs.calculation.calculation, line.key, (line.model,))
    return Trace(
        line,
        next(pool for pool in settled.settlement.pools if pool.key == line.key),
        next(row for row in inputs.revenue if row.key == line.key),
        exact_sum(use.weight for use in weighed),
        terms,
        plays,
        total,
    )


def statement(settings: Settings, settled: Settled, payee_id: str) -> Statement:
    """The statement of a payee; the same settlement gives the same one.

    Raises:
        RejectedInputError: there is nothing about the payee in the period.
    """
    payees = {row["payee_id"]: row["name"] for row in _raw_book(settings, settled)["payees"]}
    return compile_statement(
        replace(settled.settlement, lines=tuple(lines(settings, settled, payee=payee_id))),
        payee_id,
        payees.get(payee_id, payee_id),
        titles=royalties_lake.titles(settings, settled.inputs.calculation.calculation, payee_id),
        opening=settled.inputs.opening,
        adjustments=settled.inputs.adjustments,
        account_adjustments=settled.inputs.account_adjustments,
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
    """Inputs as they are kept; what months had not got yet is left out where it is empty, as it names a calculation."""
    values: dict[str, Any] = json.loads(_adapter(Inputs).dump_json(inputs))
    if not inputs.counting_policy:
        del values["counting_policy"]  # as it was kept, so that it keeps its name
    if not inputs.account_adjustments:
        del values["account_adjustments"]
    for row in values["opening"]:
        if not row["overpaid_minor"]:
            del row["overpaid_minor"]
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


def _correction(row: Adjustment, by: Restated) -> Correction:
    return Correction(
        row.period,
        by.period,
        by.from_digest,
        by.to_digest,
        row.corrects,
        row.key.country,
        row.key.tier,
        row.key.currency,
        row.agreement_id,
        row.payee_id,
        row.account,
        row.amount_minor,
        row.reason,
        by.round,
    )


def account_adjustment(row: AccountCorrection) -> AccountAdjustment:
    """A correction of an account as settlements know it."""
    return AccountAdjustment(
        row.into_period,
        row.of_period,
        row.agreement_id,
        row.payee_id,
        row.kind,
        row.refers_to,
        row.clause,
        row.currency,
        row.amount_minor,
        row.reason,
    )


def _account_correction(row: AccountAdjustment, by: Restated, stands_by: str) -> AccountCorrection:
    return AccountCorrection(
        row.period,
        by.period,
        by.round,
        row.of_period,
        stands_by,
        row.agreement_id,
        row.payee_id,
        row.kind,
        row.refers_to,
        row.clause,
        row.currency,
        row.amount_minor,
        row.reason,
    )
