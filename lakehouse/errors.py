"""The error tree. Every error a user can cause or meet is a ``WavehouseError``.

WavehouseError            carries a message (what is wrong) and a hint (what to do)
├── RetryableError        the same call may succeed later: an engine is starting, a connection dropped
├── FatalError            repeating it will not help: broken set-up, missing tool, inconsistent data
└── RejectedInputError    the input breaks a rule; it is kept with `reason`, never dropped
"""

from __future__ import annotations


class WavehouseError(Exception):
    """Root of all errors of the platform; shown to a user as one line and a hint, without a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RetryableError(WavehouseError):
    """A passing condition; the caller may try again."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class FatalError(WavehouseError):
    """A condition that stays until somebody changes something."""


class RejectedInputError(WavehouseError):
    """Input that breaks a rule. `reason` is the machine-readable code under which it is kept and counted."""

    exit_code = 65  # EX_DATAERR of sysexits.h

    def __init__(self, message: str, *, reason: str, value: object = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.value = value
