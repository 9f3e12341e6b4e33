"""What a person reads before they sign a month: the sums, the month before, and what asks for a second look."""

from __future__ import annotations

from dataclasses import replace

from lakehouse.domain.royalties.pools import PoolKey
from lakehouse.domain.royalties.settlement import Entry, PoolResult
from lakehouse.domain.royalties.summary import summary

POOLS = [
    PoolResult(PoolKey("2026-10", "DE", "premium", "EUR"), 1_000_000, 700_000, 300_000, 5_000, 0),
    PoolResult(PoolKey("2026-10", "FR", "free", "EUR"), 1_000, 1_050, -50, 4_000, 12),
    PoolResult(PoolKey("2026-10", "JP", "free", "JPY"), 70_001, 0, 70_001, 0, 0),
    PoolResult(PoolKey("2026-10", "KW", "premium", "KWD"), 1_234_567, 800_000, 434_567, 10, 0),
]
BEFORE = [
    replace(POOLS[0], key=PoolKey("2026-09", "DE", "premium", "EUR"), claimed_minor=500_000),
    replace(POOLS[0], key=PoolKey("2026-09", "SE", "premium", "SEK"), claimed_minor=9_900),
    replace(POOLS[2], key=PoolKey("2026-09", "JP", "free", "JPY")),
]


def entry(kind: str, amount: int, payee: str = "P1", currency: str = "EUR") -> Entry:
    return Entry("2026-10", "A1", payee, kind, "", "A1/c@1", currency, amount)


def cells(text: str) -> dict[str, list[str]]:
    """Rows of the tables by their first cell, without the titles."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def test_sums_by_currency_stand_beside_the_month_before() -> None:
    market = cells(summary(POOLS, [], BEFORE).to_markdown())
    # 1,001,000 net, 701,050 claimed: 70.03 %; 701,050 / 500,000 = +40.21 %
    assert market["EUR"] == ["10,010.00", "7,010.50", "70.0 %", "2,999.50", "9,000", "5,000.00", "+40.2 %"]
    assert market["JPY"] == ["70,001", "0", "0.0 %", "70,001", "0", "0", ""]
    assert market["KWD"] == ["1,234.567", "800.000", "64.8 %", "434.567", "10", "", ""]
    assert market["SEK"] == ["0.00", "0.00", "", "0.00", "0", "99.00", "-100.0 %"]


def test_accounts_are_summed_by_the_currency_they_are_paid_in() -> None:
    entries = [
        entry("royalty", 700_000),
        entry("royalty", 1_050, "P2"),
        entry("reserve_held", -70_000),
        entry("reserve_released", 5_000),
        entry("recoupment", -100_000),
        entry("withholding_tax", -1_500),
        entry("payable", 534_550),
        entry("suspense", 44, ""),
        entry("royalty", 77, "P3", "JPY"),
        entry("payable", 77, "P3", "JPY"),
    ]
    text = summary([], entries).to_markdown()
    titles, *_ = [line for line in text.splitlines() if line.startswith("| paid in")]
    by_title = dict(zip(cells(titles)["paid in"], cells(text)["EUR"], strict=True))
    assert by_title == {
        "accounts": "3",
        "royalties": "7,010.50",
        "brought forward": "0.00",
        "corrections": "0.00",
        "true-up": "0.00",
        "reserves": "-650.00",
        "recouped": "-1,000.00",
        "tax withheld": "-15.00",
        "carried forward": "0.00",
        "payable": "5,345.50",
        "in suspense": "0.44",
    }
    assert cells(text)["JPY"][-2:] == ["77", "0"]


def test_what_asks_for_a_second_look_is_listed() -> None:
    notes = [line for line in summary(POOLS, [], BEFORE).to_markdown().splitlines() if line.startswith("- ")]
    assert notes == [
        "- Claims exceed the revenue of FR free by 0.50 EUR.",
        "- Revenue without a single stream: JP free.",
        "- 12 streams are of tracks without a right in force; nobody is paid for them.",
        "- Not there a month before: KWD.",
    ]
    assert summary(POOLS[:1], [entry("royalty", 1)], BEFORE[:1]).notes == ()
