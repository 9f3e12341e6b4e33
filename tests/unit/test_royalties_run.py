"""What a settlement takes in and what it books, without engines."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from lakehouse.adapters import royalties, royalties_demo, royalties_files, royalties_lake
from lakehouse.adapters.royalties import Inputs, _adapter, _dump
from lakehouse.adapters.royalties_ledger import Correction, Posting
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties import contracts
from lakehouse.domain.royalties.contracts import Book, build
from lakehouse.domain.royalties.models import MODELS, Use
from lakehouse.domain.royalties.pools import ExchangeRate, PoolKey, Revenue
from lakehouse.domain.royalties.settlement import (
    Adjustment,
    Balance,
    Line,
    Settlement,
    Settling,
    canonical_json,
    earned_by,
    settle,
    volumes,
)
from lakehouse.errors import FatalError, RejectedInputError
from tests.fakes.payouts import MemoryLedger

PERIOD = "2026-10"
POOLS = [PoolKey(PERIOD, "DE", "premium", "EUR"), PoolKey(PERIOD, "JP", "free", "JPY")]
TRACKS = [(n, 10 + n % 7, f"Artist {n % 7}") for n in range(1, 15)]


USES = [
    Use(key, model, str(track), track, Fraction(track, 3) if model == "user_centric" else track)
    for key in POOLS
    for model in MODELS
    for track, _, _ in TRACKS
]
REVENUE = (Revenue(POOLS[0], 1_000_000), Revenue(POOLS[1], 70_001))
RATES = tuple(royalties_demo.rates([PERIOD], ["EUR", "JPY"]))


def inputs() -> Inputs:
    sources = dict.fromkeys(("silver_audit.plays", "silver_audit.play_flags", "silver_audit.tracks"), 1)
    return Inputs(PERIOD, sources, REVENUE, "0" * 64, RATES)


def book() -> Book:
    raw = royalties_demo.standard_book(TRACKS)
    of_last = next(row for row in raw["agreements"] if row["agreement_id"] == "A16")
    of_last["advances"] = [{"advance_id": "first", "payee_id": "16", "period": PERIOD, "amount_minor": 500}]
    return build(raw)


def settled(rates: tuple[ExchangeRate, ...] = RATES) -> Settlement:
    return settle(PERIOD, REVENUE, USES, book(), rates)


def test_what_is_kept_is_read_as_it_was_written() -> None:
    again = _adapter(Inputs).validate_python(_dump(inputs()))
    assert again == inputs()
    document = settled().to_json()
    assert _adapter(Settlement).validate_json(document).to_json() == document


def test_what_was_kept_before_policies_were_keeps_its_name() -> None:
    kept = {name: value for name, value in _dump(inputs()).items() if name != "counting_policy"}
    before = _adapter(Inputs).validate_python(kept)
    assert _dump(before) == kept
    now = replace(before, counting_policy="streamed-30s@2")
    assert _adapter(Inputs).validate_python(_dump(now)).calculation.counting_policy == "streamed-30s@2"
    name = hashlib.sha256(canonical_json(kept)).hexdigest()[:32]
    assert (before.calculation.calculation, now.calculation.calculation) == (name, name)


def test_a_calculation_is_named_by_all_that_it_is_computed_from() -> None:
    one = inputs()
    others = [
        replace(one, snapshots=one.snapshots | {"silver_audit.play_flags": 2}),
        replace(one, revenue=one.revenue[:1]),
        replace(one, book_sha256="1" * 64),
        replace(one, rates=()),
        replace(one, opening=(Balance("2026-09", "A10", "10", "EUR", deficit_minor=1),)),
    ]
    names = {made.calculation.calculation for made in [one, *others]}
    assert len(names) == 1 + len(others)
    assert inputs().calculation == one.calculation


def test_pool_by_pool_gives_what_all_at_once_gives() -> None:
    played = volumes(((use.track_id, use.streams) for use in USES if use.model == "pro_rata"), book(), PERIOD)
    settling = Settling(PERIOD, REVENUE, book(), played, RATES)
    lines = [line for key in POOLS for line in settling.settle_pool(key, [use for use in USES if use.key == key])]
    whole = settled()
    assert settling.finish().digest() == whole.digest()
    assert tuple(lines) == whole.lines


def test_a_line_counts_in_the_digest() -> None:
    other = [use._replace(streams=use.streams + 1) if use.track_id == "1" else use for use in USES]
    changed = settle(PERIOD, REVENUE, other, book(), RATES)
    assert [line.amount_minor for line in changed.lines] == [line.amount_minor for line in settled().lines]
    assert changed.lines_sha256 != settled().lines_sha256
    assert changed.digest() != settled().digest()


def test_the_books_of_the_demo_balance() -> None:
    settlement = settled()
    kinds = {entry.kind for entry in settlement.entries}
    assert kinds >= {"royalty", "reserve_held", "withholding_tax", "recoupment", "payable"}
    postings = royalties.postings(settlement, (), book())
    sums: dict[str, int] = defaultdict(int)
    owed: dict[str, int] = defaultdict(int)
    for row in postings:
        sums[row.currency] += row.amount_minor
        if row.account == "payee":
            owed[row.payee_id] -= row.amount_minor
    assert set(sums.values()) == {0}
    payable: dict[str, int] = defaultdict(int)
    for entry in settlement.entries:
        if entry.kind == "payable":
            payable[entry.payee_id] += entry.amount_minor
    assert {payee: amount for payee, amount in owed.items() if amount} == payable
    assert [(row.account, row.amount_minor) for row in postings if row.kind == "advance_paid"] == [
        ("advance", 500),
        ("cash", -500),
    ]


def test_an_advance_is_booked_by_the_settlement_that_takes_it_up() -> None:
    """Paid in August, first settled in October: booked then, not never, and not again in November."""
    raw = royalties_demo.standard_book(TRACKS)
    of_last = next(row for row in raw["agreements"] if row["agreement_id"] == "A16")
    of_last["advances"] = [{"advance_id": "first", "payee_id": "16", "period": "2026-08", "amount_minor": 500}]
    made = build(raw)
    october = settle(PERIOD, REVENUE, USES, made, RATES)
    november = settle("2026-11", [], [], made, (), october.balances)

    def advance(postings: list[Posting]) -> list[tuple[str, int]]:
        return [(row.kind, row.amount_minor) for row in postings if row.account == "advance"]

    booked = royalties.postings(october, (), made)
    assert sorted(advance(booked)) == [("advance_paid", 500), ("recoupment", -500)]
    assert advance(royalties.postings(november, october.balances, made)) == []


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> MemoryLedger:
    """A ledger of no months; the engines are not asked: a month has no plays and no revenue of its own."""
    made = MemoryLedger(json.dumps(royalties_demo.standard_book(TRACKS)).encode())
    monkeypatch.setattr(royalties, "Ledger", lambda _: made)

    def gather(_: Settings, period: str, book_sha256: str, **given: Any) -> Inputs:
        rates = given.pop("rates") or RATES
        given = {name: tuple(rows) for name, rows in given.items()}
        return replace(inputs(), period=period, revenue=(), book_sha256=book_sha256, rates=rates, **given)

    def calculate(_: Settings, of: Inputs, terms: Book, **__: Any) -> Settlement:
        return settle(of.period, of.revenue, [], terms, of.rates, of.opening, of.adjustments)

    monkeypatch.setattr(royalties, "gather", gather)
    monkeypatch.setattr(royalties, "calculate", calculate)
    monkeypatch.setattr(royalties, "_pin", lambda *_: None)
    return made


def run(settings: Settings, period: str) -> Settlement:
    return royalties.run(settings, period, by="run", book=royalties_demo.standard_book(TRACKS))[0].settlement


def finish(settings: Settings, period: str) -> None:
    royalties.approve(settings, period, by="Ada")
    royalties.close(settings, period, by="Ada")


def october(ledger: MemoryLedger, state: str) -> Settlement:
    """October as the demo's book settles it, with reserves to carry."""
    result = settle(PERIOD, REVENUE, USES, build(royalties_demo.standard_book(TRACKS)), RATES)
    assert any(row.reserves for row in result.balances)
    ledger.put(result, inputs(), state)
    return result


