"""What the service decides: whose token it is, how often it may ask, what becomes of a submission. Knows no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Protocol

from lakehouse.domain.listening.imports import Listen
from lakehouse.domain.listening.imports.submission import submission

#: Requests of one sender in a window of so many seconds.
REQUESTS, WINDOW_S = 50, 10


class Tokens(Protocol):
    """See `lakehouse.adapters.scrobble_tokens.Tokens`."""

    def user(self, token: str) -> int | None:
        """Listener of a valid token."""


class Sender(Protocol):
    """See `lakehouse.adapters.listen_sender.ListenSender`."""

    def send(self, user_id: int, listens: Sequence[Listen], received_at: datetime) -> int:
        """Returns when what is new is safe."""


@dataclass(frozen=True)
class Allowance:
    """What a sender may still do in the window that ends at `reset_at` (seconds since 1970)."""

    allowed: bool
    remaining: int
    reset_at: int


class RateLimit:
    """At most `REQUESTS` of each sender in each window, counted in this process: there is one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._window = 0
        self._asked: Counter[str] = Counter()

    def take(self, sender: str, at: datetime) -> Allowance:
        """Count one request that came at `at` (UTC)."""
        window = int(at.timestamp()) // WINDOW_S
        with self._lock:
            if window != self._window:
                self._window = window
                self._asked.clear()
            self._asked[sender] += 1
            asked = self._asked[sender]
        return Allowance(asked <= REQUESTS, max(0, REQUESTS - asked), (window + 1) * WINDOW_S)


class UnauthorizedError(Exception):
    """No token, or not a valid one."""


class ScrobbleService:
    """Answers of the service."""

    def __init__(self, *, tokens: Tokens, sender: Sender) -> None:
        self._tokens = tokens
        self._sender = sender

    def user(self, token: str) -> int | None:
        """Listener of `token`, or None.

        Raises:
            RetryableError: the tokens can't be read.
        """
        return self._tokens.user(token)

    def submit(self, token: str, body: bytes, received_at: datetime) -> None:
        """Take a submission whole, or not at all. What is playing now is judged and not kept.

        Raises:
            UnauthorizedError: the token is not valid.
            RejectedInputError: the submission breaks a rule.
            RetryableError: an engine is away; the player may send the same again, which doubles nothing.
        """
        user_id = self._tokens.user(token)
        if user_id is None:
            raise UnauthorizedError("The token is not valid.")
        sent = submission(body, received_at)
        if sent.listens:
            self._sender.send(user_id, sent.listens, received_at)
