"""A month is settled, signed, closed, traced and restated on the real engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lakehouse.adapters import royalties, royalties_ledger, trino
from lakehouse.config.settings import Settings
from lakehouse.domain.royalties.contracts import build
from lakehouse.errors import RejectedInputError
from tests.conftest import wavehouse, wavehouse_json

pytestmark = pytest.mark.stack


def test_a_month_from_plays_to_closed_books(books: Settings) -> None:
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
