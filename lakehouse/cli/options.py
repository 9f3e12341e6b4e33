"""Options that several commands have, with what they refuse."""

from __future__ import annotations

import re
from typing import Annotated

import typer


def month(text: str) -> str:
    """A month as YYYY-MM.

    Raises:
        typer.BadParameter: it is none.
    """
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise typer.BadParameter(f"'{text}' is no month; write YYYY-MM, as in 2026-10")
    return text


Period = Annotated[str, typer.Option("--period", callback=month, help="Month (UTC), YYYY-MM.")]