def correction(line: Line, amount_minor: int, into: str = "2026-11", turn: int = 1) -> Correction:
    at = line.key
    where = (at.country, at.tier, at.currency, line.agreement_id, line.payee_id, line.account)
    return Correction(into, at.period, "0" * 64, "1" * 64, line.line_id, *where, amount_minor, "late plays", turn)


def refusal(step: Callable[[], object]) -> RejectedInputError:
    with pytest.raises(RejectedInputError) as refused:
        step()
    return refused.value


def test_a_month_begins_with_the_balances_of_the_month_before(settings: Settings, ledger: MemoryLedger) -> None:
    before = october(ledger, "closed")
    november = run(settings, "2026-11")
    held = {row.payee_id: row.reserves for row in before.balances if row.reserves}
    assert {row.payee_id: row.reserves for row in november.balances if row.reserves} == held
    finish(settings, "2026-11")
    assert ledger.state("2026-11").state == "closed"


@pytest.mark.parametrize("state", ["open", "calculated", "approved"])
def test_no_month_is_left_out(settings: Settings, ledger: MemoryLedger, state: str) -> None:
    """October's balances would vanish: when November is skipped, and when it was rejected (`open`)."""
    october(ledger, "closed")
    skipped = refusal(lambda: run(settings, "2026-12"))
    assert skipped.reason == "wrong_step"
    assert "2026-11 is open" in skipped.message
    run(settings, "2026-11")
    ledger._step("2026-11", state)
    left_out = refusal(lambda: run(settings, "2026-12"))
    assert f"2026-11 is {state}" in left_out.message
    assert "close 2026-11 first" in (left_out.hint or "")
    assert ledger.state("2026-12").digest is None


