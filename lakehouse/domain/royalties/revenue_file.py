"""The file in which finance delivers a month of net revenue: comma-separated, a header, a line a market and product,
and a trailer with the number of lines and the sum of all amounts (a control total over minor units of any currency).

    period,country,tier,currency,revenue_minor
    2026-10,DE,premium,EUR,112233
    total,,,1,112233

The file is taken as a whole or not at all. Whether its figures are likely is not asked here but by the audit.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from lakehouse.domain.royalties.iso import COUNTRIES, DECIMALS
from lakehouse.errors import RejectedInputError

TIERS = ("free", "premium")
TRAILER = "total"
_PERIOD = re.compile(r"20\d\d-(0[1-9]|1[0-2])")
_AMOUNT = re.compile(r"-?\d{1,18}")


@dataclass(frozen=True, order=True)
class RevenueLine:
    """Net revenue of a month (`YYYY-MM`), market and product, in minor units of the currency."""

    period: str
    country: str
    tier: str
    currency: str
    revenue_minor: int


HEADER = [field.name for field in fields(RevenueLine)]


def render(lines: Iterable[RevenueLine]) -> str:
    """The file that carries `lines`, in order of their key."""
    ordered = sorted(lines)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(astuple(line) for line in ordered)
    writer.writerow([TRAILER, "", "", len(ordered), sum(line.revenue_minor for line in ordered)])
    return text.getvalue()


def parse(text: str, *, name: str) -> list[RevenueLine]:
    """The lines of a delivered file; `name` is the file's, for the message.

    Raises:
        RejectedInputError: with the file, row and field in the message, the text of the field as its value, and the
            reason: bad_header, bad_row, missing_trailer, bad_period, several_periods, unknown_country, unknown_tier,
            unknown_currency, bad_amount, negative_amount, duplicate_line, row_count_mismatch, control_total_mismatch.
    """
    rows = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"))) if row]
    if not rows or rows[0] != HEADER:
        raise _rejected(
            name, 1, "header", ",".join(rows[0]) if rows else "", "bad_header", f"must be {','.join(HEADER)}"
        )
    if len(rows) < 2 or rows[-1][0] != TRAILER:  # noqa: PLR2004 - header and trailer
        raise _rejected(
            name,
            len(rows),
            "trailer",
            ",".join(rows[-1]),
            "missing_trailer",
            "the last row must be the total; cut off?",
        )
    lines: list[RevenueLine] = []
    for number, row in enumerate(rows[1:-1], start=2):
        line = _line(name, number, row)
        if any(_key(line) == _key(other) for other in lines):
            raise _rejected(name, number, "country", line.country, "duplicate_line", "this market and tier came before")
        if lines and line.period != lines[0].period:
            raise _rejected(name, number, "period", line.period, "several_periods", "a file holds one month")
        lines.append(line)
    _check_trailer(name, len(rows), rows[-1], lines)
    return lines


def _line(name: str, number: int, row: list[str]) -> RevenueLine:
    if len(row) != len(HEADER):
        raise _rejected(name, number, "row", ",".join(row), "bad_row", f"must have {len(HEADER)} fields")
    period, country, tier, currency, amount = row
    checks = (
        ("period", period, _PERIOD.fullmatch(period), "bad_period", "must be a month as YYYY-MM"),
        ("country", country, country in COUNTRIES, "unknown_country", "must be an ISO 3166-1 alpha-2 code"),
        ("tier", tier, tier in TIERS, "unknown_tier", f"must be one of {', '.join(TIERS)}"),
        ("currency", currency, currency in DECIMALS, "unknown_currency", "must be an ISO 4217 code"),
        ("revenue_minor", amount, _AMOUNT.fullmatch(amount), "bad_amount", "must be a whole number of minor units"),
        ("revenue_minor", amount, not amount.startswith("-"), "negative_amount", "must not be below zero"),
    )
    for field, value, is_good, reason, rule in checks:
        if not is_good:
            raise _rejected(name, number, field, value, reason, rule)
    return RevenueLine(period, country, tier, currency, int(amount))


def _check_trailer(name: str, number: int, row: list[str], lines: list[RevenueLine]) -> None:
    total = sum(line.revenue_minor for line in lines)
    if len(row) != len(HEADER) or row[1:3] != ["", ""]:
        raise _rejected(name, number, "trailer", ",".join(row), "bad_row", "must be total,,,<lines>,<sum>")
    for field, value, actual, reason in (
        ("line count", row[3], len(lines), "row_count_mismatch"),
        ("control total", row[4], total, "control_total_mismatch"),
    ):
        if value != str(actual):
            raise _rejected(name, number, field, value, reason, f"the lines above give {actual}")


def _key(line: RevenueLine) -> tuple[str, str, str]:
    return line.period, line.country, line.tier


def _rejected(name: str, row: int, field: str, value: str, reason: str, rule: str) -> RejectedInputError:
    return RejectedInputError(
        f"{name}, row {row}, {field}: '{value}' ({rule}).",
        reason=reason,
        value=value,
        hint="Ask finance for a corrected file; nothing of this one was taken.",
    )
