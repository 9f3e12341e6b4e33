"""Contracts as data: who is owed what part of which pools, from when to when, and how it is accounted for.

A book is a YAML or JSON document in the form of contract.schema.json. `load` refuses a document with a clause that
is unsound or ambiguous, and names the clause and the rule. Clauses take effect by month, both ends included; a
correction is a higher version of the same clause, earlier versions stay for the record.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from sys import intern
from typing import Any, NoReturn, Protocol, TypeVar

import jsonschema
import yaml

from lakehouse.domain.royalties.iso import COUNTRIES, DECIMALS
from lakehouse.domain.royalties.pools import PoolKey, add_months, months_between
from lakehouse.errors import RejectedInputError

WORLD = "world"
ACTIVE, DISPUTED, UNCLAIMED = "active", "disputed", "unclaimed"


class Dated(Protocol):
    """What is in force in the months `valid_from` to `valid_to`, both included; None means until further notice."""

    @property
    def valid_from(self) -> str:
        """First month (YYYY-MM)."""

    @property
    def valid_to(self) -> str | None:
        """Last month (YYYY-MM)."""


class Versioned(Dated, Protocol):
    """A clause; of one with several versions the highest is in force."""

    @property
    def clause_id(self) -> str:
        """Unique within the agreement."""

    @property
    def version(self) -> int:
        """From 1, without gaps."""


D = TypeVar("D", bound=Dated)
V = TypeVar("V", bound=Versioned)


@dataclass(frozen=True)
class PassOn:
    """`share` of whatever reaches a payee goes on to `payee_id`."""

    payee_id: str
    share: Fraction
    valid_from: str
    valid_to: str | None = None


@dataclass(frozen=True)
class Payee:
    """A party that is paid; `country` is that of its tax residence."""

    payee_id: str
    name: str
    country: str
    passes_on: tuple[PassOn, ...] = ()


@dataclass(frozen=True)
class Escalation:
    """For the streams above `above_streams` the share (or rate) is `value`."""

    above_streams: int
    value: Fraction


@dataclass(frozen=True)
class Terms:
    """What is owed in a territory: a share of net revenue or a rate a stream, and minimums (whole units of currency).

    `territory` lists countries, or is `world`: every country no other clause names. `tiers` likewise: empty means every
    tier no other clause of the country names.
    """

    clause_id: str
    version: int
    territory: tuple[str, ...]
    valid_from: str
    valid_to: str | None = None
    tiers: tuple[str, ...] = ()
    share: Fraction | None = None
    rate: Fraction | None = None
    per_stream_minimum: Fraction = Fraction(0)
    per_subscriber_minimum: Fraction = Fraction(0)
    escalations: tuple[Escalation, ...] = ()
    escalation_over: str = "period"

    def value_at(self, before: int, streams: int) -> Fraction:
        """The share or rate, averaged over the `streams` that follow the first `before` ones of the volume."""
        base = self.share if self.share is not None else self.rate
        assert base is not None  # noqa: S101 - held by the check of the book
        steps = [Escalation(0, base), *self.escalations]
        if streams == 0:
            return next(step.value for step in reversed(steps) if step.above_streams <= before)
        ends = [step.above_streams for step in steps[1:]] + [before + streams]
        total = Fraction(0)
        for step, end in zip(steps, ends, strict=True):
            within = min(end, before + streams) - max(step.above_streams, before)
            total += step.value * max(0, within)
        return total / streams


@dataclass(frozen=True)
class Accounting:
    """How an agreement's earnings become payments, and what it earns at least in every `guarantee_months`."""

    clause_id: str
    version: int
    valid_from: str
    valid_to: str | None = None
    reserve: Fraction = Fraction(0)
    release_after_months: int = 1
    withholding: Fraction = Fraction(0)
    guarantee_minor: int = 0
    guarantee_months: int = 1


@dataclass(frozen=True)
class Advance:
    """`amount_minor` paid ahead to `payee_id` in `period`; recouped from what the payee earns under the agreement."""

    advance_id: str
    payee_id: str
    period: str
    amount_minor: int


