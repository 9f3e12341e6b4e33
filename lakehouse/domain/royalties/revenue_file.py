"""The file in which finance delivers a month of revenue: comma-separated, a header, a line a market and product,
and a trailer with the number of lines and a control total of each column of amounts, whatever their currencies.

    period,country,tier,currency,subscription_minor,advertising_minor,taxes_minor,fees_minor,subscribers
    2026-10,DE,free,EUR,0,1200,0,0,0
    2026-10,DE,premium,EUR,140000,0,22353,3423,101
    total,,,2,140000,1200,22353,3423,101

Products (`tier`) are those of products.yaml. A market has one line a product, so one currency a product and month; that
all its products have the same one, month after month, is held by the audit. Net revenue is not delivered but follows:
subscriptions and advertising less taxes and fees (`pools.Revenue`). The file is taken as a whole or not at all. Whether
its figures are likely is not asked here but by the audit.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import fields

from lakehouse.domain.royalties.iso import COUNTRIES, DECIMALS
from lakehouse.domain.royalties.pools import PoolKey, Revenue
from lakehouse.domain.royalties.products import tiers
from lakehouse.errors import RejectedInputError

TRAILER = "total"
KEY = [field.name for field in fields(PoolKey)]
AMOUNTS = [field.name for field in fields(Revenue) if field.name != "key"]
HEADER = [*KEY, *AMOUNTS]
#: What finance delivered before revenue came in its parts.
OLD_HEADER = [*KEY, "revenue_minor"]
_PERIOD = re.compile(r"20\d\d-(0[1-9]|1[0-2])")
_AMOUNT = re.compile(r"-?\d{1,18}")


def as_row(line: Revenue) -> dict[str, str | int]:
    """The columns of a line by name, in the order of the header."""
    return {**vars(line.key), **{name: getattr(line, name) for name in AMOUNTS}}


def render(lines: Iterable[Revenue]) -> str:
    """The file that carries `lines`, in order of their pool."""
    ordered = sorted(lines)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(as_row(line).values() for line in ordered)
    writer.writerow([TRAILER, "", "", len(ordered), *_totals(ordered).values()])
    return text.getvalue()


def parse(text: str, *, name: str) -> list[Revenue]:
    """The lines of a delivered file; `name` is the file's, for the message.

    Raises:
        RejectedInputError: with the file, row and field in the message, the text of the field as its value, and the
            reason: old_form, bad_header, bad_row, missing_trailer, bad_period, several_periods, unknown_country,
            unknown_tier, unknown_currency, bad_amount, negative_amount, negative_net, duplicate_line,
            row_count_mismatch, control_total_mismatch.
    """
    rows = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"))) if row]
    if rows and rows[0] == OLD_HEADER:
        raise _rejected(
            name,
            1,
            "header",
            ",".join(rows[0]),
            "old_form",
            f"one net figure a line is no longer taken; deliver its parts: {','.join(AMOUNTS)}",
        )
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
    lines: list[Revenue] = []
    seen: set[tuple[str, str]] = set()
    for number, row in enumerate(rows[1:-1], start=2):
        line = _line(name, number, row)
        key = line.key
        if lines and key.period != lines[0].key.period:
            raise _rejected(name, number, "period", key.period, "several_periods", "a file holds one month")
        if (key.country, key.tier) in seen:
            raise _rejected(name, number, "country", key.country, "duplicate_line", "this market and tier came before")
        seen.add((key.country, key.tier))
        lines.append(line)
    _check_trailer(name, len(rows), rows[-1], lines)
    return lines


def _line(name: str, number: int, row: list[str]) -> Revenue:
    if len(row) != len(HEADER):
        raise _rejected(name, number, "row", ",".join(row), "bad_row", f"must have {len(HEADER)} fields")
    period, country, tier, currency, *amounts = row
    checks = [
        ("period", period, _PERIOD.fullmatch(period), "bad_period", "must be a month as YYYY-MM"),
        ("country", country, country in COUNTRIES, "unknown_country", "must be an ISO 3166-1 alpha-2 code"),
        ("tier", tier, tier in tiers(), "unknown_tier", f"must be one of {', '.join(tiers())}"),
        ("currency", currency, currency in DECIMALS, "unknown_currency", "must be an ISO 4217 code"),
    ]
    for field, value in zip(AMOUNTS, amounts, strict=True):
        unit = "number" if field == "subscribers" else "number of minor units"
        checks += [
            (field, value, _AMOUNT.fullmatch(value), "bad_amount", f"must be a whole {unit}"),
            (field, value, not value.startswith("-"), "negative_amount", "must not be below zero"),
        ]
    for field, value, is_good, reason, rule in checks:
        if not is_good:
            raise _rejected(name, number, field, value, reason, rule)
    line = Revenue(PoolKey(period, country, tier, currency), *map(int, amounts))
    if line.net_minor < 0:
        raise _rejected(name, number, "net", str(line.net_minor), "negative_net", "taxes and fees exceed the revenue")
    return line


def _totals(lines: Iterable[Revenue]) -> dict[str, int]:
    kept = list(lines)
    return {name: sum(getattr(line, name) for line in kept) for name in AMOUNTS}


def _check_trailer(name: str, number: int, row: list[str], lines: list[Revenue]) -> None:
    if len(row) != len(HEADER) or row[1:3] != ["", ""]:
        rule = f"must be {TRAILER},,,<lines>, and the sum of each of {','.join(AMOUNTS)}"
        raise _rejected(name, number, "trailer", ",".join(row), "bad_row", rule)
    checks = [("line count", row[3], len(lines), "row_count_mismatch")]
    checks += [
        (f"control total of {column}", value, total, "control_total_mismatch")
        for (column, total), value in zip(_totals(lines).items(), row[4:], strict=True)
    ]
    for field, value, actual, reason in checks:
        if value != str(actual):
            raise _rejected(name, number, field, value, reason, f"the lines above give {actual}")


def _rejected(name: str, row: int, field: str, value: str, reason: str, rule: str) -> RejectedInputError:
    return RejectedInputError(
        f"{name}, row {row}, {field}: '{value}' ({rule}).",
        reason=reason,
        value=value,
        hint="Ask finance for a corrected file; nothing of this one was taken.",
    )
