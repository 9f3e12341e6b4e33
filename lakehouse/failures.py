"""What becomes of exceptions that nothing translated: an engine that is away, or a defect of ours."""

from __future__ import annotations

import contextlib
import errno
import traceback
from collections.abc import Iterator

from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError, RejectedInputError, RetryableError, WavehouseError

#: Exceptions of drivers that say "the engine does not answer (now)". As names: importing drivers for an error is slow.
OUTAGES = frozenset(
    {
        "builtins.ConnectionError",
        "clickhouse_connect.driver.exceptions.OperationalError",
        "httpx.TransportError",
        "minio.error.ServerError",
        "psycopg.OperationalError",
        "psycopg2.OperationalError",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.TimeoutError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "sqlalchemy.exc.InterfaceError",
        "sqlalchemy.exc.OperationalError",
        "trino.exceptions.TrinoConnectionError",
        "urllib3.exceptions.HTTPError",
    }
)
#: The C++ file systems of Arrow and the drivers of the catalogue raise plain errors; these words are in their messages.
OUTAGE_WORDS = ("AWS Error", "Connection refused", "server closed the connection", "SERVER_STARTING_UP")


def translate(error: BaseException) -> WavehouseError:
    """The error to show for an exception that reached the top of a command.

    A passing outage may be tried again. Anything else is a defect: its traceback goes to a file, not to the user.
    """
    return surroundings(error) or defect(error)


def surroundings(error: BaseException) -> WavehouseError | None:
    """The error to show for an exception that what we run on caused, an engine or the disk; None for another."""
    if any(isinstance(cause, OSError) and cause.errno == errno.ENOSPC for cause in _causes(error)):
        return FatalError("The disk is full.", hint="`wavehouse doctor` says which; docs/runbooks says what may go.")
    if is_outage(error):
        return RetryableError(
            f"An engine does not answer: {_summary(error)}",
            hint="`wavehouse status` shows which; run the same command again when it is back.",
        )
    return None


def defect(error: BaseException) -> FatalError:
    """The error to show for a defect of ours, whose traceback is in `defects.log` then."""
    path = load_settings().run / "logs" / "defects.log"
    with contextlib.suppress(OSError):  # the user is told even where nothing can be written
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", errors="backslashreplace") as log:
            log.write("".join(traceback.format_exception(error)) + "\n")
    return FatalError(f"A defect of Wavehouse: {_summary(error)}", hint=f"Report it with the end of {path}.")


def refused(error: Exception) -> RejectedInputError:
    """Why a file is refused that raised `error`: the reason that it has, or `internal_error`, a defect of ours whose
    traceback is in `defects.log` then.

    Raises:
        WavehouseError: no matter of the file: an engine is away, the disk is full, something is not set up.
    """
    if isinstance(error, RejectedInputError):
        return error
    if isinstance(error, WavehouseError):
        raise error
    if (outside := surroundings(error)) is not None:
        raise outside from error
    shown = defect(error)
    return RejectedInputError(shown.message, reason="internal_error", hint=shown.hint)


def _summary(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def is_outage(error: BaseException) -> bool:
    """Whether the exception, or one it came from, says that an engine is away."""
    return any(
        any(f"{kind.__module__}.{kind.__qualname__}" in OUTAGES for kind in type(cause).__mro__)
        or any(word in str(cause) for word in OUTAGE_WORDS)
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