@dataclass(frozen=True)
class Agreement:
    """What a licensor agreed for one type of share; amounts are in `currency`."""

    agreement_id: str
    licensor: str
    share_type: str
    model: str
    currency: str
    terms: tuple[Terms, ...]
    valid_from: str
    valid_to: str | None = None
    accounting: tuple[Accounting, ...] = ()
    advances: tuple[Advance, ...] = ()

    def terms_for(self, key: PoolKey) -> Terms | None:
        """The one clause in force for a pool: a country's own before the world's, a tier's own before all tiers'."""
        for country in (key.country, WORLD):
            for is_of_tier in (True, False):
                for clause in current(self.terms):
                    if (
                        in_force(clause, key.period)
                        and country in clause.territory
                        and (key.tier in clause.tiers if is_of_tier else not clause.tiers)
                    ):
                        return clause
        return None

    def accounting_for(self, period: str) -> Accounting | None:
        """The rules of account in force in `period`, if there are any."""
        return next((clause for clause in current(self.accounting) if in_force(clause, period)), None)


@dataclass(frozen=True, slots=True)
class Holder:
    """`share` of a right, licensed under an agreement; a disputed or unclaimed one is held in suspense."""

    agreement_id: str
    payee_id: str
    share: Fraction
    status: str = ACTIVE


@dataclass(frozen=True, slots=True)
class Right:
    """Who holds one type of share of a track; the shares of the holders sum to 1."""

    track_id: str
    share_type: str
    valid_from: str
    holders: tuple[Holder, ...]
    valid_to: str | None = None


@dataclass(frozen=True)
class Book:
    """All contracts that count for a run."""

    payees: Mapping[str, Payee]
    agreements: Mapping[str, Agreement]
    rights: Sequence[Right] = field(default_factory=tuple)

    @cached_property
    def _rights_of(self) -> dict[str, tuple[Right, ...]]:
        found: dict[str, tuple[Right, ...]] = {}
        for right in self.rights:
            found[right.track_id] = (*found.get(right.track_id, ()), right)
        return found

    def rights_over_time(self) -> dict[tuple[str, str], list[Right]]:
        """The rights in a track and share type that has several, in the order of the book."""
        found: dict[tuple[str, str], list[Right]] = defaultdict(list)
        for track_id, rights in self._rights_of.items():
            for right in rights if len(rights) > 1 else ():
                found[track_id, right.share_type].append(right)
        return found

    def rights_of(self, track_id: str, period: str) -> list[Right]:
        """The rights in a track in force in `period`, in order of share type."""
        found = [right for right in self._rights_of.get(track_id, ()) if in_force(right, period)]
        return sorted(found, key=lambda right: right.share_type)

    def chains(self, payee_id: str, period: str) -> list[tuple[tuple[str, ...], Fraction]]:
        """Where a unit that reaches `payee_id` ends: each chain of payees and its part. The parts sum to 1."""
        passed = [step for step in self.payees[payee_id].passes_on if in_force(step, period)]
        ends = [
            ((payee_id, *chain), step.share * part)
            for step in passed
            for chain, part in self.chains(step.payee_id, period)
        ]
        kept = 1 - sum((step.share for step in passed), Fraction(0))
        return ([((payee_id,), kept)] if kept else []) + ends


def in_force(item: Dated, period: str) -> bool:
    """Whether `item` is in force in the month `period`."""
    return item.valid_from <= period and (item.valid_to is None or period <= item.valid_to)


def current(clauses: Iterable[V]) -> list[V]:
    """The highest version of each clause, in order of its id."""
    latest: dict[str, V] = {}
    for clause in clauses:
        if clause.clause_id not in latest or latest[clause.clause_id].version < clause.version:
            latest[clause.clause_id] = clause
    return [latest[clause_id] for clause_id in sorted(latest)]


@cache
def _schema() -> Any:
    return json.loads(Path(__file__).with_name("contract.schema.json").read_text())