def test_a_rejected_first_month_is_not_passed_over(settings: Settings, ledger: MemoryLedger) -> None:
    october(ledger, "open")
    assert f"{PERIOD} is open" in refusal(lambda: run(settings, "2026-11")).message


def test_nothing_is_put_in_before_what_is_closed(settings: Settings, ledger: MemoryLedger) -> None:
    october(ledger, "closed")
    assert f"{PERIOD} is closed; 2026-09 is before it" in refusal(lambda: run(settings, "2026-09")).message


def test_a_month_calculated_before_the_one_before_is_calculated_again(settings: Settings, ledger: MemoryLedger) -> None:
    run(settings, "2026-11")  # nothing is known yet: the books would begin here
    october(ledger, "approved")
    assert f"{PERIOD} is approved" in refusal(lambda: finish(settings, "2026-11")).message
    october(ledger, "closed")
    refused = refusal(lambda: finish(settings, "2026-11"))
    assert refused.reason == "stale"
    assert f"does not begin with the balances of {PERIOD}" in refused.message
    ledger._step("2026-11", "approved")
    assert refusal(lambda: royalties.close(settings, "2026-11", by="Ada")).reason == "stale"
    ledger._step("2026-11", "open")
    run(settings, "2026-11")
    finish(settings, "2026-11")


def test_a_month_is_not_closed_without_adjustments_entered_since(settings: Settings, ledger: MemoryLedger) -> None:
    lines = [line for line in october(ledger, "closed").lines if line.account == "payable"]
    run(settings, "2026-11")
    ledger.entered.append(correction(lines[0], 7))
    refused = refusal(lambda: royalties.approve(settings, "2026-11", by="Ada"))
    assert refused.reason == "stale"
    assert "takes in 0 adjustments, but 1 are entered into it; calculate it again" in refused.message
    assert "wavehouse royalties run --period 2026-11" in (refused.hint or "")
    ledger._step("2026-11", "approved")
    assert "reject" in (refusal(lambda: royalties.close(settings, "2026-11", by="Ada")).hint or "")
    ledger._step("2026-11", "open")
    digest = run(settings, "2026-11").digest()
    (taken,) = ledger.kept[digest][1]["adjustments"]  # as the ledger's database reads them: migration 0003
    assert (taken["key"]["period"], taken["corrects"], taken["amount_minor"]) == (PERIOD, lines[0].line_id, 7)
    finish(settings, "2026-11")
    assert sum(row.amount_minor for row in ledger.booked["2026-11"] if row.kind == "adjustment") == 0
    assert {row.refers_to for row in ledger.booked["2026-11"] if row.kind == "adjustment"} == {lines[0].line_id}


