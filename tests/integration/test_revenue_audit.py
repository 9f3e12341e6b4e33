"""The suite of silver_audit.revenue finds what is wrong with a spoiled month, and nothing in a right one."""

from __future__ import annotations

from itertools import chain

import pytest

from lakehouse.adapters import audit, trino
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.royalties.pools import PoolKey, Revenue
from lakehouse.domain.royalties.revenue_file import as_row
from lakehouse.domain.simulation.revenue import spoiled

pytestmark = pytest.mark.stack

MARKETS = {"US": "USD", "GB": "GBP", "DE": "EUR", "JP": "JPY"}
USUAL = {"US": 900_000, "GB": 300_000, "DE": 500_000, "JP": 40_000}


def month(period: str) -> list[Revenue]:
    return [
        line
        for country, currency in MARKETS.items()
        for line in (
            Revenue(PoolKey(period, country, "free", currency), 0, USUAL[country] // 10),
            Revenue(PoolKey(period, country, "premium", currency), USUAL[country], 0, 1000, 100, 9),
        )
    ]


def failed(settings: Settings, lines: list[Revenue]) -> set[str]:
    """Which checks of severity `fail` find rows in `lines`; asked of Trino with the lines in place of the table."""
    rows = [as_row(line) | {"revenue_minor": line.net_minor} for line in lines]
    values = ", ".join(str(tuple(row.values())) for row in rows)
    batch = f"(select * from (values {values}) as v ({', '.join(rows[0])}))"  # noqa: S608
    checks = [e for e in audit.suite(load("silver_audit.revenue")) if "unexpected_rows_query" in e.kwargs]
    return {
        check.why
        for check in checks
        if check.severity == audit.FAIL
        and trino.query(settings, check.kwargs["unexpected_rows_query"].replace("{batch}", batch)).rows
    }


# Without plays in this month: the check against plays is left to the run of the whole job.
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_spoiled_month_is_found_wherever_it_stands(stack: Settings, at: int) -> None:
    months = [month(f"2001-0{n}") for n in (1, 2, 3)]
    assert failed(stack, list(chain(*months))) == set()
    months[at] = spoiled(months[at])
    found = failed(stack, list(chain(*months)))
    # Left out of the first month, a market looks like one that opens in the second.
    assert ("From its first month on, no market is missing in a month." in found) == (at > 0)
    assert found >= {
        "A market reports in the currency it always reports in.",
        "A market earns no more than twenty times what it earns in other months.",
    }
