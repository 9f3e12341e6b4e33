"""The file of finance: what is taken, and what is refused with which reason at which place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.adapters import audit, finance_files
from lakehouse.adapters.royalties import revenue_of
from lakehouse.config.settings import load_settings
from lakehouse.contracts import load
from lakehouse.domain.royalties import products
from lakehouse.domain.royalties.dsr.records import VERSIONS, profile
from lakehouse.domain.royalties.iso import COUNTRIES, DECIMALS, minor_from_micros
from lakehouse.domain.royalties.pools import PoolKey, Revenue
from lakehouse.domain.royalties.revenue_file import as_row, parse, render
from lakehouse.errors import FatalError, RejectedInputError

GOOD = """period,country,tier,currency,subscription_minor,advertising_minor,taxes_minor,fees_minor,subscribers
2026-10,DE,free,EUR,0,1200,0,0,0
2026-10,DE,premium,EUR,140000,0,22353,3423,101
2026-10,KW,premium,KWD,7000,0,0,204,3
total,,,3,147000,1200,22353,3627,104
"""
OLD = """period,country,tier,currency,revenue_minor
2026-10,DE,free,EUR,1200
total,,,1,1200
"""


def test_a_good_file_is_taken() -> None:
    taken = parse(GOOD, name="f.csv")
    assert taken == [
        Revenue(PoolKey("2026-10", "DE", "free", "EUR"), 0, 1200),
        Revenue(PoolKey("2026-10", "DE", "premium", "EUR"), 140_000, 0, 22_353, 3_423, 101),
        Revenue(PoolKey("2026-10", "KW", "premium", "KWD"), 7000, 0, 0, 204, 3),
    ]
    assert [line.net_minor for line in taken] == [1200, 114_224, 6796]


def test_byte_order_mark_and_windows_line_ends_do_not_matter() -> None:
    assert parse("\ufeff" + GOOD.replace("\n", "\r\n"), name="f.csv") == parse(GOOD, name="f.csv")


@pytest.mark.parametrize(
    ("old", "new", "reason", "place"),
    [
        ("period,country", "month,country", "bad_header", "row 1, header"),
        ("total,,,3,147000,1200,22353,3627,104\n", "", "missing_trailer", "row 4, trailer"),
        ("total,,,3", "total,,,4", "row_count_mismatch", "row 5, line count: '4'"),
        (",147000,", ",147001,", "control_total_mismatch", "row 5, control total of subscription_minor: '147001'"),
        (
            ",1200,22353,3627",
            ",22353,1200,3627",
            "control_total_mismatch",
            "row 5, control total of advertising_minor: '22353'",
        ),
        (",3627,104", ",3627,105", "control_total_mismatch", "row 5, control total of subscribers: '105'"),
        ("total,,,3,", "total,3,", "bad_row", "row 5, trailer"),
        ("2026-10,DE,premium", "2026-13,DE,premium", "bad_period", "row 3, period: '2026-13'"),
        ("2026-10,DE,premium", "2026-09,DE,premium", "several_periods", "row 3, period: '2026-09'"),
        ("2026-10,KW", "2026-10,UK", "unknown_country", "row 4, country: 'UK'"),
        ("DE,free", "DE,family", "unknown_tier", "row 2, tier: 'family'"),
        ("KWD", "XXX", "unknown_currency", "row 4, currency: 'XXX'"),
        ("0,1200,0", "0,12.00,0", "bad_amount", "row 2, advertising_minor: '12.00'"),
        ("140000,0", "-140000,0", "negative_amount", "row 3, subscription_minor: '-140000'"),
        ("0,1200,0", "0,-1200,0", "negative_amount", "row 2, advertising_minor: '-1200'"),
        ("22353", "-22353", "negative_amount", "row 3, taxes_minor: '-22353'"),
        ("3423", "-3423", "negative_amount", "row 3, fees_minor: '-3423'"),
        (",101", ",-101", "negative_amount", "row 3, subscribers: '-101'"),
        (",101", ",100.5", "bad_amount", "row 3, subscribers: '100.5'"),
        ("0,1200,0", "0,,0", "bad_amount", "row 2, advertising_minor: ''"),
        ("1200,0,0", "1200,1200,1", "negative_net", "row 2, net: '-1'"),
        ("DE,premium", "DE,free", "duplicate_line", "row 3, country: 'DE'"),
        ("DE,free,EUR,0,1200", "DE,free,EUR,1200", "bad_row", "row 2, row"),
    ],
)
def test_a_bad_file_is_refused_as_a_whole(old: str, new: str, reason: str, place: str) -> None:
    assert old in GOOD
    with pytest.raises(RejectedInputError) as caught:
        parse(GOOD.replace(old, new, 1), name="revenue-2026-10.csv")
    assert caught.value.reason == reason
    assert f"revenue-2026-10.csv, {place}" in caught.value.message
    assert caught.value.hint


def test_a_file_of_net_figures_is_refused_with_what_to_deliver() -> None:
    with pytest.raises(RejectedInputError, match=r"f\.csv, row 1, header.*subscription_minor,.*subscribers") as caught:
        parse(OLD, name="f.csv")
    assert caught.value.reason == "old_form"


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(RejectedInputError, match=r"f\.csv, row 1, header"):
        parse("", name="f.csv")


def test_a_plan_is_taken_once_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    family = GOOD.replace("KW,premium", "DE,family").replace("KWD", "EUR")
    with pytest.raises(RejectedInputError, match="must be one of free, premium"):
        parse(family, name="f.csv")
    known = products.commercial_models()
    monkeypatch.setattr(products, "commercial_models", lambda: {**known, "family": "SubscriptionModel"})
    assert [line.key.tier for line in parse(family, name="f.csv")] == ["free", "premium", "family"]


def test_the_audit_of_plays_knows_the_products_and_a_sales_report_has_a_name_for_each() -> None:
    sets = [e.kwargs["value_set"] for e in audit.suite(load("silver_audit.plays")) if e.kwargs.get("column") == "tier"]
    assert sets == [list(products.tiers())]
    for version in VERSIONS:
        assert set(products.commercial_models().values()) <= profile(version).values["CommercialModelType"]


amounts = st.integers(0, 10**15)
lines = st.builds(
    Revenue,
    st.builds(
        PoolKey,
        st.just("2026-02"),
        st.sampled_from(sorted(COUNTRIES)),
        st.sampled_from(products.tiers()),
        st.sampled_from(sorted(DECIMALS)),
    ),
    amounts,
    amounts,
    amounts,
    amounts,
    st.integers(0, 10**9),
).filter(lambda line: line.net_minor >= 0)


def place(line: Revenue) -> tuple[str, str]:
    return line.key.country, line.key.tier


@given(st.lists(lines, max_size=40, unique_by=place))
def test_what_is_rendered_reads_back(delivered: list[Revenue]) -> None:
    assert parse(render(delivered), name="f.csv") == sorted(delivered)


@given(st.lists(lines, min_size=1, max_size=5, unique_by=place), st.data())
def test_a_file_cut_off_anywhere_is_refused(delivered: list[Revenue], data: st.DataObject) -> None:
    whole = render(delivered)
    # Without the last line end it is still whole.
    cut = whole[: data.draw(st.integers(0, len(whole) - 2))]
    with pytest.raises(RejectedInputError):
        parse(cut, name="f.csv")


@given(st.lists(lines, min_size=1, max_size=5, unique_by=place), st.data())
def test_one_changed_amount_is_found(delivered: list[Revenue], data: st.DataObject) -> None:
    rows = render(delivered).splitlines()
    number = data.draw(st.integers(1, len(rows) - 1))
    cells = rows[number].split(",")
    column = data.draw(st.integers(4, len(cells) - 1))
    cells[column] = str(int(cells[column]) + data.draw(st.integers(1, 10**6)))
    rows[number] = ",".join(cells)
    with pytest.raises(RejectedInputError) as caught:
        parse("\n".join(rows), name="f.csv")
    assert caught.value.reason in {"control_total_mismatch", "negative_net"}


@given(lines)
def test_what_is_loaded_is_settled(line: Revenue) -> None:
    """Finance's line, as a row of the lake, is the revenue of the settlement again."""
    row = as_row(line) | {"revenue_minor": line.net_minor, "source_file": "f.csv"}
    assert revenue_of(row) == line
    net_only = {name: row[name] for name in ("period", "country", "tier", "currency", "revenue_minor")}
    assert revenue_of(net_only).net_minor == line.net_minor


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
    path.write_text(GOOD.replace("147000", "1"))
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