def test_an_adjustment_that_comes_to_nothing_is_taken_in_all_the_same(settings: Settings, ledger: MemoryLedger) -> None:
    """There and back again: the amounts are as they were, but a restatement counts both as booked."""
    line = next(line for line in october(ledger, "closed").lines if line.account == "payable")
    without = run(settings, "2026-11")
    ledger.entered += [correction(line, 5), correction(line, -5, turn=2)]
    assert refusal(lambda: royalties.approve(settings, "2026-11", by="Ada")).reason == "stale"
    again = run(settings, "2026-11")
    assert again.entries == without.entries
    assert again.digest() != without.digest(), "else the calculation without them would be kept"
    finish(settings, "2026-11")


def test_a_settlement_without_adjustments_has_the_document_it_always_had() -> None:
    assert b"adjustments_sha256" not in settled().to_json()


def test_a_closed_month_is_not_written_over_because_its_policy_is_known_now(
    settings: Settings, ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = replace(inputs(), revenue=())
    ledger.put(settle(PERIOD, (), [], book(), RATES), kept, "closed")
    monkeypatch.setattr(royalties, "gather", lambda *_, **__: replace(kept, counting_policy="streamed-30s@2"))
    # The name is the same: written as a restatement, the month would be without its current calculation.
    monkeypatch.setattr(royalties, "calculate", lambda *_, **__: pytest.fail("calculated again"))
    made = royalties.correct(settings, PERIOD, reason="nothing")
    assert (made.into, made.adjustments, made.account_adjustments) == ("2026-11", (), ())


@pytest.fixture
def closed_october(ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch) -> Settlement:
    """October, closed; whatever is restated, its lines are as they were."""
    closed = october(ledger, "closed")
    of_october = inputs().calculation.calculation

    def lines(*_: object, key: PoolKey) -> Iterator[Line]:
        return (line for line in closed.lines if line.key == key)

    def earned(_: object, calculation: str) -> Any:
        return earned_by(closed.lines if calculation == of_october else ())

    monkeypatch.setattr(royalties_lake, "lines", lines)
    monkeypatch.setattr(royalties_lake, "earned", earned)

    def calculate(_: Settings, of: Inputs, terms: Book, **__: Any) -> Settlement:
        accounts = (of.rates, of.opening, of.adjustments, of.account_adjustments)
        if of.period == PERIOD:
            return settle(PERIOD, REVENUE, USES, terms, *accounts)
        return settle(of.period, of.revenue, [], terms, *accounts)

    monkeypatch.setattr(royalties, "calculate", calculate)
    return closed


def with_tax(raw: dict[str, Any], withholding: str) -> dict[str, Any]:
    """The book with another tax of agreement A12, by a further version of its clause."""
    changed: dict[str, Any] = json.loads(json.dumps(raw))
    accounting = next(row for row in changed["agreements"] if row["agreement_id"] == "A12")["accounting"]
    accounting.append(accounting[-1] | {"version": len(accounting) + 1, "withholding": withholding})
    return changed


def test_a_corrected_tax_is_booked_in_the_next_month(
    settings: Settings, ledger: MemoryLedger, closed_october: Settlement
) -> None:
    raw = with_tax(royalties_demo.standard_book(TRACKS), "1/4")
    withheld = {e.payee_id: e for e in closed_october.entries if (e.agreement_id, e.kind) == ("A12", "withholding_tax")}
    run(settings, "2026-11")
    made = royalties.correct(settings, PERIOD, reason="tax corrected", book=raw)
    assert (made.into, made.adjustments) == ("2026-11", ())
    assert {(row.payee_id, row.name) for row in made.account_adjustments} == {
        (payee, f"{PERIOD}/withholding_tax") for payee in withheld
    }
    assert all(row.clause == "A12/account@2" and row.amount_minor < 0 for row in made.account_adjustments)
    # Again it is nothing, whatever is entered; without it November is neither approved nor closed.
    assert royalties.correct(settings, PERIOD, reason="tax corrected", book=raw).account_adjustments == ()
    assert len(ledger.restated) == 1
    stale = refusal(lambda: royalties.approve(settings, "2026-11", by="Ada"))
    assert stale.reason == "stale"
    assert f"takes in 0 adjustments, but {len(withheld)} are entered" in stale.message
    november = run(settings, "2026-11")
    taken = ledger.kept[november.digest()][1]["account_adjustments"]  # as the ledger's database reads them
    assert {(row["of_period"], row["kind"], row["amount_minor"]) for row in taken} == {
        (PERIOD, "withholding_tax", row.amount_minor) for row in made.account_adjustments
    }
    finish(settings, "2026-11")
    booked = [row for row in ledger.booked["2026-11"] if row.kind == "account_adjustment"]
    assert {row.account for row in booked} == {"withholding_tax", "payee"}
    assert sum(row.amount_minor for row in booked) == 0
    assert sum(row.amount_minor for row in booked if row.account == "withholding_tax") == sum(
        row.amount_minor for row in made.account_adjustments
    )


def test_what_accounts_were_corrected_by_stands_until_the_next_restatement(
    settings: Settings, ledger: MemoryLedger, closed_october: Settlement
) -> None:
    """Of November a rate is corrected in December: October's tax, corrected in November, is not taken back by it."""
    raw = royalties_demo.standard_book(TRACKS)
    first = royalties.correct(settings, PERIOD, reason="tax corrected", book=with_tax(raw, "1/4"))
    run(settings, "2026-11")
    finish(settings, "2026-11")
    rates = [*RATES, *royalties_demo.rates(["2026-11"], ["EUR", "JPY"])]
    assert royalties.correct(settings, "2026-11", reason="rates corrected", rates=rates).account_adjustments == ()
    assert royalties.correct(settings, PERIOD, reason="late plays").account_adjustments == ()
    back = royalties.correct(settings, PERIOD, reason="tax was right", as_closed=True)
    assert back.into == "2026-12"
    assert [replace(row, period="", clause="", reason="") for row in back.account_adjustments] == [
        replace(row, period="", clause="", reason="", amount_minor=-row.amount_minor)
        for row in first.account_adjustments
    ]
    assert {row.clause for row in back.account_adjustments} == {"A12/account@1"}
    assert [(row.sequence, row.period, row.round) for row in ledger.restated] == [
        (1, PERIOD, 1),
        (2, "2026-11", 1),
        (3, PERIOD, 2),
    ]


def test_a_correction_that_comes_to_nothing_yet_is_remembered(
    settings: Settings, ledger: MemoryLedger, closed_october: Settlement
) -> None:
    """A guarantee of October and November: of October nothing differs, but what it earned counts in November."""
    raw = royalties_demo.standard_book(TRACKS)
    run(settings, "2026-11")
    finish(settings, "2026-11")
    guaranteed: dict[str, Any] = json.loads(json.dumps(raw))
    accounting = next(row for row in guaranteed["agreements"] if row["agreement_id"] == "A12")["accounting"]
    assert accounting[0]["valid_from"] == "2000-01"  # 17 x 19 months before December 2026
    accounting.append(accounting[0] | {"version": 2, "guarantee_minor": 10_000_000, "guarantee_months": 17})
    first = royalties.correct(settings, PERIOD, reason="a guarantee", book=guaranteed)
    assert (first.adjustments, first.account_adjustments) == ((), ())
    earned = sum(e.amount_minor for e in closed_october.entries if (e.agreement_id, e.kind) == ("A12", "royalty"))
    second = royalties.correct(settings, "2026-11", reason="a guarantee", book=guaranteed)
    (true_up,) = (row for row in second.account_adjustments if row.kind == "true_up")
    assert (true_up.name, true_up.amount_minor) == ("2026-11/true_up/2026-11", 10_000_000 - earned)


def test_corrected_rates_are_booked_in_the_next_month(
    settings: Settings, ledger: MemoryLedger, closed_october: Settlement
) -> None:
    other = [replace(row, rate=row.rate * 2) for row in RATES]
    made = royalties.correct(settings, PERIOD, reason="rates corrected", rates=other)
    converted = {row.refers_to for row in made.account_adjustments if row.kind == "royalty"}
    assert converted == {f"{PERIOD}/JPY", f"{PERIOD}/EUR"}
    assert {row.by_digest for row in ledger.entered_of_accounts} == {ledger.restated[0].to_digest}
    run(settings, "2026-11")
    finish(settings, "2026-11")


def test_accounts_are_not_corrected_past_an_approved_month(
    settings: Settings, ledger: MemoryLedger, closed_october: Settlement
) -> None:
    run(settings, "2026-11")
    royalties.approve(settings, "2026-11", by="Ada")
    raw = with_tax(royalties_demo.standard_book(TRACKS), "1/4")
    refused = refusal(lambda: royalties.correct(settings, PERIOD, reason="tax corrected", book=raw))
    assert refused.reason == "wrong_step"
    assert "Close or reject 2026-11" in (refused.hint or "")
    assert not ledger.restated and not ledger.entered_of_accounts


def test_what_no_adjustment_carries_is_refused_before_anything_is_calculated(
    settings: Settings, ledger: MemoryLedger, closed_october: Settlement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(royalties, "calculate", None)
    raw = royalties_demo.standard_book(TRACKS)
    agreement = next(row for row in raw["agreements"] if row["agreement_id"] == "A12")
    agreement["licensor"] = "16"
    refused = refusal(lambda: royalties.correct(settings, PERIOD, reason="another licensor", book=raw))
    assert refused.reason == "beyond_accounts"
    assert "the licensor of agreement A12 was" in refused.message
    del raw["agreements"][raw["agreements"].index(agreement)]
    raw["rights"] = [row for row in raw["rights"] if "A12" not in {h["agreement_id"] for h in row["holders"]}]
    gone = refusal(lambda: royalties.correct(settings, PERIOD, reason="no such agreement", book=raw))
    assert gone.reason == "unknown_agreement"
    assert not ledger.entered and not ledger.restated


def test_inputs_without_account_adjustments_have_the_name_they_always_had() -> None:
    """Else lines and units of a calculation from before there were any would not be found."""
    opening = (Balance("2026-09", "A10", "10", "EUR", deficit_minor=1),)
    kept = _dump(replace(inputs(), opening=opening))
    assert "account_adjustments" not in kept
    assert "overpaid_minor" not in kept["opening"][0]
    overpaid = _dump(replace(inputs(), opening=(replace(opening[0], overpaid_minor=7),)))
    assert overpaid["opening"][0]["overpaid_minor"] == 7
    assert b"overpaid" not in settled().to_json()


def test_a_book_that_was_taken_before_the_rules_became_stricter_is_still_read() -> None:
    """Else what was closed with it could neither be computed again nor restated."""
    raw = royalties_demo.standard_book(TRACKS)
    next(row for row in raw["agreements"] if row["agreement_id"] == "A13")["accounting"][0]["valid_from"] = "2026-01"
    with pytest.raises(RejectedInputError, match="gap_in_time"):
        contracts.load(json.dumps(raw))
    assert contracts.reload(json.dumps(raw)).agreements["A13"].accounting[0].valid_from == "2026-01"
    kept: Any = MemoryLedger(json.dumps(raw).encode())
    assert "A13" in royalties._book(kept, inputs()).agreements


def test_an_unsound_settlement_is_not_booked() -> None:
    settlement = settled()
    first = next(entry for entry in settlement.entries if entry.kind == "payable")
    spoiled = [replace(e, amount_minor=e.amount_minor + 1) if e is first else e for e in settlement.entries]
    with pytest.raises(FatalError, match="don't sum to what is payable"):
        royalties.postings(replace(settlement, entries=tuple(spoiled)), (), book())


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        ([USES[0]], "duplicate_use"),
        ([USES[0]._replace(track_id="99", streams=-1)], "negative_plays"),
        ([USES[0]._replace(track_id="99", weight=Fraction(-1, 2))], "negative_plays"),
        ([USES[0]._replace(key=replace(POOLS[0], country="FR"))], "missing_revenue"),
    ],
)
def test_plays_that_can_not_be_are_refused(spoiled: list[Use], reason: str) -> None:
    with pytest.raises(RejectedInputError) as caught:
        settle(PERIOD, REVENUE, [*USES, *spoiled], book(), RATES)
    assert caught.value.reason == reason
    assert f"{spoiled[0].key}, track {spoiled[0].track_id}" in caught.value.message


