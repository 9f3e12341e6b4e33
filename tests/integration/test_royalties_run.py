"""A month is settled, signed, closed, traced and restated on the real engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lakehouse.adapters import royalties, royalties_checklist, royalties_lake, royalties_ledger, trino
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.royalties.contracts import build
from lakehouse.domain.royalties.dsr import records
from lakehouse.errors import RejectedInputError
from tests.conftest import wavehouse, wavehouse_json

pytestmark = pytest.mark.stack


def test_a_month_from_plays_to_closed_books(books: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    period = trino.query(books, "select max(period) from lake.gold.royalty_pools where streams > 0").rows[0][0]
    done = wavehouse_json("royalties", "run", "--period", period)
    assert done["changed"]
    assert wavehouse_json("royalties", "run", "--period", period) == done | {"changed": False}

    kept = royalties.kept(books, period)
    lines = list(royalties.lines(books, kept))
    assert len(lines) == kept.settlement.line_count == done["lines"]
    # What was played is settled, stream by stream; the catalogue's unknown tracks are told apart.
    sql = "select country, sum(streams) from lake.gold.royalties where period = ? group by country"
    streams: dict[str, int] = {}
    for pool in kept.settlement.pools:
        streams[pool.key.country] = streams.get(pool.key.country, 0) + pool.streams
        assert pool.net_minor == pool.claimed_minor + pool.retained_minor
        assert pool.unlicensed_streams == 0
    assert {country: n for country, n in streams.items() if n} == dict(trino.query(books, sql, [period]).rows)

    shares = (row for row in lines if row.rule == "share" and row.account == "payable")
    line = max(shares, key=lambda row: row.streams)
    number = 1 + royalties.lines_of(books, kept, line.payee_id).index(line)
    traced = wavehouse_json(
        "royalties", "trace", "--period", period, "--payee", line.payee_id, "--line", str(number), "--limit", "1000000"
    )
    assert traced["plays_in_all"] == line.streams
    assert len({play["event_id"] for play in traced["plays"]}) == line.streams

    assert wavehouse("royalties", "close", "--period", period, check=False).returncode == 65
    wavehouse("royalties", "approve", "--period", period, "--by", "Ada", "--digest", done["digest"])
    wavehouse("royalties", "close", "--period", period)
    again = wavehouse("royalties", "close", "--period", period, check=False)
    assert again.returncode == 65
    assert "closed" in again.stderr
    assert wavehouse_json("royalties", "recompute", "--period", period)["equal"]
    # However small the portions that are weighed at once, every digit is the same.
    monkeypatch.setattr(royalties_lake, "_UNITS_AT_ONCE", 50)
    assert royalties.recompute(books, period) == (done["digest"], done["digest"])
    assert all(item["wrong"] == 0 for item in wavehouse_json("royalties", "checklist", "--period", period))

    # The same figures again are no adjustment; a corrected contract is one, and once it is entered nothing is left.
    assert wavehouse_json("royalties", "restate", "--period", period, "--reason", "again")["adjustments"] == []
    with royalties_ledger.Ledger(books) as ledger:
        book = json.loads(ledger.book(kept.inputs.book_sha256))
    agreement = next(row for row in book["agreements"] if row["agreement_id"] == line.agreement_id)
    agreement["terms"][0] = {**agreement["terms"][0], "share": "0.65"}
    agreement["terms"][0].pop("escalations", None)
    build(book)
    into, found = royalties.correct(books, period, reason="share corrected", book=book)
    assert found
    assert into > period
    closed_lines = {row.line_id for row in lines}
    assert {row.corrects for row in found} <= closed_lines
    assert royalties.correct(books, period, reason="share corrected", book=book) == (into, [])
    back, reverse = royalties.correct(books, period, reason="taken back")
    assert back == into
    assert sum(row.amount_minor for row in [*found, *reverse]) == 0


def test_what_can_not_be_settled_leaves_the_period_as_it_was(books: Settings, tmp_path: Path) -> None:
    with pytest.raises(RejectedInputError, match="no revenue"):
        royalties.run(books, "2001-05", by="run")
    period = trino.query(books, "select max(period) from lake.gold.royalty_pools where streams > 0").rows[0][0]
    with pytest.raises(RejectedInputError, match="Exchange rate"):
        royalties.run(books, period, by="run", rates=[])
    book = royalties.demo_book(books)
    book["rights"][0]["holders"][0]["payee_id"] = "nobody"
    with pytest.raises(RejectedInputError, match="nobody"):
        royalties.run(books, period, by="run", book=book)
    # The same at the command line: a line that names place and rule, and the exit code of rejected input.
    (tmp_path / "book.json").write_text(json.dumps(book))
    (tmp_path / "rates.csv").write_text("day,base,quote,rate,source\n2001-01-31,EUR,USD,1.1,ECB\n")
    for option, name, said in (
        ("--contracts", "book.json", "no payee 'nobody' (unknown_payee)"),
        ("--rates", "rates.csv", f"for {period}: no rate of that month"),
    ):
        refused = wavehouse("royalties", "run", "--period", period, option, str(tmp_path / name), check=False)
        assert refused.returncode == 65
        assert said in " ".join(refused.stderr.split())
        assert "Traceback" not in refused.stderr
    with royalties_ledger.Ledger(books) as ledger:
        assert ledger.periods() == []


def test_a_calculation_that_was_broken_off_is_in_nobodys_way(books: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "select distinct period from lake.gold.royalty_pools where streams > 0 order by period"
    earlier, period = [row[0] for row in trino.query(books, sql).rows][-2:]

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for month in (earlier, period):
        with monkeypatch.context() as patched:
            patched.setattr(royalties.royalties_lake, "put_results", killed)
            with pytest.raises(KeyboardInterrupt):
                royalties.run(books, month, by="run")

    def incomplete() -> set[str]:
        sql = (
            "select distinct period from lake.gold_audit.settlement_lines "
            "where calculation not in (select calculation from lake.gold_audit.settlements)"
        )
        return {row[0] for row in trino.query(books, sql).rows}

    assert incomplete() == {earlier, period}
    settled, _ = royalties.run(books, period, by="run")
    assert incomplete() == {earlier}
    assert sum(1 for _ in royalties.lines(books, settled)) == settled.settlement.line_count
    royalties.run(books, earlier, by="run")
    assert incomplete() == set()


#: What is changed in a copy of a calculation, and the files of the checklist that must see it.
TAMPERED: list[tuple[str, set[str]]] = [
    ("select 1 from {t}lines where calculation = '{c}'", set()),
    ("update {t}lines set amount_minor = amount_minor + 1 where calculation = '{c}' and {line}", {"06", "11"}),
    ("update {t}lines set unrounded_amount = unrounded_amount * 2 where calculation = '{c}' and {line}", {"07"}),
    ("update {t}lines set amount_minor = amount_minor + 9 where calculation = '{c}' and {line}", {"08"}),
    ("update {t}lines set clause = 'A/of-nobody@1' where calculation = '{c}' and {line}", {"04", "07"}),
    ("delete from {t}lines where calculation = '{c}' and {track}", {"02", "06", "11"}),
    ("insert into {t}lines select * from {t}lines where calculation = '{c}' and {line}", {"05", "06"}),
    ("delete from {t}pools where calculation = '{c}' and {streams}", {"01", "04"}),
    ("update {t}entries set amount_minor = amount_minor + 1 where calculation = '{c}' and {entry}", {"10", "11"}),
]


def test_the_checklist_sees_what_was_tampered_with(books: Settings) -> None:
    period = trino.query(books, "select max(period) from lake.gold.royalty_pools where streams > 0").rows[0][0]
    settled, _ = royalties.run(books, period, by="run")
    prefix, copy = "lake.gold_audit.settlement_", "f" * 32
    made = settled.inputs.calculation.calculation
    streams, line, track, entry = trino.query(
        books,
        f"select (select max(streams) from {prefix}pools where calculation = ?), line_number, track_id, "  # noqa: S608
        f"(select min(entry_number) from {prefix}entries where calculation = ? and entry_kind = 'royalty' "
        f"and refers_to = '{settled.inputs.period}/EUR' and currency = 'EUR') from {prefix}lines where calculation = ? "
        "and currency = 'EUR' and account = 'payable' and deciding_rule = 'share' and amount_minor > 0 "
        # of an account in euro: other accounts book the line converted, together with others
        f"and agreement_id in (select agreement_id from {prefix}entries where calculation = ? and currency = 'EUR') "
        "order by line_number limit 1",
        [made, made, made, made],
    ).rows[0]
    names = {
        "t": prefix,
        "c": copy,
        "streams": f"streams = {streams}",
        "line": f"line_number = {line}",
        "track": f"track_id = {track}",
        "entry": f"entry_number = {entry}",
    }
    tables = ("lines", "pools", "entries", "clauses")

    def forget() -> None:
        for table in tables:
            trino.query(books, f"delete from {prefix}{table} where calculation = ?", [copy])  # noqa: S608

    def wrong() -> set[str]:
        found = set()
        files = sorted(royalties_checklist.QUERIES.glob("*.sql"))
        for path, (_, sql) in zip(files, royalties_checklist.queries(settled), strict=True):
            of_copy = sql.replace(made, copy).replace("lake.gold.settlement_", prefix)
            if path.name[:2] != "03" and trino.query(books, of_copy, user="auditor").rows[0][1]:
                found.add(path.name[:2])
        return found

    try:
        for statement, seen_by in TAMPERED:
            forget()
            for table in tables:
                columns = [column.name for column in load(f"gold_audit.settlement_{table}").columns][1:]
                trino.query(
                    books,
                    f"insert into {prefix}{table} select ?, {', '.join(columns)} "  # noqa: S608
                    f"from {prefix}{table} where calculation = ?",
                    [copy, made],
                )
            trino.query(books, statement.format(**names))
            assert wrong() >= seen_by if seen_by else wrong() == set(), statement
    finally:
        forget()


def test_the_month_is_reported_to_a_licensor(played: Settings, tmp_path: Path) -> None:
    period = trino.query(played, "select max(period) from lake.gold.royalty_pools where streams > 0").rows[0][0]
    wavehouse(
        *("royalties", "write-dsr", "--period", period, "--to", str(tmp_path), "--created-at", "2026-11-02T03:00:00Z"),
        *("--sender", "PADPIDA2014111801Y::Wavehouse", "--recipient", "PADPIDA2013020802I::Label"),
    )
    (path,) = tmp_path.iterdir()
    read = wavehouse_json("royalties", "read-dsr", str(path))
    assert read["violations"] == 0
    streams = "select sum(streams) from lake.gold.royalties where period = ?"
    assert read["uses"] == trino.query(played, streams, [period]).rows[0][0]
    # Every market and product is a summary, with the subscribers that finance counted.
    names = ["RecordType", *(cell.name for cell in records.profile().records["SY01.03"])]
    summaries = [
        dict(zip(names, line.split("\t"), strict=True))
        for line in path.read_text().splitlines()
        if line.startswith("SY01.03\t")
    ]
    reported = {(row["SummaryRecordId"], row["Subscribers"]) for row in summaries}
    sql = "select country, tier, subscribers from lake.silver.revenue where period = ?"
    delivered = trino.query(played, sql, [period]).rows
    assert any(subscribers for *_, subscribers in delivered)
    assert reported == {(f"{country}-{tier}", str(subscribers or "")) for country, tier, subscribers in delivered}
