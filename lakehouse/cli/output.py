"""What a command shows: `Output` is rich text for people or, with `--json`, one JSON document on standard output.

Progress and messages always go to standard error, so that standard output stays clean for pipes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def duration(span: timedelta) -> str:
    """A span of time (not negative) in its two largest units: `3 h 12 min`; what is smaller is cut off."""
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    largest = next((place for place, (number, _) in enumerate(parts) if number), len(parts) - 1)
    first, *others = parts[largest : largest + 2]
    return " ".join(f"{number:,} {unit}" for number, unit in [first, *(part for part in others if part[0])])


class Output:
    """Collects the result of one command and prints it once, as a table or as JSON."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        # Without a terminal there is no width to keep to; 80 columns would only cut words.
        self._stdout = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)

    def step(self, text: str) -> None:
        """One line of progress."""
        self.console.print(f"[bold cyan]==>[/] {escape(text)}")

    def info(self, text: str) -> None:
        """A remark that is not part of the result."""
        self.console.print(text, markup=False)

    def error(self, message: str, hint: str = "") -> None:
        """What went wrong and what to do about it."""
        if self.as_json:
            sys.stdout.write(json.dumps({"error": message, "hint": hint}) + "\n")
            return
        self.console.print(f"[bold red]error:[/] {escape(message)}")
        if hint:
            self.console.print(f"  [yellow]try:[/] {escape(hint)}")

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A titled table; nothing in JSON mode (see `result`)."""
        if self.as_json:
            return
        # Titles and cells are data: a file called "[live].ogg" is not markup. A narrow terminal cuts none of it off.
        table = Table(title=escape(title), title_justify="left", title_style="bold")
        for column in columns:
            table.add_column(escape(column), overflow="fold")
        for row in rows:
            table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
        self._stdout.print(table)

    def result(self, values: Mapping[str, Any] | Sequence[Any]) -> None:
        """The command's result; printed in JSON mode only, where it is the one document."""
        if self.as_json:
            sys.stdout.write(json.dumps(values, default=str) + "\n")