@cache
def _compiled_schema() -> Any:
    import fastjsonschema

    definitions = _schema()["$defs"]

    def inlined(part: Any) -> Any:  # the compiled code is slow at references
        if isinstance(part, list):
            return [inlined(value) for value in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return inlined(definitions[part["$ref"].rpartition("/")[2]])
        return {key: inlined(value) for key, value in part.items() if key != "$defs"}

    return fastjsonschema.compile(inlined(_schema()), use_default=False)


def _quickly_valid(raw: Any) -> bool:
    """Whether the compiled schema takes the document: much faster with a million rights. Only the other validator says
    what is wrong, and it has the last word.
    """
    import fastjsonschema

    try:
        _compiled_schema()(raw)
    except fastjsonschema.JsonSchemaException:
        return False
    return True


@lru_cache(maxsize=65_536)
def _fraction(text: str) -> Fraction:
    """One object for equal texts: most of a million rights have a share of 1."""
    return Fraction(text)


def load(text: str) -> Book:
    """The book in a YAML or JSON document.

    Raises:
        RejectedInputError: the clause and rule are named; the reasons are `schema` and those of `check`.
    """
    return build(parse(text))


def reload(text: str) -> Book:
    """The book in a document that was taken before: as it counted then, whatever `check` has come to refuse since.

    Raises:
        RejectedInputError: `schema`.
    """
    return _built(parse(text))


def without_rights(text: str) -> Book:
    """A book that was taken before, without its rights: all that accounts are kept by, and a fraction of its memory.

    Raises:
        RejectedInputError: `schema`.
    """
    return _built({**parse(text), "rights": []})


def parse(text: str) -> Any:
    """The YAML or JSON document `text`, unchecked.

    Raises:
        RejectedInputError: `schema`, it is neither.
    """
    try:
        # A JSON document can be large, and its own parser is a hundred times as fast.
        return json.loads(text) if text.lstrip()[:1] == "{" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        _refuse("the document", "schema", f"isn't YAML or JSON: {str(error).splitlines()[0]}")


def build(raw: Any) -> Book:
    """The book in a document that was read already; raises as `load` does."""
    book = _built(raw)
    check(book)
    return book


def _built(raw: Any) -> Book:
    if not _quickly_valid(raw):
        validator = jsonschema.Draft202012Validator(_schema())
        for error in sorted(validator.iter_errors(raw), key=lambda error: list(map(str, error.absolute_path))):
            _refuse(_where(raw, list(error.absolute_path)), "schema", error.message)
    payees = [_make(Payee, row, passes_on=_all(PassOn, row.get("passes_on"))) for row in raw["payees"]]
    agreements = [
        _make(
            Agreement,
            row,
            terms=tuple(
                _make(
                    Terms,
                    clause,
                    territory=tuple(clause["territory"]),
                    tiers=tuple(clause.get("tiers", ())),
                    escalations=_all(Escalation, clause.get("escalations")),
                )
                for clause in row["terms"]
            ),
            accounting=_all(Accounting, row.get("accounting")),
            advances=_all(Advance, row.get("advances")),
        )
        for row in raw["agreements"]
    ]
    rights = [
        Right(
            row["track_id"],
            intern(row["share_type"]),
            intern(row["valid_from"]),
            tuple(
                Holder(
                    intern(holder["agreement_id"]),
                    intern(holder.get("payee_id", "")),
                    _fraction(holder["share"]),
                    intern(holder.get("status", ACTIVE)),
                )
                for holder in row["holders"]
            ),
            row.get("valid_to"),
        )
        for row in raw["rights"]
    ]
    for name, ids in (
        ("payee", [payee.payee_id for payee in payees]),
        ("agreement", [agreement.agreement_id for agreement in agreements]),
    ):
        for this, following in pairwise(sorted(ids)):
            if this == following:
                _refuse(f"{name} {this}", f"duplicate_{name}", "is there twice")
    return Book({row.payee_id: row for row in payees}, {row.agreement_id: row for row in agreements}, tuple(rights))


T = TypeVar("T")
_FRACTIONS = {"share", "rate", "per_stream_minimum", "per_subscriber_minimum", "value", "reserve", "withholding"}


def _make(cls: type[T], row: Mapping[str, Any], **built: Any) -> T:
    values = {name: _fraction(value) if name in _FRACTIONS else value for name, value in row.items()}
    return cls(**{**values, **built})


def _all(cls: type[T], rows: Sequence[Mapping[str, Any]] | None) -> tuple[T, ...]:
    return tuple(_make(cls, row) for row in rows or ())


def _where(raw: Any, path: list[str | int]) -> str:
    """The innermost named thing on the way to `path`, and the path."""
    name, here = "the document", raw
    for step in path:
        here = here[step]
        if isinstance(here, dict):
            for ident in ("payee_id", "agreement_id", "clause_id", "advance_id", "track_id"):
                if isinstance(here.get(ident), str):
                    name = f"{ident.removesuffix('_id')} {here[ident]}"
                    break
    return f"{name} (at {'/'.join(map(str, path)) or 'the top'})"


def check(book: Book) -> None:
    """Refuse a book that isn't sound; for one that was made, not loaded.

    Raises:
        RejectedInputError: reasons unknown_payee, unknown_agreement, unknown_country, unknown_currency,
            negative_amount, share_above_one, shares_not_one, cycle_of_payees, bad_dates, bad_versions,
            overlapping_terms, gap_in_time, ambiguous_terms, bad_escalation, guarantee_cut, no_territory,
            duplicate_advance, wrong_share_type, duplicate_holder.
    """
    for payee in book.payees.values():
        _check_payee(book, payee)
    for agreement in book.agreements.values():
        _check_agreement(book, agreement)
    _check_rights(book)


def _check_payee(book: Book, payee: Payee) -> None:
    name = f"payee {payee.payee_id}"
    if payee.country not in COUNTRIES:
        _refuse(name, "unknown_country", f"'{payee.country}' isn't an ISO 3166-1 alpha-2 code")
    for number, step in enumerate(payee.passes_on):
        _check_payee_known(book, name, step.payee_id)
        _check_dates(name, step)
        _check_not_negative(name, passes_on=step.share)
        if any(other.payee_id == step.payee_id and _overlap(step, other) for other in payee.passes_on[:number]):
            _refuse(name, "overlapping_terms", f"passes on to {step.payee_id} twice at one time")
    for period in sorted({step.valid_from for step in payee.passes_on}):
        total = sum((step.share for step in payee.passes_on if in_force(step, period)), Fraction(0))
        if total > 1:
            _refuse(name, "share_above_one", f"passes on {total} from {period}")
    seen: set[str] = set()
    todo = [step.payee_id for step in payee.passes_on]
    while todo:  # whatever the dates: a chain that bites its tail is a mistake in any month
        following = todo.pop()
        if following == payee.payee_id:
            _refuse(name, "cycle_of_payees", "what it passes on comes back to it")
        if following not in seen and following in book.payees:
            seen.add(following)
            todo += [step.payee_id for step in book.payees[following].passes_on]


def _check_agreement(book: Book, agreement: Agreement) -> None:
    name = f"agreement {agreement.agreement_id}"
    _check_payee_known(book, name, agreement.licensor)
    if agreement.currency not in DECIMALS:
        _refuse(name, "unknown_currency", f"'{agreement.currency}' isn't an ISO 4217 code")
    _check_dates(name, agreement)
    versioned: list[Versioned] = [*agreement.terms, *agreement.accounting]
    for clause_id in sorted({clause.clause_id for clause in versioned}):
        versions = sorted(clause.version for clause in versioned if clause.clause_id == clause_id)
        if versions != list(range(1, len(versions) + 1)):
            _refuse(f"{name}, clause {clause_id}", "bad_versions", f"versions must be 1, 2, ...; found {versions}")
    for clause in agreement.terms:
        _check_terms(f"{name}, clause {clause.clause_id}@{clause.version}", clause)
    for rules in agreement.accounting:
        _check_accounting(f"{name}, clause {rules.clause_id}@{rules.version}", rules)
    for number, advance in enumerate(agreement.advances):
        _check_payee_known(book, f"{name}, advance {advance.advance_id}", advance.payee_id)
        _check_not_negative(f"{name}, advance {advance.advance_id}", amount_minor=advance.amount_minor)
        if any(advance.advance_id == other.advance_id for other in agreement.advances[:number]):
            _refuse(f"{name}, advance {advance.advance_id}", "duplicate_advance", "is there twice")
    _check_time(name, agreement)


def _check_terms(name: str, clause: Terms) -> None:
    _check_dates(name, clause)
    for country in clause.territory:
        if country != WORLD and country not in COUNTRIES:
            _refuse(name, "unknown_country", f"'{country}' isn't an ISO 3166-1 alpha-2 code")
    if not clause.territory or (WORLD in clause.territory and len(clause.territory) > 1):
        _refuse(name, "no_territory", "the territory is a list of countries, or the world alone")
    if len(set(clause.territory)) < len(clause.territory) or len(set(clause.tiers)) < len(clause.tiers):
        _refuse(name, "overlapping_terms", "names a country or tier twice")
    if (clause.share is None) == (clause.rate is None):
        _refuse(name, "ambiguous_terms", "must have either a share or a rate")
    _check_not_negative(
        name,
        share=clause.share or 0,
        rate=clause.rate or 0,
        per_stream_minimum=clause.per_stream_minimum,
        per_subscriber_minimum=clause.per_subscriber_minimum,
        **{f"escalation above {step.above_streams}": step.value for step in clause.escalations},
    )
    if clause.share is not None:
        for value in (clause.share, *(step.value for step in clause.escalations)):
            if value > 1:
                _refuse(name, "share_above_one", f"a share can't be {value}")
    for lower, upper in pairwise([Escalation(0, Fraction(0)), *clause.escalations]):
        if lower.above_streams >= upper.above_streams:
            _refuse(name, "bad_escalation", "steps must start above 0 and rise")


def _check_accounting(name: str, rules: Accounting) -> None:
    _check_dates(name, rules)
    _check_not_negative(
        name, reserve=rules.reserve, withholding=rules.withholding, guarantee_minor=rules.guarantee_minor
    )
    if max(rules.reserve, rules.withholding) > 1:
        _refuse(name, "share_above_one", "a reserve or tax can't exceed what is earned")
    if rules.guarantee_minor and rules.valid_to is not None:
        months = months_between(rules.valid_from, rules.valid_to) + 1
        if months % rules.guarantee_months:
            _refuse(
                name, "guarantee_cut", f"{months} months can't be cut into {rules.guarantee_months}-month guarantees"
            )


def _check_time(name: str, agreement: Agreement) -> None:
    """No two clauses for one thing at one time, none missing in between or at either end, none that two others decide.

    A country's or tier's own clauses may begin after the agreement only where those of all countries or tiers decide
    until then.
    """
    chains: dict[tuple[str, str], list[Terms]] = defaultdict(list)
    terms = current(agreement.terms)
    for clause in terms:
        for country in clause.territory:
            for tier in clause.tiers or ("",):
                chains[country, tier].append(clause)
    for (country, tier), clauses in sorted(chains.items()):
        _check_chain(f"{name}, {country}{f', tier {tier}' if tier else ''}", clauses, agreement.valid_to)
    _check_beginnings(name, agreement, chains)
    _check_decided_once(name, chains)
    accounting = sorted(current(agreement.accounting), key=lambda clause: clause.valid_from)
    _check_chain(f"{name}, accounting", accounting, agreement.valid_to)
    if accounting and accounting[0].valid_from != agreement.valid_from:
        _refuse_beginning(f"{name}, accounting, clause {accounting[0].clause_id}", accounting[0], agreement)


def _check_decided_once(name: str, chains: Mapping[tuple[str, str], Sequence[Terms]]) -> None:
    """Refuse a country's clause of every tier beside the world's of one: both would decide about that tier there."""
    for (country, tier), clauses in sorted(chains.items()):
        if country == WORLD or tier:
            continue
        for (other_country, other_tier), others in sorted(chains.items()):
            if other_country != WORLD or not other_tier or (country, other_tier) in chains:
                continue
            for one in clauses:
                for other in others:
                    if _overlap(one, other):
                        _refuse(
                            f"{name}, clauses {one.clause_id} and {other.clause_id}",
                            "ambiguous_terms",
                            f"both claim {country}, tier {other_tier}; name the country and the tier in one clause",
                        )


def _check_beginnings(name: str, agreement: Agreement, chains: Mapping[tuple[str, str], Sequence[Terms]]) -> None:
    first = {thing: min(clauses, key=lambda clause: clause.valid_from) for thing, clauses in chains.items()}
    for (country, tier), clause in sorted(first.items()):
        # What decides while this one doesn't yet; each of these has no gaps from where it begins.
        standing_in = {(country, tier), (country, ""), (WORLD, tier), (WORLD, "")} & first.keys()
        covered_from = min(first[thing].valid_from for thing in standing_in)
        if clause.valid_from < agreement.valid_from or covered_from > agreement.valid_from:
            named = f"{name}, {country}{f', tier {tier}' if tier else ''}, clause {clause.clause_id}"
            _refuse_beginning(named, clause, agreement)


def _refuse_beginning(name: str, clause: Dated, agreement: Agreement) -> NoReturn:
    _refuse(name, "gap_in_time", f"begins {clause.valid_from}, the agreement {agreement.valid_from}")


def _overlap(one: Dated, other: Dated) -> bool:
    return (other.valid_to is None or one.valid_from <= other.valid_to) and (
        one.valid_to is None or other.valid_from <= one.valid_to
    )


def _check_chain(name: str, clauses: Sequence[Versioned], valid_to: str | None) -> None:
    ordered = sorted(clauses, key=lambda clause: (clause.valid_from, clause.clause_id))
    for this, following in pairwise(ordered):
        both = f"{name}, clauses {this.clause_id} and {following.clause_id}"
        if this.valid_to is None or following.valid_from <= this.valid_to:
            _refuse(both, "overlapping_terms", f"both are in force in {following.valid_from}")
        if following.valid_from != add_months(this.valid_to, 1):
            _refuse(both, "gap_in_time", f"none is in force in {add_months(this.valid_to, 1)}")
    if ordered and ordered[-1].valid_to != valid_to:
        _refuse(
            f"{name}, clause {ordered[-1].clause_id}",
            "gap_in_time",
            f"ends {ordered[-1].valid_to or 'never'}, the agreement {valid_to or 'never'}",
        )


def _check_rights(book: Book) -> None:
    for right in book.rights:
        name = f"track {right.track_id}, {right.share_type}, from {right.valid_from}"
        _check_dates(name, right)
        total = sum((holder.share for holder in right.holders), Fraction(0))
        for holder in right.holders:
            _check_not_negative(name, share=holder.share)
            agreement = book.agreements.get(holder.agreement_id)
            if agreement is None:
                _refuse(name, "unknown_agreement", f"there is no agreement {holder.agreement_id}")
            if agreement.share_type != right.share_type:
                _refuse(name, "wrong_share_type", f"{agreement.agreement_id} is about {agreement.share_type}")
            _check_licensed(name, right, agreement)
            if holder.status != UNCLAIMED or holder.payee_id:
                _check_payee_known(book, name, holder.payee_id)
        if total != 1:
            _refuse(name, "shares_not_one", f"the shares sum to {total}")
        if len({(holder.agreement_id, holder.payee_id, holder.status) for holder in right.holders}) < len(
            right.holders
        ):
            _refuse(name, "duplicate_holder", "a holder is there twice")
    for (track, share_type), rights in book.rights_over_time().items():
        for this, following in pairwise(sorted(rights, key=lambda right: right.valid_from)):
            name = f"track {track}, {share_type}, from {following.valid_from}"
            if this.valid_to is None or following.valid_from <= this.valid_to:
                _refuse(name, "overlapping_terms", f"the shares from {this.valid_from} are still in force")
            if following.valid_from != add_months(this.valid_to, 1):
                _refuse(name, "gap_in_time", f"nobody holds it in {add_months(this.valid_to, 1)}")


def _check_licensed(name: str, right: Right, agreement: Agreement) -> None:
    """Refuse a right that is in force in a month in which its agreement isn't: a play of it would have no clause."""
    if right.valid_from < agreement.valid_from:
        _refuse(name, "gap_in_time", f"agreement {agreement.agreement_id} begins {agreement.valid_from} only")
    if agreement.valid_to is not None and (right.valid_to is None or right.valid_to > agreement.valid_to):
        rule = f"ends {right.valid_to or 'never'}, its agreement {agreement.agreement_id} {agreement.valid_to}"
        _refuse(name, "gap_in_time", rule)


def _check_payee_known(book: Book, name: str, payee_id: str) -> None:
    if payee_id not in book.payees:
        _refuse(name, "unknown_payee", f"there is no payee '{payee_id}'")


def _check_dates(name: str, item: Dated) -> None:
    if item.valid_to is not None and item.valid_to < item.valid_from:
        _refuse(name, "bad_dates", f"ends {item.valid_to}, before it begins {item.valid_from}")


def _check_not_negative(name: str, **amounts: Fraction | int) -> None:
    for field_name, amount in amounts.items():
        if amount < 0:
            _refuse(name, "negative_amount", f"{field_name} is {amount}")


def _refuse(clause: str, reason: str, rule: str) -> NoReturn:
    raise RejectedInputError(
        f"Contracts, {clause}: {rule} ({reason}).",
        reason=reason,
        value=clause,
        hint="Correct the clause; nothing of this book was taken.",
    )
