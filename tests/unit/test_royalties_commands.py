"""`wavehouse royalties trace`, `compare` and `statement` over a settlement in memory, without engines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lakehouse.adapters import royalties, royalties_demo, royalties_files, royalties_lake, royalties_trace, trino
from lakehouse.adapters.royalties import Inputs, Settled
from lakehouse.adapters.royalties_ledger import AccountCorrection, Correction, PeriodState, Restated
from lakehouse.cli.royalties import app
from lakehouse.domain.royalties.contracts import Book, build
from lakehouse.domain.royalties.periods import restate
from lakehouse.domain.royalties.pools import add_months
from lakehouse.domain.royalties.settlement import Adjustment, Settlement, settle
from tests.royalty_books import PayOuts
from tests.unit.test_royalties_demo import MARKETS, TRACKS, revenue, uses

SEPTEMBER, OCTOBER = "2026-09", "2026-10"
RAW = royalties_demo.standard_book(TRACKS)
BOOK = build(RAW)
RATES = tuple(royalties_demo.rates([SEPTEMBER, OCTOBER], [currency for _, currency in MARKETS]))
SOURCES = ("silver_audit.plays", "silver_audit.play_flags", "silver_audit.tracks")
#: Whose September streams turn out to be artificial.
CAUGHT = 22


class Books:
    """In the place of lake and ledger: September closed and restated, October calculated on it."""

    def __init__(self) -> None:
        self.september = self._settled(
            SEPTEMBER, 1, settle(SEPTEMBER, revenue(SEPTEMBER), uses(SEPTEMBER), BOOK, RATES)
        )
        again = settle(SEPTEMBER, revenue(SEPTEMBER), uses(SEPTEMBER, without=CAUGHT), BOOK, RATES)
        self.restated = self._settled(SEPTEMBER, 2, again)
        self.found = restate(self.september.settlement, [], again, OCTOBER, "artificial plays")
        opening = self.september.settlement.balances
        made = settle(OCTOBER, revenue(OCTOBER), uses(OCTOBER), BOOK, RATES, opening, self.found)
        october = self._settled(OCTOBER, 1, made)
        inputs = replace(october.inputs, opening=opening, adjustments=tuple(self.found))
        self.october = replace(october, inputs=inputs)

    def _settled(self, period: str, snapshot: int, made: Settlement) -> Settled:
        inputs = Inputs(period, dict.fromkeys(SOURCES, snapshot), tuple(revenue(period)), "0" * 64, RATES)
        return Settled(PeriodState(period, "calculated", made.digest(), ""), inputs, made)

    def kept(self, _: object, period: str, digest: str | None = None) -> Settled:
        known = [self.september, self.restated, self.october]
        return next(of for of in known if of.state.period == period and (digest is None or of.state.digest == digest))

    def lines(self, _: object, settled: Settled, *, key: Any = None, payee: str | None = None) -> Iterator[Any]:
        for line in settled.settlement.lines:
            if (key is None or line.key == key) and (payee is None or line.payee_id == payee):
                yield line

    def corrections(self, *, into: str | None = None, of: str | None = None) -> list[Correction]:
        return [self._correction(row) for row in self.found if into in (None, OCTOBER) and of in (None, SEPTEMBER)]

    def _correction(self, row: Adjustment) -> Correction:
        digests = (self.september.state.digest or "", self.restated.state.digest or "")
        return royalties._correction(row, Restated(1, SEPTEMBER, 1, *digests))

    def __enter__(self) -> Books:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def settled_books() -> Books:
    return Books()


@pytest.fixture
def books(settled_books: Books, monkeypatch: pytest.MonkeyPatch) -> Books:
    monkeypatch.setattr(royalties, "kept", settled_books.kept)
    monkeypatch.setattr(royalties, "lines", settled_books.lines)
    monkeypatch.setattr(royalties, "book_of", lambda *_: BOOK)
    monkeypatch.setattr(royalties, "_raw_book", lambda *_: RAW)
    monkeypatch.setattr(royalties_trace, "Ledger", lambda _: settled_books)
    monkeypatch.setattr(royalties_lake, "titles", lambda *_: {"1301": "First song"})
    return settled_books


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


def number_of(payee: str, kind: str) -> int:
    listed = run("trace", "--period", OCTOBER, "--payee", payee)["entries"]
    return next(int(row["entry"]) for row in listed if row["kind"] == kind)


def test_a_correction_is_traced_to_both_of_its_sides(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[object]]] = []

    def query(_: object, sql: str, values: list[object]) -> trino.Result:
        asked.append((sql, values))
        came = sql.index("version as of 2") < sql.index("version as of 1")
        row = ("e1", "2026-09-03", 7, 30_000, "search", 12)
        columns = ("event_id", "played_at", "user_id", "ms_played", "context", "in_all")
        return trino.Result(columns, [] if came else [row])

    monkeypatch.setattr(trino, "query", query)
    payee = str(CAUGHT)
    listed = run("trace", "--period", OCTOBER, "--payee", payee)["entries"]
    lost = next(row for row in listed if row["kind"] == "adjustment" and f"/A{CAUGHT}/" in row["refers to"])
    traced = run("trace", "--period", OCTOBER, "--payee", payee, "--entry", str(lost["entry"]), "--limit", "1")
    (made,) = traced["corrections"]
    closed = next(line for line in books.september.settlement.lines if line.line_id == lost["refers to"])
    assert made["corrects"] == closed.line_id
    assert (made["from_period"], made["reason"]) == (SEPTEMBER, "artificial plays")
    assert made["from_digest"] == made["before"]["digest"] == books.september.settlement.digest()
    assert made["to_digest"] == made["after"]["digest"] == books.restated.settlement.digest()
    assert (made["before"]["amount_minor"], made["before"]["streams"]) == (closed.amount_minor, closed.streams)
    assert (made["after"]["amount_minor"], made["after"]["streams"]) == (0, 0)
    assert made["amount_minor"] == -closed.amount_minor - made["earlier_minor"]
    assert made["before"]["pool"]["streams"] > made["after"]["pool"]["streams"]
    assert (made["plays_added"], made["plays_added_in_all"]) == ([], 0)
    assert [play["event_id"] for play in made["plays_removed"]] == ["e1"]
    assert made["plays_removed_in_all"] == 12
    # Both sides are asked about the same pool and track.
    key = closed.key
    assert all(
        values == ["2026-09-01", "2026-10-01", key.country, key.tier, int(closed.track_id)] * 2 for _, values in asked
    )
    # People read the same.
    shown = CliRunner().invoke(
        app, ["trace", "--period", OCTOBER, "--payee", payee, "--entry", str(lost["entry"])], catch_exceptions=False
    )
    for text in ("artificial plays", "no such line", closed.line_id, "e1"):
        assert text in shown.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("payee", "kind", "clause"),
    [
        ("label-13", "reserve_held", "A13/account@1"),
        ("label-13", "withholding_tax", "A13/account@1"),
        ("14", "true_up", "A14/account@1"),
        ("20", "recoupment", ""),
    ],
)
def test_a_booking_is_traced_to_its_clause_and_balance(books: Books, payee: str, kind: str, clause: str) -> None:
    traced = run("trace", "--period", OCTOBER, "--payee", payee, "--entry", str(number_of(payee, kind)))
    assert traced["entry"]["kind"] == kind
    assert traced["clause"] == clause
    assert traced["basis"] and traced["rule"]
    assert traced["opening"]["period"] == add_months(OCTOBER, -1)
    assert traced["closing"]["period"] == OCTOBER
    assert (traced["terms"] is None) == (clause == "")
    assert traced["corrections"] == []


@pytest.mark.parametrize("arguments", [("--entry", "9999"), ("--entry", "0"), ("--entry", "1", "--line", "1")])
def test_what_there_is_not_can_not_be_traced(books: Books, arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["trace", "--period", OCTOBER, "--payee", "20", *arguments])
    assert done.exception is not None
    assert "FatalError" in repr(type(done.exception))


class CorrectedBooks(Books):
    """September closed, its tax and its rates corrected; October calculated with that."""

    def __init__(self) -> None:
        raw = json.loads(json.dumps(RAW))
        accounting = next(row for row in raw["agreements"] if row["agreement_id"] == "A13")["accounting"]
        accounting.append(accounting[0] | {"version": 2, "withholding": "1/4"})
        self.other, rates = build(raw), tuple(replace(row, rate=2 * row.rate) for row in RATES)
        made = PayOuts()
        self.september = self._settled(
            SEPTEMBER, 1, made.settle(SEPTEMBER, revenue(SEPTEMBER), uses(SEPTEMBER), BOOK, RATES)
        )
        again = settle(SEPTEMBER, revenue(SEPTEMBER), uses(SEPTEMBER), self.other, rates)
        restated = self._settled(SEPTEMBER, 1, again)
        self.restated = replace(restated, inputs=replace(restated.inputs, book_sha256="1" * 64, rates=rates))
        made.restate(SEPTEMBER, OCTOBER, self.other, rates)
        self.entered = made.account_adjustments
        october = self._settled(OCTOBER, 1, made.settle(OCTOBER, revenue(OCTOBER), uses(OCTOBER), self.other, RATES))
        entered = {"opening": made.closed[OCTOBER].opening, "account_adjustments": tuple(self.entered)}
        self.october = replace(october, inputs=replace(october.inputs, book_sha256="1" * 64, **entered))

    def book_of(self, _: object, settled: Settled) -> Book:
        return self.other if settled.inputs.book_sha256 == "1" * 64 else BOOK

    def account_corrections(self, *, into: str | None = None) -> list[AccountCorrection]:
        digests = (self.september.state.digest or "", self.restated.state.digest or "")
        restated = Restated(1, SEPTEMBER, 1, *digests)
        return [
            replace(royalties._account_correction(row, restated, digests[1]), sequence=number)
            for number, row in enumerate(self.entered, start=1)
            if into in (None, row.period)
        ]


def test_a_correction_of_an_account_is_traced_to_the_closed_booking_and_both_clauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    books = CorrectedBooks()
    monkeypatch.setattr(royalties, "kept", books.kept)
    monkeypatch.setattr(royalties, "lines", books.lines)
    monkeypatch.setattr(royalties, "book_of", books.book_of)
    monkeypatch.setattr(royalties_trace, "Ledger", lambda _: books)

    def traced(payee: str, refers_to: str) -> dict[str, Any]:
        listed = run("trace", "--period", OCTOBER, "--payee", payee)["entries"]
        number = next(row["entry"] for row in listed if row["refers to"] == refers_to)
        arguments = ("trace", "--period", OCTOBER, "--payee", payee, "--entry", str(number))
        shown = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert "as it should be" in shown.stdout
        (made,) = run(*arguments)["account_corrections"]
        return dict(made)

    closed = {
        (e.payee_id, e.kind, e.refers_to): e for e in books.september.settlement.entries if e.agreement_id == "A13"
    }
    tax = traced("label-13", f"{SEPTEMBER}/withholding_tax")
    assert (tax["from_period"], tax["of_period"], tax["round"]) == (SEPTEMBER, SEPTEMBER, 1)
    assert tax["before"]["digest"] == books.september.state.digest
    assert tax["after"]["digest"] == books.restated.state.digest
    assert tax["before"]["amount_minor"] == closed["label-13", "withholding_tax", ""].amount_minor
    assert tax["amount_minor"] == tax["after"]["amount_minor"] - tax["before"]["amount_minor"]
    assert (tax["before"]["clause"], tax["after"]["clause"]) == ("A13/account@1", "A13/account@2")
    assert (tax["before"]["terms"]["withholding"], tax["after"]["terms"]["withholding"]) == ("3/20", "1/4")
    # Of what was converted, the rates.
    pool = f"{SEPTEMBER}/JPY"
    royalty = traced("label-13", f"{SEPTEMBER}/royalty/{pool}")
    assert royalty["before"]["amount_minor"] == closed["label-13", "royalty", pool].amount_minor
    before, after = (Fraction(royalty[side]["exchange_rate"]) for side in ("before", "after"))
    assert after != before
    # Of a balance, what was carried.
    reserve = next(row for row in books.entered if (row.payee_id, row.kind) == ("label-13", "reserve"))
    held = traced("label-13", reserve.name)
    balance = next(row for row in books.september.settlement.balances if row.payee_id == "label-13")
    assert held["before"]["amount_minor"] == sum(row.amount_minor for row in balance.reserves)
    assert held["after"]["amount_minor"] == held["before"]["amount_minor"] + reserve.amount_minor


def test_a_restatement_tells_what_it_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    books = CorrectedBooks()
    made = royalties.Restatement(OCTOBER, (), tuple(books.entered))
    asked = list[bool]()

    def correct(*_: object, as_closed: bool, **__: object) -> royalties.Restatement:
        asked.append(as_closed)
        return made

    monkeypatch.setattr(royalties, "correct", correct)
    arguments = ("restate", "--period", SEPTEMBER, "--reason", "tax corrected")
    told = run(*arguments)
    assert (told["into"], told["adjustments"]) == (OCTOBER, [])
    assert [(row["of_period"], row["kind"], row["amount_minor"]) for row in told["account_adjustments"]] == [
        (row.of_period, row.kind, row.amount_minor) for row in books.entered
    ]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert f"{SEPTEMBER}/withholding_tax" in shown and "A13/account@2" in shown
    run(*arguments, "--as-closed")
    assert asked == [False, False, True]
    monkeypatch.setattr(royalties, "correct", lambda *_, **__: royalties.Restatement(OCTOBER, (), ()))
    assert "nothing to adjust" in CliRunner().invoke(app, arguments, catch_exceptions=False).output


def test_models_are_compared_and_what_is_in_suspense_is_shown(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    def settle_again(_: object, inputs: Inputs, book: Any, *__: object, keep: bool) -> Settlement:
        assert not keep
        return settle(inputs.period, inputs.revenue, uses(inputs.period), book, inputs.rates, inputs.opening)

    monkeypatch.setattr(royalties, "_volumes", lambda *_: {})
    monkeypatch.setattr(royalties, "_settle", settle_again)
    rows = run("compare", "--period", OCTOBER)
    assert len({(row["payee_id"], row["account"], row["currency"]) for row in rows}) == len(rows)
    for row in rows:
        for model in ("user_centric", "artist_centric"):
            assert row[f"{model}_change"] == row[model] - row["pro_rata"]
    # Some gain and some lose.
    assert min(row["user_centric_change"] for row in rows) < 0 < max(row["user_centric_change"] for row in rows)
    # The disputed third stays with its claimant, the quarter that nobody claims with nobody; both are in yen.
    suspended = {row["payee_id"]: row for row in rows if row["account"] == "suspense"}
    assert set(suspended) == {"", "second-17"}
    assert all(row["pro_rata"] > 0 and row["currency"] == "JPY" for row in suspended.values())
    # Where all agreements are of one model, all that is settled is shown.
    agreements = {name: replace(row, model="pro_rata") for name, row in BOOK.agreements.items()}
    of_model = settle_again(None, books.october.inputs, replace(BOOK, agreements=agreements), keep=False)
    earned = sum(e.amount_minor for e in of_model.entries if e.kind in ("royalty", "true_up", "suspense"))
    assert sum(row["pro_rata"] for row in rows) == earned


def test_a_statement_is_written_and_again_with_the_same_bytes(books: Books, tmp_path: Path) -> None:
    arguments = ("statement", "--period", OCTOBER, "--payee", "label-13", "--to", str(tmp_path / "new" / "folder"))
    written = run(*arguments)
    files = [Path(name) for name in written["files"]]
    assert [path.name for path in files] == [f"statement-{OCTOBER}-label-13.{suffix}" for suffix in ("csv", "html")]
    before = [path.read_bytes() for path in files]
    assert run(*arguments) == written
    assert [path.read_bytes() for path in files] == before
    rows = list(csv.DictReader(before[0].decode().splitlines()))
    parts = {row["part"] for row in rows}
    assert parts == {"opening balance", "closing balance", "earning", "correction", "booking"}
    assert "First song" in {row["track"] for row in rows}
    payable = [e for e in books.october.settlement.entries if (e.payee_id, e.kind) == ("label-13", "payable")]
    booked = [row["amount"] for row in rows if row["what"] == "Payable"]
    assert booked == [f"{entry.amount_minor / 100:.2f}" for entry in payable]
    page = before[1].decode()
    assert "Demo Records" in page and books.october.settlement.digest() in page


def test_a_stranger_has_no_statement_and_no_file(books: Books, tmp_path: Path) -> None:
    arguments = ["statement", "--period", OCTOBER, "--payee", "nobody", "--to", str(tmp_path / "none")]
    done = CliRunner().invoke(app, arguments)
    assert "nothing about payee nobody" in str(done.exception)
    assert not (tmp_path / "none").exists()


def test_a_run_says_whose_contracts_and_rates_it_used(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def settle_month(_: object, period: str, **arguments: Any) -> tuple[Settled, bool]:
        given.update(arguments)
        return books.october, True

    monkeypatch.setattr(royalties, "run", settle_month)
    monkeypatch.setattr(royalties, "pools_before", lambda *_: ())
    monkeypatch.setattr(royalties_files, "deliveries", lambda _: tmp_path)
    done = CliRunner().invoke(app, ["run", "--period", OCTOBER, "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)
    assert (told["contracts"], told["rates"]) == ("demo", "demo")
    assert (given["book"], given["rates"]) == (None, None)
    said = done.stderr.replace("\n", " ")
    assert "WARNING: settled by the demo's contracts" in said and "WARNING: settled by the demo's rates" in said

    (tmp_path / "contracts.json").write_text(json.dumps(RAW))
    (tmp_path / "rates.csv").write_text("day,base,quote,rate,source\n2026-10-30,EUR,USD,1.1,ECB\n")
    done = CliRunner().invoke(app, ["run", "--period", OCTOBER, "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)
    assert (told["contracts"], told["rates"]) == (str(tmp_path / "contracts.json"), str(tmp_path / "rates.csv"))
    assert given["book"] == RAW
    assert [row.base for row in given["rates"]] == ["EUR"]
    assert "WARNING" not in done.stderr

    # What is given by hand goes before what was delivered.
    other = tmp_path / "other.csv"
    other.write_text("day,base,quote,rate,source\n2026-10-30,GBP,USD,1.3,ECB\n")
    told = run("run", "--period", OCTOBER, "--rates", str(other))
    assert (told["rates"], [row.base for row in given["rates"]]) == (str(other), ["GBP"])

    (tmp_path / "contracts.yaml").write_text("{}")
    refused = CliRunner().invoke(app, ["run", "--period", OCTOBER])
    assert "two books" in str(refused.exception)


def test_a_run_shows_tables_to_people_and_gives_markdown_to_programs(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(royalties, "run", lambda *_, **__: (books.october, True))
    monkeypatch.setattr(royalties, "pools_before", lambda *_: books.september.settlement.pools)
    monkeypatch.setattr(royalties_files, "deliveries", lambda _: tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(app, ["run", "--period", OCTOBER], catch_exceptions=False)
    rows = [[cell.strip() for cell in line.strip("│┃").split("│")] for line in done.stdout.splitlines()]
    markdown = run("run", "--period", OCTOBER)["summary"]
    wanted = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if "|" in line]
    # All rows, without titles and rulers; every currency is in both tables.
    figures = [row for row in wanted if row[0].isupper()]
    assert len(figures) > 8
    assert all(row in rows for row in figures)
    assert "| ---" in markdown
    assert "| ---" not in done.stdout + done.stderr
