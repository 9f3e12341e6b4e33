"""From pools, plays and contracts to what everybody is paid: the waterfall of a period.

1. Claims. In each pool an agreement claims the greatest of: its share of net revenue (or its rate a stream), its
   minimum a stream, its minimum a subscriber. A claim is split by what each track weighs (or by streams, where
   streams are counted), by the holders of the right, and down the chains of payees. All exact.
2. One allocation a pool: the whole minor units of the sum of all claims are shared out to the lines by largest
   remainder; what is left of net revenue the platform retains (below zero when minimums cost more than came in).
3. Accounts, one a payee and agreement, in the agreement's currency: royalties, true-up of a guarantee, adjustments;
   less the reserve held, plus reserves released; less recoupment of advances; less withholding tax; and last what the
   accounts of closed months are corrected by, which went through all of this in its own month; payable.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any, NamedTuple

from lakehouse.domain.royalties.allocation import allocate, exact_sum, exact_total
from lakehouse.domain.royalties.contracts import ACTIVE, DISPUTED, Accounting, Agreement, Book, Holder, Terms, current
from lakehouse.domain.royalties.models import Use
from lakehouse.domain.royalties.pools import (
    ExchangeRate,
    PoolKey,
    Revenue,
    add_months,
    check_revenue,
    convert,
    minor_units,
    months_between,
    rate,
)
from lakehouse.errors import RejectedInputError

PAYABLE, DISPUTE, NO_CLAIM = "payable", "dispute", "unclaimed"
#: What an account carries from month to month and account adjustments correct; advances and streams they don't.
UNRECOUPED, DEFICIT, EARNED, RESERVE = CARRIED = ("unrecouped", "deficit", "earned", "reserve")
#: The pay-out of an advance: booked beside the entries, when the advance is taken up.
ADVANCE_PAID = "advance_paid"
ACCOUNT_ADJUSTMENT, BALANCE_ADJUSTMENT, SUSPENSE = "account_adjustment", "balance_adjustment", "suspense"
#: Kinds of entries that are not part of the sum of an account.
OUTSIDE = ("payable", SUSPENSE, BALANCE_ADJUSTMENT)
#: A field that documents lack where it is empty, so that those from before there was one keep their bytes.
_SINCE_THEN = {"omitted_when_empty": True}


class Line(NamedTuple):
    """What a payee gets for a track of a pool under an agreement; the plays behind it are those of `key` and track.

    `streams` are the track's, all of them; `exact_minor` is the amount before rounding, `amount_minor` after it, in the
    pool's currency. `account` says whether it is payable or in suspense, `rule` which part of the clause decided.
    """

    key: PoolKey
    agreement_id: str
    share_type: str
    track_id: str
    chain: tuple[str, ...]
    account: str
    clause: str
    model: str
    rule: str
    streams: int
    weight: Fraction
    exact_minor: Fraction
    amount_minor: int

    @property
    def payee_id(self) -> str:
        """Who gets it: the end of the chain; nobody yet, if empty."""
        return self.chain[-1]

    @property
    def line_id(self) -> str:
        """The same for the same thing in every calculation of the period, whatever clause version decided."""
        chain = ">".join(self.chain)
        return "/".join((str(self.key), self.agreement_id, self.share_type, self.track_id, chain, self.account))

    def to_json(self) -> str:
        """The line as canonical JSON: a list of the fields in order, fractions as text."""
        key, *rest, weight, exact, amount = self
        return json.dumps(
            [key.period, key.country, key.tier, key.currency, *rest, str(weight), str(exact), amount],
            ensure_ascii=False,
            separators=(",", ":"),
        )


@dataclass(frozen=True, order=True)
class Adjustment:
    """A correction, booked in `period`, of line `corrects` of the closed pool `key`; in that pool's currency."""

    period: str
    corrects: str
    key: PoolKey
    agreement_id: str
    payee_id: str
    account: str
    amount_minor: int
    reason: str


@dataclass(frozen=True, order=True)
class AccountAdjustment:
    """A correction, booked in `period`, of an entry on an account of the closed month `of_period`, in its currency.

    `kind` and `refers_to` are those of the corrected entry, `clause` is what it should have been booked by, or was. A
    kind in `CARRIED` corrects what the account carries into `period` instead; `refers_to` of a reserve is the months
    in which it is held and due, "2026-10/2026-12".
    """

    period: str
    of_period: str
    agreement_id: str
    payee_id: str
    kind: str
    refers_to: str
    clause: str
    currency: str
    amount_minor: int
    reason: str

    @property
    def name(self) -> str:
        """What is corrected: month, kind and reference; the entry that books it refers to it by this."""
        return "/".join(filter(None, (self.of_period, self.kind, self.refers_to)))

    @property
    def entry_kind(self) -> str:
        """The kind of the entry that books it."""
        if self.kind == SUSPENSE:
            return SUSPENSE
        return BALANCE_ADJUSTMENT if self.kind in (*CARRIED, ADVANCE_PAID) else ACCOUNT_ADJUSTMENT