def test_a_balance_or_adjustment_of_no_agreement_is_refused() -> None:
    balance = Balance("2026-09", "gone", "16", "EUR", unrecouped_minor=5)
    with pytest.raises(RejectedInputError, match="gone: has a balance, but no contract") as caught:
        settle(PERIOD, REVENUE, USES, book(), RATES, [balance])
    assert caught.value.reason == "unknown_agreement"
    key = replace(POOLS[0], period="2026-09")
    for agreement_id, payee_id, reason in (("gone", "16", "unknown_agreement"), ("A16", "gone", "unknown_payee")):
        adjustment = Adjustment(PERIOD, "line", key, agreement_id, payee_id, "payable", 5, "late plays")
        with pytest.raises(RejectedInputError, match=f"line: no .* gone \\({reason}\\)"):
            settle(PERIOD, REVENUE, USES, book(), RATES, [], [adjustment])


def test_a_missing_rate_is_named() -> None:
    with pytest.raises(RejectedInputError, match="JPY") as caught:
        settled(rates=())
    assert caught.value.reason == "missing_rate"


def test_markets_are_counted_in_portions_that_fit() -> None:
    portions = list(royalties_lake._portions({"DE": 1_000_000, "FR": 1_500_000, "JP": 900_000, "US": 7_000_000}))
    assert portions == [(["JP", "DE"], 1), (["FR"], 1), (["US"], 3)]
    assert list(royalties_lake._portions({})) == []


