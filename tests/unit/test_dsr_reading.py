"""Sales reports of others: a good file has no violation, and each broken one has its own, with line and cell."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lakehouse.adapters import sales_reports
from lakehouse.cli.royalties_dsr import app
from lakehouse.domain.royalties.dsr.reading import MAX_LINE, Reading, Violation
from lakehouse.errors import RejectedInputError

CASES = Path(__file__).parents[1] / "cases" / "dsr"
GOOD = (CASES / "good.tsv.txt").read_text().replace("→", "\t")
BROKEN = yaml.safe_load((CASES / "broken.yaml").read_text())
NAME = "DSR_PADPIDA2013020802I_PADPIDA2014111801Y_Premium_2026-10_DE_1of1_20261102T030000.tsv"


def check(*files: str | bytes, name: str = "") -> list[Violation]:
    """All violations of a report in these files."""
    reading = Reading()
    found = []
    for number, text in enumerate(files):
        raw = text.encode() if isinstance(text, str) else text
        found += reading.read(name or f"{number}.tsv", raw.splitlines(keepends=True), check_name=bool(name))
    return [*found, *reading.finish()]


def broken(case: dict[str, object]) -> str:
    """The good file with what the case makes wrong."""
    lines = GOOD.splitlines(keepends=True)
    match case:
        case {"replace": [old, new]}:
            old, new = (str(text).replace("→", "\t") for text in (old, new))
            assert old in GOOD
            return GOOD.replace(old, new, 1)
        case {"drop": int(number)}:
            del lines[number - 1]
        case {"add": [int(number), str(line)]}:
            lines.insert(number - 1, line.replace("→", "\t") + "\n")
    return "".join(lines)


def test_a_good_file_has_no_violation() -> None:
    reading = Reading()
    assert list(reading.read(NAME, GOOD.encode().splitlines(keepends=True))) == []
    assert list(reading.finish()) == []
    assert (reading.lines, reading.summaries, reading.blocks, reading.uses) == (16, 2, 2, 133)


def test_lines_may_end_like_in_windows_and_the_last_in_nothing() -> None:
    assert check(GOOD.replace("\n", "\r\n")) == []
    assert check(GOOD.removesuffix("\n")) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_has_its_violation(name: str) -> None:
    case = BROKEN[name]
    found = check(broken(case))
    line, cell, rule = case["at"]
    assert (line, cell, rule) in [(v.line, v.cell, v.rule) for v in found]
    # `also` is what necessarily follows; mostly nothing does.
    assert sorted(v.rule for v in found) == sorted([rule, *case.get("also", [])])


def test_what_is_no_utf8_is_named() -> None:
    found = check(GOOD.encode().replace("Ä".encode(), b"\xc4"))
    assert [(v.line, v.rule) for v in found] == [(14, "bad_encoding")]


def test_a_file_of_one_endless_line_is_not_taken_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "endless.tsv"
    path.write_bytes(b"x" * (3 * MAX_LINE))
    lines = list(sales_reports.lines(path))
    assert [len(line) for line in lines] == [MAX_LINE + 1]
    assert next(v.rule for v in Reading().read("endless.tsv", lines, check_name=False)) == "line_too_long"


def test_nothing_is_no_report() -> None:
    assert [v.rule for v in check("")] == ["empty_file"]


def test_no_sales_at_all_may_be_reported() -> None:
    text = "".join(GOOD.splitlines(keepends=True)[:4]).replace("\t3\t", "\t0\t").replace("\t130\t", "\t0\t")
    assert check(text + "FOOT\t5\t5\t2\t0\t0\n") == []


@pytest.fixture
def halves() -> list[str]:
    """The good report in two files, the second with the second block."""
    lines = GOOD.splitlines(keepends=True)
    first = "".join(lines[:13]).replace("00Z\t1\t1\t", "00Z\t1\t2\t") + "FOOT\t14\t\t2\t1\t\n"
    second = lines[0].replace("00Z\t1\t1\t", "00Z\t2\t2\t") + "".join(lines[13:15]) + "FOOT\t4\t18\t2\t1\t2\n"
    return [first, second]


def test_a_report_may_be_in_several_files(halves: list[str]) -> None:
    assert check(*halves) == []


def test_a_file_of_the_report_is_missing(halves: list[str]) -> None:
    assert [v.rule for v in check(halves[0])] == ["missing_file"]


def test_another_header_in_the_second_file(halves: list[str]) -> None:
    found = check(halves[0], halves[1].replace("M-1", "M-2"))
    assert [(v.line, v.cell, v.rule) for v in found] == [(1, "MessageId", "header_differs")]


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (".tsv", ".csv", "bad_file_name"),
        ("DSR_", "dsr_", "bad_file_name"),
        ("2026-10", "2026-13", "bad_file_name"),
        ("1of1", "2of1", "bad_file_name"),
        ("T030000", "", "bad_file_name"),
        ("_DE_", "_D_E_", "bad_file_name"),
        ("PADPIDA2014111801Y", "PADPIDA2007061301U", "file_name_differs"),
        ("Premium", "Free", "file_name_differs"),
        ("1of1", "1of2", "file_name_differs"),
    ],
)
def test_the_name_of_a_file_is_checked(old: str, new: str, rule: str) -> None:
    assert [v.rule for v in check(GOOD, name=NAME.replace(old, new))] == [rule]


def test_the_command_reads_compressed_files_and_fails_on_violations(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.gz"
    path.write_bytes(gzip.compress(GOOD.encode()))
    good = CliRunner().invoke(app, ["read-dsr", str(path), "--json"])
    assert good.exit_code == 0
    assert json.loads(good.stdout)["violations"] == 0
    path.write_bytes(gzip.compress(GOOD.replace("Premium\t130", "Premium\t131").encode()))
    bad = CliRunner().invoke(app, ["read-dsr", str(path), "--json"])
    assert bad.exit_code == RejectedInputError.exit_code
    assert [v["rule"] for v in json.loads(bad.stdout)["shown"]] == ["summary_differs_from_detail"]
    path.write_bytes(gzip.compress(GOOD.encode())[:-20])
    cut = CliRunner().invoke(app, ["read-dsr", str(path), "--json"])
    assert cut.exit_code == RejectedInputError.exit_code
    assert "dsr_compression" in [v["rule"] for v in json.loads(cut.stdout)["shown"]]