@dataclass(frozen=True, order=True)
class PoolResult:
    """A pool and what became of it: `net_minor` = `claimed_minor` (the sum of its lines) + `retained_minor`."""

    key: PoolKey
    net_minor: int
    claimed_minor: int
    retained_minor: int
    streams: int
    unlicensed_streams: int


@dataclass(frozen=True, order=True)
class Entry:
    """A booking on the account of a payee and agreement, signed, in minor units of `currency`.

    Kinds: brought_forward, royalty, true_up, adjustment, reserve_held, reserve_released, recoupment, withholding_tax,
    carried_forward, account_adjustment, overpayment_brought_forward, overpayment_carried_forward; they sum to
    `payable`. Outside stand `suspense`: earned, but held until the claim is clear; and `balance_adjustment`: what the
    opening balances are corrected by.
    """

    period: str
    agreement_id: str
    payee_id: str
    kind: str
    refers_to: str
    clause: str
    currency: str
    amount_minor: int


@dataclass(frozen=True, order=True)
class Reserve:
    """`amount_minor` held back in `held_in`, due in `release_in` (months YYYY-MM)."""

    held_in: str
    release_in: str
    amount_minor: int


@dataclass(frozen=True, order=True)
class Balance:
    """What an account carries out of `period`; the licensor's also what the whole agreement earned and was streamed.

    `deficit_minor` is what adjustments took beyond the earnings of the period; the next one begins with it.
    `advances` are the ids of those booked, so that each is booked once, in its month or when it is first seen.
    `overpaid_minor` is what account adjustments took beyond what was payable: tax was paid of it, so it is set off
    against what is payable after tax, and not before like a deficit.
    """

    period: str
    agreement_id: str
    payee_id: str
    currency: str
    unrecouped_minor: int = 0
    deficit_minor: int = 0
    earned_minor: int = 0
    streams: int = 0
    reserves: tuple[Reserve, ...] = ()
    advances: tuple[str, ...] = ()
    overpaid_minor: int = field(default=0, metadata=_SINCE_THEN)


@dataclass(frozen=True)
class Settlement:
    """The result of a period; all parts in order, so that equal results are equal bytes.

    A month can have millions of lines: the document holds their number and SHA-256, not the lines. `lines` are all of
    them when the month was settled in memory, else those that were asked for. `adjustments_sha256` names those booked,
    empty when there are none: one may come to nothing in the account's currency, and still counts as booked.
    """

    period: str
    pools: tuple[PoolResult, ...]
    entries: tuple[Entry, ...]
    balances: tuple[Balance, ...]
    line_count: int
    lines_sha256: str
    lines: tuple[Line, ...] = ()
    adjustments_sha256: str = field(default="", metadata=_SINCE_THEN)

    def to_json(self) -> bytes:
        """The result as canonical JSON (UTF-8, sorted keys; fractions as text): equal results are equal bytes."""
        return canonical_json(_plain(self))

    def digest(self) -> str:
        """SHA-256 of `to_json`, in hex: what is approved and closed."""
        return hashlib.sha256(self.to_json()).hexdigest()


def corrected(entry: Entry) -> tuple[str, str, str] | None:
    """Month, kind and reference of what `entry` corrects as an account adjustment; None of any other entry."""
    if entry.kind not in (ACCOUNT_ADJUSTMENT, BALANCE_ADJUSTMENT, SUSPENSE):
        return None
    of_period, kind, refers_to = (*entry.refers_to.split("/", 2), "", "")[:3]
    if entry.kind == SUSPENSE != kind:
        return None  # what a month or a line has in suspense; no country is called so
    return of_period, kind, refers_to


