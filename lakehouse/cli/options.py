"""Options that several commands have, with what they refuse."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import typer

from lakehouse.errors import RejectedInputError


def month(text: str) -> str:
    """A month as YYYY-MM.

    Raises:
        typer.BadParameter: it is none.
    """
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise typer.BadParameter(f"'{text}' is no month; write YYYY-MM, as in 2026-10")
    return text


def moment_given(text: str, *, hint: str) -> datetime:
    """A moment as an option gives it: a date, which is its first moment in UTC, or a moment with its offset from UTC.

    Raises:
        RejectedInputError: it is neither; `hint` shows the option as it should be.
    """
    from lakehouse.domain.catalog.deliveries.messages import moment

    try:
        return moment(text)
    except ValueError as error:
        raise RejectedInputError(f"{error}.", reason="bad_argument", value=text, hint=hint) from error


Period = Annotated[str, typer.Option("--period", callback=month, help="Month (UTC), YYYY-MM.")]
