"""A payee's statement: what it says, that it says it again, and that names can't break it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from fractions import Fraction

import pytest

from lakehouse.domain.royalties.pools import PoolKey
from lakehouse.domain.royalties.settlement import (
    AccountAdjustment,
    Adjustment,
    Balance,
    Entry,
    Line,
    PoolResult,
    Reserve,
    Settlement,
)
from lakehouse.domain.royalties.statement import Statement, compile_statement, money, to_csv, to_html
from lakehouse.errors import RejectedInputError

KEY = PoolKey("2026-10", "DE", "premium", "EUR")
HOSTILE = '<script>alert("x")</script>'


def _line(track_id: str, payee_id: str, amount_minor: int) -> Line:
    exact = Fraction(amount_minor)
    chain = (payee_id,)
    return Line(
        KEY, "A1", "master", track_id, chain, "payable", "A1/c1@2", "pro_rata", "share", 120, exact, exact, amount_minor
    )


def _entry(kind: str, amount_minor: int, payee_id: str = "P1") -> Entry:
    return Entry("2026-10", "A1", payee_id, kind, "", "A1/c1@2", "EUR", amount_minor)


SETTLEMENT = Settlement(
    "2026-10",
    (PoolResult(KEY, 120_686, 84_480, 36_206, 13_858, 0),),
    (
        _entry("payable", 3_617),
        _entry("recoupment", -3_000),
        _entry("reserve_held", -617),
        _entry("royalty", 7_234),
        _entry("royalty", 77_246, "P2"),
    ),
    (Balance("2026-10", "A1", "P1", "EUR", 2_000, reserves=(Reserve("2026-10", "2027-01", 617),)),),
    3,
    "0" * 64,
    (_line("t1", "P1", 6_000), _line("t2", "P1", 1_234), _line("t1", "P2", 77_246)),
)


def _statement(name: str = "Ada & Söhne", title: str = "Ätherwellen") -> Statement:
    return compile_statement(
        SETTLEMENT,
        "P1",
        name,
        titles={"t1": title},
        opening=[Balance("2026-09", "A1", "P1", "EUR", 5_000)],
        adjustments=[Adjustment("2026-10", "line-of-august", KEY, "A1", "P1", "payable", -12, "late plays")],
    )


def test_it_has_all_of_the_payee_and_nothing_of_others() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(_statement()))))
    assert [(r["track"], r["streams"], r["amount"]) for r in rows if r["part"] == "earning"] == [
        ("Ätherwellen", "120", "60.00"),
        ("t2", "120", "12.34"),
    ]
    # In the order in which an account is worked out, not of the alphabet.
    assert [(r["what"], r["amount"]) for r in rows if r["part"] == "booking"] == [
        ("Royalties", "72.34"),
        ("Reserve held back", "-6.17"),
        ("Advance recouped", "-30.00"),
        ("Payable", "36.17"),
    ]
    assert [(r["refers_to"], r["amount"]) for r in rows if r["part"] == "correction"] == [("line-of-august", "-0.12")]
    page = to_html(_statement())
    for text in ("Ada &amp; Söhne", "A1/c1@2", "72.34", "36.17", "2027-01", "line-of-august", SETTLEMENT.digest()):
        assert text in page
    assert "772.46" not in page


def test_the_same_settlement_gives_the_same_bytes() -> None:
    assert to_html(_statement()) == to_html(_statement())
    assert to_csv(_statement()) == to_csv(_statement())


def test_names_are_text_in_every_form() -> None:
    page = to_html(_statement(name=HOSTILE, title=HOSTILE))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 3  # the page's title, its heading, the track
    rows = list(csv.DictReader(io.StringIO(to_csv(_statement(title='=HYPERLINK("http://x")')))))
    assert '\'=HYPERLINK("http://x")' in [row["track"] for row in rows]


def test_amounts_have_the_decimals_of_their_currency() -> None:
    assert [money(-1234, code) for code in ("JPY", "EUR", "KWD")] == ["-1234", "-12.34", "-1.234"]


def test_a_stranger_has_no_statement() -> None:
    with pytest.raises(RejectedInputError) as refusal:
        compile_statement(SETTLEMENT, "P9", "Nobody", titles={})
    assert refusal.value.reason == "statement_unknown_payee"


def test_corrections_of_accounts_are_told_with_their_clause() -> None:
    tax, reserve = (
        AccountAdjustment("2026-10", "2026-09", "A1", "P1", kind, refers_to, clause, "EUR", amount, "tax corrected")
        for kind, refers_to, clause, amount in (
            ("withholding_tax", "", "A1/k1@2", -35),
            ("reserve", "2026-09/2026-12", "", 70),
        )
    )
    entries = [
        replace(_entry(row.entry_kind, row.amount_minor), refers_to=row.name, clause=row.clause)
        for row in (tax, reserve)
    ]
    closing = replace(SETTLEMENT.balances[0], overpaid_minor=35)
    made = compile_statement(
        replace(SETTLEMENT, entries=(*SETTLEMENT.entries, *entries), balances=(closing,)),
        "P1",
        "Ada",
        titles={},
        account_adjustments=[tax, reserve, replace(tax, payee_id="P2", amount_minor=-99)],
    )
    rows = list(csv.DictReader(io.StringIO(to_csv(made))))
    assert [(r["clause"], r["what"], r["amount"], r["refers_to"]) for r in rows if r["part"] == "correction"] == [
        ("", "tax corrected", "0.70", "2026-09/reserve/2026-09/2026-12"),
        ("A1/k1@2", "tax corrected", "-0.35", "2026-09/withholding_tax"),
    ]
    booked = [(r["what"], r["amount"]) for r in rows if r["part"] == "booking"]
    assert booked[-3:] == [
        ("Correction of a closed account", "-0.35"),
        ("Payable", "36.17"),
        ("Opening balance corrected (outside the sum)", "0.70"),
    ]
    assert ("overpaid", "0.35") in {(r["what"], r["amount"]) for r in rows if r["part"] == "closing balance"}
    page = to_html(made)
    for text in (
        "2026-09: Withholding tax (by clause A1/k1@2)",
        "2026-09: Reserve held, 2026-09/2026-12",
        "paid too much, to be set off next: 0.35 EUR",
    ):
        assert text in page
    assert "0.99" not in page