def advances_paid(period: str, opening: Iterable[Balance], closing: Iterable[Balance], book: Book) -> list[Entry]:
    """The pay-outs of the advances that accounts have taken up in `period`, whatever month they were paid in."""

    def taken(balances: Iterable[Balance]) -> set[tuple[str, str]]:
        return {(row.agreement_id, advance_id) for row in balances for advance_id in row.advances}

    taken_up = taken(closing) - taken(opening)
    return [
        Entry(
            period,
            agreement.agreement_id,
            advance.payee_id,
            ADVANCE_PAID,
            advance.advance_id,
            "",
            agreement.currency,
            advance.amount_minor,
        )
        for agreement in book.agreements.values()
        for advance in agreement.advances
        if (agreement.agreement_id, advance.advance_id) in taken_up
    ]


def _named(adjustments: Sequence[Adjustment | AccountAdjustment]) -> str:
    """SHA-256 of adjustments in order, in hex; empty of none."""
    return hashlib.sha256(canonical_json(_plain(tuple(adjustments)))).hexdigest() if adjustments else ""


def canonical_json(value: Any) -> bytes:
    """JSON in UTF-8 with sorted keys and no white space: equal values are equal bytes, and so have one SHA-256."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {
            column.name: _plain(getattr(value, column.name))
            for column in fields(value)
            if column.name != "lines" and (getattr(value, column.name) or not column.metadata.get("omitted_when_empty"))
        }
    return value


def settle(
    period: str,
    revenue: Iterable[Revenue],
    uses: Iterable[Use],
    book: Book,
    rates: Iterable[ExchangeRate] = (),
    opening: Iterable[Balance] = (),
    adjustments: Iterable[Adjustment] = (),
    account_adjustments: Iterable[AccountAdjustment] = (),
) -> Settlement:
    """Settle the month `period`: `opening` are the balances of the month before as it was closed.

    `adjustments` and `account_adjustments` are those booked now; the latter also correct the opening balances.

    The order of every input is indifferent. Tracks without any right in force share in nothing and are counted as
    unlicensed; `book` must have been checked.

    Raises:
        RejectedInputError: reasons of pools.check_revenue and pools.rate; missing_revenue, duplicate_use,
            negative_plays, missing_model, missing_territory, unknown_agreement, unknown_payee, wrong_period,
            wrong_currency.
    """
    by_pool: dict[PoolKey, list[Use]] = defaultdict(list)
    streams: dict[tuple[PoolKey, str], int] = {}
    for use in uses:
        by_pool[use.key].append(use)
        streams[use.key, use.track_id] = use.streams
    played = volumes(((track, number) for (_, track), number in streams.items()), book, period)
    settling = Settling(period, revenue, book, played, rates, opening, adjustments, account_adjustments)
    lines = [line for key in sorted({*settling.pools, *by_pool}) for line in settling.settle_pool(key, by_pool[key])]
    return replace(settling.finish(), lines=tuple(lines))


def earned_by(lines: Iterable[Line]) -> Sums:
    """What `lines` sum to by account and currency, before it is converted."""
    earned: Sums = defaultdict(int)
    for line in lines:
        earned[_sum_of(line)] += line.amount_minor
    return earned


def account_for(
    period: str,
    earned: Sums,
    book: Book,
    rates: Iterable[ExchangeRate],
    opening: Iterable[Balance],
    adjustments: Iterable[Adjustment],
    volume: Mapping[str, int],
) -> tuple[list[Entry], list[Balance]]:
    """Entries and closing balances that `earned` gives under the accounts of `book`; its rights are not needed.

    `volume` are the streams of each agreement in the month.

    Raises:
        RejectedInputError: missing_rate, unknown_agreement, unknown_payee, wrong_period.
    """
    for agreement_id, payee_id, *_ in earned:
        if agreement_id not in book.agreements:
            raise _refused("unknown_agreement", f"{agreement_id}/{payee_id}", f"no agreement {agreement_id}")
    corrections = _corrections(period, adjustments, book)
    return _accounts(period, earned, corrections, [], book, tuple(rates), _opening(period, opening), volume)


def volumes(streams: Iterable[tuple[str, int]], book: Book, period: str) -> dict[str, int]:
    """The streams of all tracks of each agreement, over all pools: the volume that escalations count.

    `streams` are (track id, streams), a track any number of times.
    """
    found: dict[str, int] = defaultdict(int)
    for track, number in streams:
        for agreement_id in {h.agreement_id for right in book.rights_of(track, period) for h in right.holders}:
            found[agreement_id] += number
    return found


class Settling:
    """A month on its way to be settled, pool by pool: no more than the lines of one pool are held at a time.

    Every pool of the month must be settled once, in order of its key, before `finish`. Raises as `settle` does.
    """

    def __init__(
        self,
        period: str,
        revenue: Iterable[Revenue],
        book: Book,
        volume: Mapping[str, int],
        rates: Iterable[ExchangeRate] = (),
        opening: Iterable[Balance] = (),
        adjustments: Iterable[Adjustment] = (),
        account_adjustments: Iterable[AccountAdjustment] = (),
    ) -> None:
        self.pools = check_revenue(revenue, period)
        self._period, self._book, self._volume = period, book, volume
        self._rates = tuple(rates)
        self._corrections = _corrections(period, adjustments, book)
        self._of_accounts = _account_corrections(period, account_adjustments, book)
        self._accounts = _opening(period, corrected_balances(period, opening, self._of_accounts))
        self._results: list[PoolResult] = []
        self._earned: Sums = defaultdict(int)
        self._count, self._hash = 0, hashlib.sha256()
        self._chains: dict[str, list[tuple[tuple[str, ...], Fraction]]] = {}

    def settle_pool(self, key: PoolKey, uses: Iterable[Use]) -> list[Line]:
        """The lines of the pool `key`, in order, from all uses of its tracks."""
        played = self._played(uses)
        if key not in self.pools:
            return []
        if self._results and key <= self._results[-1].key:
            raise ValueError("pools are settled once, in order")
        row, streams, unlicensed = self.pools[key], played.streams, played.unlicensed_streams
        holdings = self._holdings(key, played)
        del played  # a pool can have millions of tracks
        exact: list[Line] = []
        claimed = Fraction(0)
        for agreement_id in sorted(holdings):
            claimed += self._claim(self._book.agreements[agreement_id], row, holdings.pop(agreement_id), exact)
        lines = _round(exact, int(claimed))
        paid = sum(line.amount_minor for line in lines)
        self._results.append(PoolResult(key, row.net_minor, paid, row.net_minor - paid, streams, unlicensed))
        for line in lines:
            self._earned[_sum_of(line)] += line.amount_minor
            self._hash.update(f"{line.to_json()}\n".encode())
        self._count += len(lines)
        return lines

    def finish(self) -> Settlement:
        """The settlement, without its lines, when every pool is settled."""
        if len(self._results) < len(self.pools):
            raise ValueError("a pool isn't settled")
        entries, balances = _accounts(
            self._period,
            self._earned,
            self._corrections,
            self._of_accounts,
            self._book,
            self._rates,
            self._accounts,
            self._volume,
        )
        return Settlement(
            self._period,
            tuple(self._results),
            tuple(sorted(entries)),
            tuple(sorted(balances)),
            self._count,
            self._hash.hexdigest(),
            adjustments_sha256=_named([*self._corrections, *self._of_accounts]),
        )

    def _played(self, uses: Iterable[Use]) -> _Played:
        """What was played, from all uses; those under models that no agreement of the track has are let go."""
        streams, unlicensed = 0, 0
        seen: dict[str, tuple[str, ...]] = {}
        one_of: dict[tuple[str, ...], tuple[str, ...]] = {}  # the same object for all that is equal: there are millions
        kept: dict[str, tuple[Use, ...]] = {}
        sums: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        track: str | None = None
        wanted = frozenset[str]()
        for use in uses:
            if use.key not in self.pools:
                raise _refused("missing_revenue", _name(use), "was played, but the pool has no revenue row")
            if use.streams < 0 or use.weight < 0:
                raise _refused("negative_plays", _name(use), "streams and weights can't be negative")
            if use.track_id != track:  # the uses of a track mostly come together
                track, wanted = use.track_id, self._models_of(use.track_id)
            before = seen.get(track, ())
            if use.model in before:
                raise _refused("duplicate_use", _name(use), f"is there twice for {use.model}")
            names = (*before, use.model)
            seen[track] = one_of.setdefault(names, names)
            if not before:  # streams are the same in every model
                streams += use.streams
                unlicensed += 0 if wanted else use.streams
            if wanted:
                numerator, denominator = use.weight.as_integer_ratio()
                sums[use.model][denominator] += numerator
                kept[track] = (*kept.get(track, ()), use) if use.model in wanted else kept.get(track, ())
        return _Played(kept, {model: exact_total(of) for model, of in sums.items()}, streams, unlicensed)

    def _models_of(self, track: str) -> frozenset[str]:
        """The models of the agreements that a track is licensed under."""
        return frozenset(
            self._book.agreements[holder.agreement_id].model
            for right in self._book.rights_of(track, self._period)
            for holder in right.holders
        )

    def _holdings(self, key: PoolKey, played: _Played) -> dict[str, list[_Held]]:
        """What each agreement holds in the pool."""
        found: dict[str, list[_Held]] = defaultdict(list)
        for track, uses in sorted(played.licensed.items()):
            for right in self._book.rights_of(track, self._period):
                for holder in right.holders:
                    model = self._book.agreements[holder.agreement_id].model
                    use = next((use for use in uses if use.model == model), None)
                    if use is None:
                        raise _refused("missing_model", f"{key}, track {track}", f"has no weight under {model}")
                    weight = use.weight if holder.share == 1 else use.weight * holder.share
                    found[holder.agreement_id].append(_Held(use, holder, weight, played.totals[model]))
        return found

    def _claim(self, agreement: Agreement, revenue: Revenue, held: list[_Held], lines: list[Line]) -> Fraction:
        """What an agreement claims of a pool, exact; its lines, not rounded yet, are added to `lines`."""
        key = revenue.key
        terms = agreement.terms_for(key)
        if terms is None or not (
            agreement.valid_from <= key.period and (agreement.valid_to is None or key.period <= agreement.valid_to)
        ):
            raise _refused(
                "missing_territory",
                f"agreement {agreement.agreement_id}, track {held[0].use.track_id}",
                f"was played in {key}, where no clause is in force",
            )
        account = self._accounts.get((agreement.agreement_id, agreement.licensor))
        claims = _rules(
            agreement,
            terms,
            revenue,
            held,
            self._rates,
            account.streams if account else 0,
            self._volume.get(agreement.agreement_id, 0),
        )
        rule = max(claims, key=lambda name: claims[name])  # the first of equals: the order of `_rules`
        counts_streams = rule in {"rate", "per_stream_minimum"}
        parts = [row.use.streams * row.holder.share if counts_streams else row.weight for row in held]
        total = exact_sum(parts)
        unit = claims[rule] / total if total else Fraction(0)
        clause = f"{agreement.agreement_id}/{terms.clause_id}@{terms.version}"
        for row, part in zip(held, parts, strict=True):
            amount = unit * part
            weight = Fraction(row.weight, row.total) if row.total else Fraction(0)
            account_name = {ACTIVE: PAYABLE, DISPUTED: DISPUTE}.get(row.holder.status, NO_CLAIM)
            for chain, end in self._ends(row.holder):
                lines.append(
                    Line(
                        key,
                        agreement.agreement_id,
                        agreement.share_type,
                        row.use.track_id,
                        chain,
                        account_name,
                        clause,
                        agreement.model,
                        rule,
                        row.use.streams,
                        weight if end == 1 else weight * end,
                        amount if end == 1 else amount * end,
                        0,
                    )
                )
        return claims[rule] if total else Fraction(0)

    def _ends(self, holder: Holder) -> list[tuple[tuple[str, ...], Fraction]]:
        """Down the chain only when it is paid: what is in suspense stays with the claimant."""
        if holder.status != ACTIVE:
            return [((holder.payee_id,), Fraction(1))]
        if holder.payee_id not in self._chains:
            self._chains[holder.payee_id] = self._book.chains(holder.payee_id, self._period)
        return self._chains[holder.payee_id]


class _Played(NamedTuple):
    """What was played in a pool: the uses of each licensed track that its agreements ask for, the `totals` that all
    licensed tracks weigh by model, and the streams of all tracks, and of those without a licence.
    """

    licensed: dict[str, tuple[Use, ...]]
    totals: dict[str, Fraction]
    streams: int
    unlicensed_streams: int


#: Earned minor units by (agreement, payee, is it payable, kind, what it corrects, of which month, currency).
Sums = dict[tuple[str, str, bool, str, str, str, str], int]


def _sum_of(line: Line) -> tuple[str, str, bool, str, str, str, str]:
    """Which sum of what was earned a line belongs to."""
    is_payable = line.account == PAYABLE
    return line.agreement_id, line.payee_id, is_payable, "royalty", "", line.key.period, line.key.currency


class _Held(NamedTuple):
    """A track and its holder: the track's `weight` times the holder's share, and the `total` of all licensed ones."""

    use: Use
    holder: Holder
    weight: int | Fraction
    total: Fraction


def _opening(period: str, opening: Iterable[Balance]) -> dict[tuple[str, str], Balance]:
    accounts: dict[tuple[str, str], Balance] = {}
    for balance in opening:
        key = balance.agreement_id, balance.payee_id
        if balance.period != add_months(period, -1) or key in accounts:
            raise _refused(
                "wrong_period", "/".join(key), f"the opening balances of {period} are those of the month before"
            )
        accounts[key] = balance
    return accounts


def corrected_balances(
    period: str, opening: Iterable[Balance], adjustments: Iterable[AccountAdjustment]
) -> list[Balance]:
    """The balances `opening` with what `adjustments` correct of them: what `period` really begins with."""
    accounts = {(row.agreement_id, row.payee_id): row for row in opening}
    for change in adjustments:
        if change.kind not in CARRIED:
            continue
        key, amount = (change.agreement_id, change.payee_id), change.amount_minor
        row = accounts.get(key) or Balance(add_months(period, -1), *key, change.currency)
        if change.kind == RESERVE:
            held = {(reserve.held_in, reserve.release_in): reserve.amount_minor for reserve in row.reserves}
            months = tuple(change.refers_to.split("/"))
            held[months[0], months[1]] = held.get((months[0], months[1]), 0) + amount
            row = replace(row, reserves=tuple(Reserve(*of, left) for of, left in sorted(held.items()) if left))
        elif change.kind == UNRECOUPED:
            row = replace(row, unrecouped_minor=row.unrecouped_minor + amount)
        elif change.kind == DEFICIT:
            row = replace(row, deficit_minor=row.deficit_minor + amount)
        else:
            row = replace(row, earned_minor=row.earned_minor + amount)
        accounts[key] = row
    return list(accounts.values())


def _name(use: Use) -> str:
    return f"{use.key}, track {use.track_id}"


def _corrections(period: str, adjustments: Iterable[Adjustment], book: Book) -> list[Adjustment]:
    """The corrections that are booked in `period`, checked and in order."""
    corrections = sorted(adjustments)
    for correction in corrections:
        if correction.period != period or correction.key.period >= period:
            raise _refused("wrong_period", correction.corrects, f"an adjustment of {period} corrects an earlier period")
        if correction.agreement_id not in book.agreements:
            raise _refused("unknown_agreement", correction.corrects, f"no agreement {correction.agreement_id}")
        if correction.payee_id not in book.payees and correction.account != NO_CLAIM:
            raise _refused("unknown_payee", correction.corrects, f"no payee {correction.payee_id}")
    return corrections


def _account_corrections(period: str, adjustments: Iterable[AccountAdjustment], book: Book) -> list[AccountAdjustment]:
    """The corrections of accounts that are booked in `period`, checked and in order."""
    changes = sorted(adjustments)
    for change in changes:
        of = f"{change.agreement_id}/{change.payee_id}, {change.name}"
        agreement = book.agreements.get(change.agreement_id)
        if change.period != period or change.of_period >= period:
            raise _refused("wrong_period", of, f"an adjustment of {period} corrects an earlier period")
        if change.kind in CARRIED and change.of_period != add_months(period, -1):
            raise _refused("wrong_period", of, f"{period} begins with the balances of the month before")
        if agreement is None:
            raise _refused("unknown_agreement", of, f"no agreement {change.agreement_id}")
        if change.payee_id not in book.payees and change.kind != SUSPENSE:
            raise _refused("unknown_payee", of, f"no payee {change.payee_id}")
        if change.currency != agreement.currency:
            raise _refused("wrong_currency", of, f"in {change.currency}, but the agreement is in {agreement.currency}")
    return changes


def _rules(
    agreement: Agreement,
    terms: Terms,
    revenue: Revenue,
    held: list[_Held],
    rates: tuple[ExchangeRate, ...],
    before: int,
    volume: int,
) -> dict[str, Fraction]:
    """What each rule of the clause would give, in minor units of the pool, exact."""
    value = terms.value_at(before if terms.escalation_over == "agreement" else 0, volume)
    total = held[0].total  # one agreement has one model
    part = exact_sum(row.weight for row in held) / total if total else Fraction(0)
    streams = exact_sum(row.use.streams * row.holder.share for row in held)

    def minor(amount: Fraction) -> Fraction:
        """Whole units of the agreement's currency in minor units of the pool's; no rate is asked for nothing."""
        if not amount:
            return Fraction(0)
        unit_rate = rate(rates, revenue.key.period, agreement.currency, revenue.key.currency)
        return (
            convert(1, agreement.currency, revenue.key.currency, unit_rate) * amount * minor_units(agreement.currency)
        )

    return {
        **(
            {"share": revenue.net_minor * value * part} if terms.share is not None else {"rate": minor(value * streams)}
        ),
        "per_stream_minimum": minor(terms.per_stream_minimum * streams),
        "per_subscriber_minimum": minor(terms.per_subscriber_minimum * revenue.subscribers * part),
    }


def _round(exact: list[Line], claimed_minor: int) -> list[Line]:
    """The one allocation of a pool: its lines, in order, with the whole minor units of all claims shared out.

    The lines of `exact` are replaced one by one: two of each would be much memory in a large pool.
    """
    exact.sort()
    by_id = {line.line_id: line.exact_minor for line in exact}
    if len(by_id) < len(exact):
        raise _refused("duplicate_use", str(exact[0].key), "two lines for one thing")
    for number, amount in enumerate(allocate(claimed_minor, by_id).values()):
        exact[number] = exact[number]._replace(amount_minor=amount)
    return exact


def _accounts(
    period: str,
    royalties: Sums,
    corrections: list[Adjustment],
    of_accounts: list[AccountAdjustment],
    book: Book,
    rates: tuple[ExchangeRate, ...],
    opening: Mapping[tuple[str, str], Balance],
    volume: Mapping[str, int],
) -> tuple[list[Entry], list[Balance]]:
    """Bookings and closing balances of every account that moves or carries something."""
    earned, suspended = _earnings(royalties, corrections, book, rates)
    entries: list[Entry] = []
    changes: dict[tuple[str, str], list[AccountAdjustment]] = defaultdict(list)
    for change in of_accounts:
        if change.kind == SUSPENSE:
            entries.append(_booked(change))
        else:
            changes[change.agreement_id, change.payee_id].append(change)
    names = {*opening, *earned, *changes}
    for agreement in book.agreements.values():
        rules = agreement.accounting_for(period)
        names |= {(agreement.agreement_id, row.payee_id) for row in agreement.advances if row.period <= period}
        if (rules and rules.guarantee_minor) or agreement.agreement_id in volume:
            names.add((agreement.agreement_id, agreement.licensor))
    of_agreement: dict[str, int] = defaultdict(int)
    for (agreement_id, _), rows in [*earned.items(), *suspended.items()]:
        of_agreement[agreement_id] += sum(amount for _, _, amount in rows)
    for (agreement_id, payee_id), rows in suspended.items():
        currency = book.agreements[agreement_id].currency
        entries += [Entry(period, agreement_id, payee_id, "suspense", what, "", currency, n) for _, what, n in rows]
    balances: list[Balance] = []
    for agreement_id, payee_id in sorted(names):
        if agreement_id not in book.agreements:
            raise _refused("unknown_agreement", agreement_id, "has a balance, but no contract")
        account = _Account(period, book.agreements[agreement_id], payee_id, opening.get((agreement_id, payee_id)))
        balances.append(
            account.run(
                earned.get((agreement_id, payee_id), []),
                of_agreement[agreement_id],
                volume.get(agreement_id, 0),
                changes.get((agreement_id, payee_id), []),
            )
        )
        entries += account.entries
    return entries, [row for row in balances if _carries(row)]


Rows = dict[tuple[str, str], list[tuple[str, str, int]]]  # (agreement, payee): kind, what it refers to, minor units


def _earnings(
    royalties: Sums, corrections: list[Adjustment], book: Book, rates: tuple[ExchangeRate, ...]
) -> tuple[Rows, Rows]:
    """Royalties and adjustments in the agreements' currencies; each sum rounds once."""
    sums: Sums = defaultdict(int, royalties)
    for row in corrections:
        is_payable = row.account == PAYABLE
        at = row.key
        sums[row.agreement_id, row.payee_id, is_payable, "adjustment", row.corrects, at.period, at.currency] += (
            row.amount_minor
        )
    earned: Rows = defaultdict(list)
    suspended: Rows = defaultdict(list)
    for (agreement_id, payee_id, is_payable, kind, corrects, of_period, base), amount in sorted(sums.items()):
        quote = book.agreements[agreement_id].currency
        unit_rate = rate(rates, of_period, base, quote)
        converted = round(convert(amount, base, quote, unit_rate))  # half to even
        (earned if is_payable else suspended)[agreement_id, payee_id].append(
            (kind, corrects or f"{of_period}/{base}", converted)
        )
    return earned, suspended


