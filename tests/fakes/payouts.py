"""The payout ledger in memory, with the months that a test gives it; of PostgreSQL's rules it has none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from lakehouse.adapters.royalties import Inputs, _dump
from lakehouse.adapters.royalties_ledger import AccountCorrection, Correction, PeriodState, Posting, Restated
from lakehouse.domain.royalties.settlement import Settlement


class MemoryLedger:
    """Stands for `royalties_ledger.Ledger`; opened any number of times it is the same one."""

    def __init__(self, book: bytes = b"") -> None:
        self.states: dict[str, PeriodState] = {}
        self.kept: dict[str, tuple[bytes, dict[str, Any]]] = {}
        self.entered: list[Correction] = []
        self.entered_of_accounts: list[AccountCorrection] = []
        self.restated: list[Restated] = []
        self.booked: dict[str, Sequence[Posting]] = {}
        self._book = book
        self._books: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def put(self, settlement: Settlement, inputs: Inputs, state: str) -> None:
        """A month that is `state` as this settlement."""
        self.calculate(inputs.period, settlement.to_json(), settlement.digest(), _dump(inputs), by="run")
        self._step(inputs.period, state)

    def _step(self, period: str, state: str) -> None:
        digest = None if state == "open" else self.states[period].digest
        self.states[period] = PeriodState(period, state, digest, "Ada")

    def periods(self) -> list[PeriodState]:
        return [self.states[period] for period in sorted(self.states)]

    def state(self, period: str) -> PeriodState:
        return self.states.get(period, PeriodState(period, "open", None, ""))

    def calculate(self, period: str, document: bytes, digest: str, inputs: Mapping[str, Any], *, by: str) -> bool:
        self.kept.setdefault(digest, (document, dict(inputs)))
        self.states[period] = PeriodState(period, "calculated", digest, by)
        return True

    def approve(self, period: str, digest: str, *, by: str) -> bool:
        assert digest == self.states[period].digest
        self._step(period, "approved")
        return bool(by)

    def reopen(self, period: str, *, by: str) -> None:
        assert by
        self._step(period, "open")

    def close(self, period: str, postings: Sequence[Posting], *, by: str) -> int:
        assert by
        self._step(period, "closed")
        self.booked[period] = postings
        return len(self.booked)

    def corrections(self, *, into: str | None = None, of: str | None = None) -> list[Correction]:
        return [row for row in self.entered if into in (None, row.into_period) and of in (None, row.from_period)]

    def account_corrections(self, *, into: str | None = None) -> list[AccountCorrection]:
        return [row for row in self.entered_of_accounts if into in (None, row.into_period)]

    def restatements(self) -> list[Restated]:
        return list(self.restated)

    def correct(
        self,
        restated: Restated,
        corrections: Iterable[Correction],
        accounts: Iterable[AccountCorrection] = (),
        *,
        document: bytes,
        inputs: Mapping[str, Any],
    ) -> None:
        assert restated.sequence == len(self.restated) + 1
        self.kept.setdefault(restated.to_digest, (document, dict(inputs)))
        self.restated.append(restated)
        self.entered += corrections
        for row in accounts:
            self.entered_of_accounts.append(replace(row, sequence=len(self.entered_of_accounts) + 1))

    def settlement(self, digest: str) -> tuple[bytes, dict[str, Any]]:
        return self.kept[digest]

    def put_book(self, document: bytes) -> str:
        sha256 = hashlib.sha256(document).hexdigest()
        self._books[sha256] = document
        return sha256

    def book(self, sha256: str) -> bytes:
        """That of the months that a test gives, if it was never put here."""
        return self._books.get(sha256, self._book)
