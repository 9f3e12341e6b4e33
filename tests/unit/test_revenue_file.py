"""The file of finance: what is taken, and what is refused with which reason at which place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.adapters import finance_files
from lakehouse.config.settings import load_settings
from lakehouse.domain.royalties.iso import COUNTRIES, DECIMALS, minor_from_micros
from lakehouse.domain.royalties.revenue_file import TIERS, RevenueLine, parse, render
from lakehouse.errors import FatalError, RejectedInputError

GOOD = """period,country,tier,currency,revenue_minor
2026-10,DE,free,EUR,1200
2026-10,DE,premium,EUR,112233
2026-10,KW,premium,KWD,0
total,,,3,113433
"""


def test_a_good_file_is_taken() -> None:
    assert parse(GOOD, name="f.csv") == [
        RevenueLine("2026-10", "DE", "free", "EUR", 1200),
        RevenueLine("2026-10", "DE", "premium", "EUR", 112_233),
        RevenueLine("2026-10", "KW", "premium", "KWD", 0),
    ]


def test_byte_order_mark_and_windows_line_ends_do_not_matter() -> None:
    assert parse("\ufeff" + GOOD.replace("\n", "\r\n"), name="f.csv") == parse(GOOD, name="f.csv")


@pytest.mark.parametrize(
    ("old", "new", "reason", "place"),
    [
        ("period,country", "month,country", "bad_header", "row 1, header"),
        ("total,,,3,113433\n", "", "missing_trailer", "row 4, trailer"),
        ("total,,,3,113433", "total,,,4,113433", "row_count_mismatch", "row 5, line count: '4'"),
        ("total,,,3,113433", "total,,,3,113434", "control_total_mismatch", "row 5, control total: '113434'"),
        ("total,,,3,113433", "total,3,113433", "bad_row", "row 5, trailer"),
        ("2026-10,DE,premium", "2026-13,DE,premium", "bad_period", "row 3, period: '2026-13'"),
        ("2026-10,DE,premium", "2026-09,DE,premium", "several_periods", "row 3, period: '2026-09'"),
        ("2026-10,KW", "2026-10,UK", "unknown_country", "row 4, country: 'UK'"),
        ("DE,free", "DE,family", "unknown_tier", "row 2, tier: 'family'"),
        ("KWD", "XXX", "unknown_currency", "row 4, currency: 'XXX'"),
        ("1200", "12.00", "bad_amount", "row 2, revenue_minor: '12.00'"),
        ("1200", "-1200", "negative_amount", "row 2, revenue_minor: '-1200'"),
        ("1200", "", "bad_amount", "row 2, revenue_minor: ''"),
        ("DE,premium", "DE,free", "duplicate_line", "row 3, country: 'DE'"),
        ("DE,free,EUR,1200", "DE,free,EUR", "bad_row", "row 2, row"),
    ],
)
def test_a_bad_file_is_refused_as_a_whole(old: str, new: str, reason: str, place: str) -> None:
    assert old in GOOD
    with pytest.raises(RejectedInputError) as caught:
        parse(GOOD.replace(old, new, 1), name="revenue-2026-10.csv")
    assert caught.value.reason == reason
    assert f"revenue-2026-10.csv, {place}" in caught.value.message
    assert caught.value.hint


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(RejectedInputError, match=r"f\.csv, row 1, header"):
        parse("", name="f.csv")


lines = st.builds(
    RevenueLine,
    period=st.just("2026-02"),
    country=st.sampled_from(sorted(COUNTRIES)),
    tier=st.sampled_from(TIERS),
    currency=st.sampled_from(sorted(DECIMALS)),
    revenue_minor=st.integers(0, 10**15),
)


@given(st.lists(lines, max_size=40, unique_by=lambda line: (line.country, line.tier)))
def test_what_is_rendered_reads_back(delivered: list[RevenueLine]) -> None:
    assert parse(render(delivered), name="f.csv") == sorted(delivered)


@given(st.lists(lines, min_size=1, max_size=5, unique_by=lambda line: (line.country, line.tier)), st.data())
def test_a_file_cut_off_anywhere_is_refused(delivered: list[RevenueLine], data: st.DataObject) -> None:
    whole = render(delivered)
    # Without the last line end it is still whole.
    cut = whole[: data.draw(st.integers(0, len(whole) - 2))]
    with pytest.raises(RejectedInputError):
        parse(cut, name="f.csv")


def test_iso_lists_are_complete() -> None:
    assert len(COUNTRIES) == 249
    assert {"JPY": 0, "USD": 2, "KWD": 3}.items() <= DECIMALS.items()
    assert all(len(code) == 3 for code in DECIMALS)


@pytest.mark.parametrize(
    ("micros", "currency", "minor"), [(1_999_999, "JPY", 1), (1_999_999, "USD", 199), (1_999_999, "KWD", 1999)]
)
def test_micros_become_whole_minor_units(micros: int, currency: str, minor: int) -> None:
    assert minor_from_micros(micros, currency) == minor


def test_a_refused_delivery_keeps_its_reason_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "revenue-2026-10.csv"
    path.write_text(GOOD.replace("113433", "1"))
    with pytest.raises(RejectedInputError):
        finance_files.take(load_settings(), path)
    assert '"reason": "control_total_mismatch"' in path.with_name(path.name + ".rejected").read_text()
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RejectedInputError, match="not UTF-8"):
        finance_files.take(load_settings(), path)


def test_of_two_files_of_a_month_only_the_one_with_its_name_counts(tmp_path: Path) -> None:
    path = tmp_path / "revenue-2026-10-corrected.csv"
    path.write_text(GOOD)
    with pytest.raises(RejectedInputError, match=r"is called revenue-\d{4}-\d\d\.csv"):
        finance_files.take(load_settings(), path)
    assert '"reason": "wrong_name"' in path.with_name(path.name + ".rejected").read_text()


def test_a_missing_delivery_is_named(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="There is no file"):
        finance_files.take(load_settings(), tmp_path / "none.csv")