def _booked(change: AccountAdjustment) -> Entry:
    return Entry(
        change.period,
        change.agreement_id,
        change.payee_id,
        change.entry_kind,
        change.name,
        change.clause,
        change.currency,
        change.amount_minor,
    )


def _carries(row: Balance) -> bool:
    amounts = (row.unrecouped_minor, row.deficit_minor, row.earned_minor, row.streams, row.overpaid_minor)
    return any(amounts) or bool(row.reserves or row.advances)


class _Account:
    """The waterfall of one payee and agreement in one period."""

    def __init__(self, period: str, agreement: Agreement, payee_id: str, before: Balance | None) -> None:
        self.period = period
        self.agreement = agreement
        self.payee_id = payee_id
        self.before = before or Balance("", agreement.agreement_id, payee_id, agreement.currency)
        self.rules = agreement.accounting_for(period) or self._after_the_end()
        self.entries: list[Entry] = []

    def _after_the_end(self) -> Accounting:
        """What still reaches an account after its agreement ended is taxed as before; nothing is held or guaranteed."""
        ended = [row for row in current(self.agreement.accounting) if row.valid_from <= self.period]
        if not ended:
            return Accounting("none", 0, self.period)
        last = max(ended, key=lambda row: row.valid_from)
        return replace(last, reserve=Fraction(0), guarantee_minor=0)

    def book(self, kind: str, amount_minor: int, refers_to: str = "", *, by_rules: bool = False) -> int:
        """Write an entry, unless it is of nothing; returns its amount."""
        if amount_minor:
            agreement_id = self.agreement.agreement_id
            clause = f"{agreement_id}/{self.rules.clause_id}@{self.rules.version}" if by_rules else ""
            self.entries.append(
                Entry(
                    self.period,
                    agreement_id,
                    self.payee_id,
                    kind,
                    refers_to,
                    clause,
                    self.agreement.currency,
                    amount_minor,
                )
            )
        return amount_minor

    def run(
        self,
        earned: list[tuple[str, str, int]],
        of_agreement: int,
        volume: int,
        changes: list[AccountAdjustment],
    ) -> Balance:
        """Book the period; `of_agreement` is what the whole agreement earned in it, `volume` its streams.

        `changes` correct closed months. That money has been reserved, recouped and taxed there, or would have been: it
        passes by all of that, after it.
        """
        before, rules = self.before, self.rules
        total = self.book("brought_forward", -before.deficit_minor, before.period)
        income = sum(self.book(kind, amount, what) for kind, what, amount in earned)
        carried, streams = 0, 0
        if self.payee_id == self.agreement.licensor:
            streams = before.streams + volume
            carried = before.earned_minor + of_agreement if rules.guarantee_minor else 0
            if (
                rules.guarantee_minor
                and not (months_between(rules.valid_from, self.period) + 1) % rules.guarantee_months
            ):
                total += self.book("true_up", max(0, rules.guarantee_minor - carried), self.period, by_rules=True)
                carried = 0
        total += income
        held = int(rules.reserve * max(0, income))
        total += self.book("reserve_held", -held, self.period, by_rules=True)
        for reserve in before.reserves:
            if reserve.release_in <= self.period:
                total += self.book("reserve_released", reserve.amount_minor, reserve.held_in)
        kept = [reserve for reserve in before.reserves if reserve.release_in > self.period]
        if held:
            kept.append(Reserve(self.period, add_months(self.period, rules.release_after_months), held))
        paid_ahead = [
            row
            for row in self.agreement.advances
            if row.payee_id == self.payee_id and row.period <= self.period and row.advance_id not in before.advances
        ]
        unrecouped = before.unrecouped_minor + sum(row.amount_minor for row in paid_ahead)
        recouped = min(unrecouped, max(0, total))
        total += self.book("recoupment", -recouped)
        total += self.book("withholding_tax", -int(rules.withholding * max(0, total)), by_rules=True)
        deficit = max(0, -total)
        total += self.book("carried_forward", deficit, self.period)
        self.entries += map(_booked, changes)
        total += sum(row.amount_minor for row in changes if row.entry_kind == ACCOUNT_ADJUSTMENT)
        total += self.book("overpayment_brought_forward", -before.overpaid_minor, before.period)
        overpaid = max(0, -total)
        total += self.book("overpayment_carried_forward", overpaid, self.period)
        self.book("payable", total)
        return Balance(
            self.period,
            self.agreement.agreement_id,
            self.payee_id,
            self.agreement.currency,
            unrecouped - recouped,
            deficit,
            carried,
            streams,
            tuple(kept),
            tuple(sorted({*before.advances, *(row.advance_id for row in paid_ahead)})),
            overpaid,
        )


def _refused(reason: str, name: str, rule: str) -> RejectedInputError:
    return RejectedInputError(
        f"Settlement, {name}: {rule} ({reason}).",
        reason=reason,
        value=name,
        hint="Correct the input and run the period again; it stays as it was.",
    )
