"""Bad files of contracts, rates and revenue at the command line: a line with place and rule, exit code 65."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakehouse.adapters import royalties_demo
from lakehouse.cli import main

REJECTED = 65
BOOK = royalties_demo.standard_book([(100 + n, 10 + n, f"Artist {n}") for n in range(10)])
RATES = "day,base,quote,rate,source\n2026-10-30,EUR,USD,1.1234,ECB\n"
REVENUE = """period,country,tier,currency,subscription_minor,advertising_minor,taxes_minor,fees_minor,subscribers
2026-10,DE,premium,EUR,140000,0,22353,3423,101
total,,,1,140000,0,22353,3423,101
"""


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the command in an installation of its own, without any engine; gives exit code and what is shown."""
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")

    def run(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["wavehouse", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out + captured.err

    return run


def agreement(book: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in book["agreements"] if row["agreement_id"] == name)


def ambiguous(book: dict[str, Any]) -> None:
    """Beside "free everywhere" a clause of all tiers in Germany: which one is it for free in Germany?"""
    terms = agreement(book, "A16")["terms"]
    terms.append(terms[0] | {"clause_id": "germany", "territory": ["DE"]})


def overlapping(book: dict[str, Any]) -> None:
    terms = agreement(book, "A10")["terms"]
    terms.append(terms[0] | {"clause_id": "second"})


def gap(book: dict[str, Any]) -> None:
    terms = agreement(book, "A10")["terms"]
    terms[0]["valid_to"] = "2026-06"
    terms.append(terms[0] | {"clause_id": "second", "valid_from": "2026-08", "valid_to": None})


def negative(book: dict[str, Any]) -> None:
    agreement(book, "A19")["advances"][0]["amount_minor"] = -1


def unknown_payee(book: dict[str, Any]) -> None:
    book["rights"][0]["holders"][0]["payee_id"] = "nobody"


def not_one(book: dict[str, Any]) -> None:
    next(row for row in book["rights"] if len(row["holders"]) > 1)["holders"].pop()


def two_kinds(book: dict[str, Any]) -> None:
    agreement(book, "A18")["terms"][0]["share"] = "0.5"


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (ambiguous, ["agreement A16, clauses germany and free", "DE, tier free", "ambiguous_terms"]),
        (overlapping, ["agreement A10", "clauses second and world", "overlapping_terms"]),
        (gap, ["agreement A10", "clauses world and second", "none is in force in 2026-07", "gap_in_time"]),
        (negative, ["agreement A19, advance signing", "amount_minor is -1", "negative_amount"]),
        (unknown_payee, ["track 100, master", "no payee 'nobody'", "unknown_payee"]),
        (not_one, ["track 100, performance", "the shares sum to 1/2", "shares_not_one"]),
        (two_kinds, ["clause world", "schema"]),
    ],
)
def test_a_bad_contract(
    command: Callable[..., tuple[int, str]], tmp_path: Path, spoil: Callable[[Any], None], names: list[str]
) -> None:
    path = tmp_path / "book.yaml"
    path.write_text(yaml.safe_dump(BOOK))
    assert command("royalties", "validate", "--contracts", path)[0] == 0
    spoiled = copy.deepcopy(BOOK)
    spoil(spoiled)
    path.write_text(yaml.safe_dump(spoiled))
    code, shown = command("royalties", "validate", "--contracts", path)
    assert code == REJECTED
    assert_one_line(shown, names)


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("2026-10-31,EUR,USD,-1.1,ECB", ["rates.csv, row 3, rate: '-1.1'", "above zero"]),
        ("2026-10-31,EUR,DOLLAR,1.1,ECB", ["rates.csv, row 3, quote: 'DOLLAR'", "ISO 4217"]),
        ("31.10.2026,EUR,USD,1.1,ECB", ["rates.csv, row 3, day: '31.10.2026'"]),
    ],
)
def test_a_bad_rate(command: Callable[..., tuple[int, str]], tmp_path: Path, row: str, names: list[str]) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(RATES)
    assert command("royalties", "validate", "--rates", path)[0] == 0
    path.write_text(f"{RATES}{row}\n")
    code, shown = command("royalties", "validate", "--rates", path)
    assert code == REJECTED
    assert_one_line(shown, names)


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("22353,3423,101\ntotal", "22353,3424,101\ntotal", ["row 3, control total of fees_minor: '3423'", "give 3424"]),
        ("total,,,1", "total,,,2", ["row 3, line count: '2'", "give 1"]),
        ("DE,premium,EUR,140000", "DE,premium,EUR,-140000", ["row 2, subscription_minor: '-140000'", "below zero"]),
        ("EUR,140000,0,22353", "EUR,140000,0,222353", ["row 2, net: '-85776'", "taxes and fees exceed"]),
        ("premium,EUR", "premium,EURO", ["row 2, currency: 'EURO'", "ISO 4217"]),
        ("2026-10,DE", "2026-10,XX", ["row 2, country: 'XX'", "ISO 3166-1"]),
        ("DE,premium", "DE,family", ["row 2, tier: 'family'", "free, premium"]),
    ],
)
def test_a_bad_month_of_revenue(
    command: Callable[..., tuple[int, str]], tmp_path: Path, old: str, new: str, names: list[str]
) -> None:
    path = tmp_path / "revenue-2026-10.csv"
    assert old in REVENUE
    path.write_text(REVENUE.replace(old, new, 1))
    code, shown = command("revenue", "load", path)
    assert code == REJECTED
    assert_one_line(shown, ["revenue-2026-10.csv", *names])
    # Why is kept beside the file for whoever mends it.
    verdict = json.loads(path.with_name(path.name + ".rejected").read_text())
    assert verdict["message"] in shown


def test_a_file_of_the_old_form(command: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    path = tmp_path / "revenue-2026-10.csv"
    path.write_text("period,country,tier,currency,revenue_minor\n2026-10,DE,free,EUR,5\ntotal,,,1,5\n")
    code, shown = command("revenue", "load", path)
    assert code == REJECTED
    assert_one_line(shown, ["row 1, header", "one net figure a line is no longer taken", "subscription_minor"])


def assert_one_line(shown: str, names: list[str]) -> None:
    assert "Traceback" not in shown
    assert any(all(name in line for name in names) for line in shown.splitlines()), shown
