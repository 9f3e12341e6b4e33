"""Files that a settlement takes in: the book of contracts and the exchange rates.

<home>/deliveries/royalties/contracts.yaml   the book, or contracts.json; its clauses are dated and versioned: it grows
<home>/deliveries/royalties/rates.csv        the rates, of every month that is settled or corrected
"""

from __future__ import annotations

import csv
import re
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from lakehouse.config.settings import Settings
from lakehouse.domain.royalties import contracts
from lakehouse.domain.royalties.iso import DECIMALS
from lakehouse.domain.royalties.pools import ExchangeRate
from lakehouse.errors import FatalError, RejectedInputError

BOOKS = ("contracts.yaml", "contracts.json")
RATE_COLUMNS = ["day", "base", "quote", "rate", "source"]
_DECIMAL = re.compile(r"\d{1,12}(\.\d{1,12})?")


def deliveries(settings: Settings) -> Path:
    """Where the book of contracts and the exchange rates are put."""
    return settings.home / "deliveries" / "royalties"


def delivered_book(settings: Settings) -> Path | None:
    """The book of contracts that was delivered, if one was.

    Raises:
        RejectedInputError: `two_books`, as YAML and as JSON.
    """
    found = [path for name in BOOKS if (path := deliveries(settings) / name).is_file()]
    if len(found) > 1:
        raise RejectedInputError(
            f"There are two books of contracts in {deliveries(settings)}: {' and '.join(BOOKS)}.",
            reason="two_books",
            value=str(deliveries(settings)),
            hint="Leave the one that counts.",
        )
    return found[0] if found else None


def delivered_rates(settings: Settings) -> Path | None:
    """The exchange rates that were delivered, if some were."""
    path = deliveries(settings) / "rates.csv"
    return path if path.is_file() else None


def read_book(path: Path) -> dict[str, Any]:
    """The book of contracts in `path`, as it is written.

    Raises:
        FatalError: there is no such file.
        RejectedInputError: `schema`, it isn't YAML or JSON. Its clauses are checked when it is used.
    """
    book: dict[str, Any] = contracts.parse(_text(path))
    return book


def read_rates(path: Path) -> list[ExchangeRate]:
    """The exchange rates in `path`.

    Raises:
        FatalError: there is no such file.
        RejectedInputError: with row and field: bad_header, bad_row, bad_day, unknown_currency, bad_rate.
    """
    rows = [row for row in csv.reader(_text(path).splitlines()) if row]
    if not rows or rows[0] != RATE_COLUMNS:
        raise _rejected(path, 1, "header", ",".join(rows[0]) if rows else "", "bad_header", ",".join(RATE_COLUMNS))
    found = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(RATE_COLUMNS):
            raise _rejected(path, number, "row", ",".join(row), "bad_row", f"must have {len(RATE_COLUMNS)} fields")
        day, base, quote, rate, source = row
        for field, value, is_good, reason, rule in (
            ("day", day, _is_day(day), "bad_day", "must be a date as YYYY-MM-DD"),
            ("base", base, base in DECIMALS, "unknown_currency", "must be an ISO 4217 code"),
            ("quote", quote, quote in DECIMALS, "unknown_currency", "must be an ISO 4217 code"),
            ("rate", rate, _DECIMAL.fullmatch(rate) and Fraction(rate) > 0, "bad_rate", "must be a number above zero"),
        ):
            if not is_good:
                raise _rejected(path, number, field, value, reason, rule)
        found.append(ExchangeRate(day, base, quote, Fraction(rate), source))
    return found


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FatalError(f"{path} can't be read: {error.strerror}.", hint="Give the path of a file.") from error
    except UnicodeDecodeError as error:
        raise RejectedInputError(
            f"{path.name}, byte {error.start}: not UTF-8.", reason="bad_encoding", hint="Save it as UTF-8."
        ) from error


def _rejected(path: Path, row: int, field: str, value: str, reason: str, rule: str) -> RejectedInputError:
    return RejectedInputError(
        f"{path.name}, row {row}, {field}: '{value}' ({rule}).",
        reason=reason,
        value=value,
        hint="Correct the file; nothing of it was taken, and the period stays as it was.",
    )
