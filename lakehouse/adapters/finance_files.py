"""The folder into which finance delivers its files, and what of them has been taken or refused.

<home>/deliveries/finance/revenue-2026-10.csv             a delivery; a later one of the month replaces it
<home>/deliveries/finance/revenue-2026-10.csv.rejected    why it was refused, as JSON; gone when the file is mended
<home>/truth/finance/revenue-2026-10.csv                  what the simulator knows to be right
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from lakehouse.adapters import lake
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.domain.royalties.pools import Revenue
from lakehouse.domain.royalties.revenue_file import as_row, parse, render
from lakehouse.errors import FatalError, RejectedInputError


def deliveries(settings: Settings) -> Path:
    """Where finance puts its files."""
    return settings.home / "deliveries" / "finance"


def delivery(settings: Settings, period: str) -> Path:
    """File of one month in that folder, delivered or not."""
    return deliveries(settings) / _name(period)


def _truth(settings: Settings) -> Path:
    return settings.home / "truth" / "finance"


def deliver(settings: Settings, period: str, lines: Iterable[Revenue]) -> Path:
    """Put the file of one month into the folder of deliveries."""
    return _write(delivery(settings, period), lines)


def deliver_truth(settings: Settings, lines: Iterable[Revenue]) -> list[Path]:
    """Deliver every month of `lines`, and keep a copy of what is right."""
    by_period: dict[str, list[Revenue]] = {}
    for line in lines:
        by_period.setdefault(line.key.period, []).append(line)
    for period, month in by_period.items():
        _write(_truth(settings) / _name(period), month)
    return [deliver(settings, period, month) for period, month in sorted(by_period.items())]


def read_truth(settings: Settings, period: str) -> list[Revenue]:
    """The right figures of a month.

    Raises:
        FatalError: none were simulated.
    """
    path = _truth(settings) / _name(period)
    if not path.is_file():
        known = ", ".join(sorted(p.stem.removeprefix("revenue-") for p in _truth(settings).glob("revenue-*.csv")))
        raise FatalError(
            f"There is no simulated revenue of {period}.",
            hint=f"Choose one of {known}." if known else "Run `wavehouse simulate revenue` first.",
        )
    return parse(path.read_text(), name=path.name)


def take(settings: Settings, path: Path) -> tuple[str, int, bool]:
    """Put a delivered file into `bronze.revenue` in place of what is there of its month.

    Returns the month, the number of lines, and whether they changed anything.

    Raises:
        RejectedInputError: the file breaks a rule (see `revenue_file.parse`) or is not named after its month; the
            reason is kept beside it.
    """
    verdict = path.with_name(path.name + ".rejected")
    try:
        lines = parse(_text(path), name=path.name)
        if not lines:
            raise RejectedInputError(
                f"{path.name} has no lines.", reason="no_lines", hint="Ask finance for a corrected file."
            )
        if path.name != (right := _name(lines[0].key.period)):
            # One name a month: of two files of a month, the order of the alphabet would decide who is paid what.
            raise RejectedInputError(
                f"{path.name} holds {lines[0].key.period}; a file of that month is called {right}.",
                reason="wrong_name",
                value=path.name,
                hint=f"A correction takes the place of the earlier file: deliver it as {right}.",
            )
    except RejectedInputError as error:
        verdict.write_text(json.dumps({"reason": error.reason, "message": error.message, "value": error.value}) + "\n")
        raise
    verdict.unlink(missing_ok=True)
    period = lines[0].key.period
    rows = [as_row(line) | {"revenue_minor": line.net_minor, "source_file": path.name} for line in lines]
    table = pa.Table.from_pylist(rows, schema=load("bronze.revenue").arrow_schema())
    return period, len(lines), lake.overwrite(settings, "bronze.revenue", table, where=f"period == '{period}'")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FatalError(f"There is no file {path}.", hint="Give the path of a delivered file.") from error
    except UnicodeDecodeError as error:
        raise RejectedInputError(
            f"{path.name} is not UTF-8 text (byte {error.start}).",
            reason="not_text",
            value=error.start,
            hint="Ask finance for the file as CSV in UTF-8.",
        ) from error


def _name(period: str) -> str:
    return f"revenue-{period}.csv"


def _write(path: Path, lines: Iterable[Revenue]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(render(lines), encoding="utf-8")
    return draft.replace(path)
