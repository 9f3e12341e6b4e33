"""Sales reports of others: a good file has no violation, and each broken one has its own, with line and cell."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lakehouse.adapters import sales_reports
from lakehouse.cli.royalties_dsr import app
from lakehouse.domain.royalties.dsr.reading import MAX_LINE, Reading, Violation, new_in_memory
from lakehouse.errors import RejectedInputError
from tests.memory import measured

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


def test_a_report_without_sales_needs_a_summary_in_the_current_version() -> None:
    """Before it, a header and a footer were enough (part 1, clause 6.2)."""
    header = NEWER.splitlines(keepends=True)[0]
    assert [v.rule for v in check(f"{header}FOOT\t2\t2\t0\t0\t0\n")] == ["missing_summary"]
    older = header.replace("Profile\t1.4", "Profile\t1.2")
    assert older != header
    assert check(f"{older}FOOT\t2\t2\t0\t0\t0\n") == []


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


def test_neither_a_block_nor_a_transaction_comes_back_in_another_file(halves: list[str]) -> None:
    found = check(halves[0], halves[1].replace("AS02.02\t2\t", "AS02.02\t1\t").replace("SU02\t2\t", "SU02\t1\t"))
    assert [(v.file, v.line, v.cell, v.rule) for v in found] == [("1.tsv", 2, "2 BlockId", "block_returns")]
    found = check(halves[0], halves[1].replace("\tT4\t", "\tT1\t"))
    assert [(v.file, v.line, v.cell, v.rule) for v in found] == [
        ("1.tsv", 3, "4 SalesTransactionId", "duplicate_transaction")
    ]


def test_what_was_seen_is_remembered_on_disk_as_in_memory() -> None:
    keys = [bytes([n % 7] * 16) for n in range(20)]
    with sales_reports.new_on_disk() as is_new:
        assert [is_new(key) for key in keys] == [n < 7 for n in range(20)]
    in_memory = new_in_memory()
    assert [in_memory(key) for key in keys] == [n < 7 for n in range(20)]


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


#: A report of another company under profile 1.4: a release, works of their own, summaries known in part.
NEWER = """\
HEAD→dsrf/1.4/6/1.5→BasicAudioProfile→1.4→M1→2026-11-02T03:00:00Z→1→1→2026-10-01→2026-10-31→PADPIDA2014111801Y→Any→Premium→→→
SY01.03→S1→→→SubscriptionModel→OnDemandStream→DE→Premium→3.5→1000→EUR→12.5→→→→→→
SY02.04→S2→→→AdvertisementSupportedModel→OnDemandStream→DE→Free→7→what→comes→here→is→not→known
RE01.03→1→R1→alb-1→→→→Queen→→A Night→→Album→→→→→
AS01.03→1→1→trk-1→GBUM71029604→Death→→Queen→→PT3M43.5S→SoundRecording→→→→
MW01.03→1→wrk-1→T0101974597→Death→→Mercury→→→→→→→→→→1→→
SU02.03→1→S1→T1→→1→true→3.5→→→→PT13M
SU02.03→1→S2→T2→R1→1→true→7→→→OnDemandStream→
FOOT→9→9→2→1→1
""".replace("→", "\t")


def test_the_current_profile_is_read() -> None:
    reading = Reading()
    assert list(reading.read("x", NEWER.encode().splitlines(keepends=True), check_name=False)) == []
    assert list(reading.finish()) == []
    assert (reading.summaries, reading.blocks, reading.uses) == (2, 1, Decimal("10.5"))


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("3.5→1000", "4→1000", (2, "9 TotalUsages", "summary_differs_from_detail")),
        ("→→1→→\n", "→→2→→\n", (6, "17 ResourceReference", "unknown_reference")),
        ("T1→→1→true", "T1→→→true", (7, "5 TransactedReleaseReference", "transacted")),
        ("T2→R1→", "T2→R9→", (8, "5 TransactedReleaseReference", "unknown_reference")),
        ("AdvertisementSupportedModel", "Ads", (3, "5 CommercialModel", "value_not_allowed")),
        ("→1→true→3.5", "→1→→3.5", (7, "7 IsRoyaltyBearing", "missing_value")),
    ],
)
def test_what_is_wrong_under_the_current_profile_is_named(old: str, new: str, place: tuple[int, str, str]) -> None:
    old, new = old.replace("→", "\t"), new.replace("→", "\t")
    assert old in NEWER
    assert place in [(v.line, v.cell, v.rule) for v in check(NEWER.replace(old, new, 1))]


#: Writes and reads a report of so many recordings, two lines each; prints lines and uses.
LONG = """
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from lakehouse.adapters import sales_reports
from lakehouse.domain.royalties.dsr.reading import Reading
from lakehouse.domain.royalties.dsr.writing import Context, Header, Party, Recording, Sale, render
count, path = int(sys.argv[1]), Path(sys.argv[2])
parties = Party("PADPIDA2014111801Y", "Wavehouse"), Party("PADPIDA2013020802I", "Label")
header = Header("M", datetime(2026, 11, 2, tzinfo=UTC), date(2026, 10, 1), date(2026, 10, 31), *parties, "Premium")
context = Context("S", "SubscriptionModel", "DE", "Premium", "EUR", count, Decimal(1))
recordings = (Recording(str(n), f"Title {n}", "Artist", [Sale("S", str(n), 1)]) for n in range(count))
sales_reports.write(path, render(header, [context], recordings))
with sales_reports.new_on_disk() as is_new:
    reading = Reading(is_new)
    assert not list(reading.read(path.name, sales_reports.lines(path), check_name=False))
    assert not list(reading.finish())
print(reading.lines, reading.uses)
"""


def test_a_report_of_any_length_is_written_and_read_line_by_line(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        numbers, kib = measured(LONG, count, tmp_path / "report.tsv.gz")
        assert numbers == [2 * count + 3, count]
        return kib >> 10

    # 200,000 lines at once would take 40 MB and more.
    assert peak(100_000) - peak(10) < 10