def test_portions_of_tracks_are_ranges_that_leave_none_out_and_overlap_nowhere() -> None:
    known = {"track_id": [1, 1, 1, 1, 4, 7, 7, 9]}
    assert list(royalties_lake._ranges("track_id", known, 4)) == [
        ("track_id <= ?", [1]),
        ("track_id > ? and track_id <= ?", [1, 4]),
        ("track_id > ? and track_id <= ?", [4, 7]),
        ("track_id > ?", [7]),
    ]
    # One track with most of the streams is in one portion, which there is once.
    assert [values for _, values in royalties_lake._ranges("track_id", {"track_id": [3, 3, 3, 3]}, 4)] == [[3], [3]]
    assert list(royalties_lake._ranges("track_id", known, 1)) == [("true", [])]
    assert list(royalties_lake._ranges("track_id", {}, 4)) == [("true", [])]


def test_a_large_month_is_counted_in_portions_and_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    counted: list[str] = []
    said: list[str] = []
    known = {column: list(range(1, 100)) for column in ("user_id", "artist_id", "track_id")}
    monkeypatch.setattr(royalties_lake, "_forget", lambda *_: None)
    monkeypatch.setattr(royalties_lake, "_quantiles", lambda *_: known)
    monkeypatch.setattr(royalties_lake, "_count", lambda _, __, what, *where: counted.append(what))
    monkeypatch.setattr(royalties_lake.trino, "query", lambda *_: None)
    royalties_lake.put_units(settings, inputs().calculation, {"DE": 1_000_000, "US": 7_000_000}, say=said.append)
    # Listeners before tracks before units: each is counted from the one before.
    assert counted == ["listeners"] + 3 * ["tracks"] + ["units"] + 3 * ["units"]
    assert said == [
        f"{PERIOD}: portion {number} of {len(counted)} is counted ({what})"
        for number, what in enumerate(counted, start=1)
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2026-13-01,EUR,JPY,164,ECB", "bad_day"),
        ("2026-10-30,EUR,JPX,164,ECB", "unknown_currency"),
        ("2026-10-30,EUR,JPY,-164,ECB", "bad_rate"),
        ("2026-10-30,EUR,JPY,0,ECB", "bad_rate"),
        ("2026-10-30,EUR,JPY,164", "bad_row"),
    ],
)
def test_a_bad_rate_is_refused_with_its_row(tmp_path: Path, row: str, reason: str) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(f"day,base,quote,rate,source\n2026-10-30,EUR,USD,1.1234,ECB\n{row}\n")
    with pytest.raises(RejectedInputError, match=r"rates\.csv, row 3") as caught:
        royalties_files.read_rates(path)
    assert caught.value.reason == reason


def test_rates_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("day,base,quote,rate,source\n2026-10-30,EUR,USD,1.1,ECB\n")
    assert royalties_files.read_rates(path)[0].rate == Fraction(11, 10)
