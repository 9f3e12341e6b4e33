"""The sales report of a closed month, written again after late plays and corrections in the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lakehouse.adapters import lake, publish, royalties, trino
from lakehouse.config.settings import Settings
from lakehouse.domain.listening import rules
from tests.conftest import wavehouse, wavehouse_json

pytestmark = pytest.mark.stack

PLAYED = "select max(period) from lake.gold.royalty_pools where streams > 0"
STREAMS = "select sum(royalty_streams) from lake.gold.streams_monthly where period = ?"


def show_current(settings: Settings, *names: str) -> None:
    """Show readers the current rows of tables that were changed by hand, as if they had been audited."""
    for name in names:
        current = lake.catalog(settings).load_table(name).current_snapshot()
        assert current is not None
        for tag in (publish.AUDITED, publish.PUBLISHED):
            publish.move_tag(settings, name, tag, current.snapshot_id)


def change(settings: Settings, period: str, sign: str, title: str) -> None:
    """One stream more (`+`) or less (`-`) of every track in every market, and other names in the catalogue."""
    trino.query(
        settings,
        f"update lake.gold_audit.streams_monthly set royalty_streams = royalty_streams {sign} 1 where period = ?",  # noqa: S608
        [period],
    )
    trino.query(settings, f"update lake.silver_audit.tracks set title = {title}")  # noqa: S608
    show_current(settings, "gold_audit.streams_monthly", "silver_audit.tracks")


@pytest.fixture
def late(books: Settings) -> Iterator[Any]:
    """A function that changes what is published of a month; undone afterwards."""
    changed: list[str] = []

    def later(period: str) -> None:
        changed.append(period)
        change(books, period, "+", "concat('Renamed ', title)")

    yield later
    for period in changed:
        change(books, period, "-", "substr(title, 9)")


def written(folder: Path, period: str, *options: str) -> tuple[dict[str, Any], bytes]:
    """What the command says of the month's report, and the report."""
    done = wavehouse_json(
        *("royalties", "write-dsr", "--period", period, "--to", str(folder), "--created-at", "2026-11-02T03:00:00Z"),
        *("--sender", "PADPIDA2014111801Y::Wavehouse", "--recipient", "PADPIDA2013020802I::Label", *options),
    )
    return done, Path(done["file"]).read_bytes()


def test_the_report_of_a_closed_month_stays_as_it_is(books: Settings, tmp_path: Path, late: Any) -> None:
    period = trino.query(books, PLAYED).rows[0][0]
    streams = trino.query(books, STREAMS, [period]).rows[0][0]
    said, _ = written(tmp_path / "open", period)
    assert (said["state"], said["settlement"], said["units"]) == ("open", None, None)

    run = wavehouse_json("royalties", "run", "--period", period)
    wavehouse("royalties", "approve", "--period", period, "--by", "Ada")
    wavehouse("royalties", "close", "--period", period)
    said, report = written(tmp_path / "closed", period)
    assert (said["state"], said["settlement"]) == ("closed", run["digest"])
    assert said["counting_policy"] == rules.royalty_policy(period).label
    units = said["units"]
    assert units["reported"] == said["streams"] == units["settled"] + units["unlicensed"]
    assert units["reported"] + units["unknown"] == streams
    payee = max(royalties.lines(books, royalties.kept(books, period)), key=lambda line: line.streams).chain[0]
    of_one, report_of_one = written(tmp_path / "payee", period, "--payee", payee)
    assert 0 < of_one["streams"] <= said["streams"]
    assert of_one["units"]["settled"] == of_one["streams"]
    for folder in ("closed", "payee"):
        (path,) = (tmp_path / folder).iterdir()
        assert wavehouse_json("royalties", "read-dsr", str(path))["violations"] == 0

    late(period)
    assert trino.query(books, STREAMS, [period]).rows[0][0] > streams
    assert written(tmp_path / "later", period) == (
        said | {"file": str(tmp_path / "later" / Path(said["file"]).name)},
        report,
    )
    assert written(tmp_path / "payee", period, "--payee", payee) == (of_one, report_of_one)
