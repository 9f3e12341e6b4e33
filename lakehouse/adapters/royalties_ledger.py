"""The payout ledger in PostgreSQL: periods, settlements, double entry, adjustments. Rows are added, never changed.

The database itself holds the rules (royalties_migrations): the order of a period's steps, that only what was approved
is booked, that debits equal credits, that nothing is updated or deleted. The program signs in as a clerk who may read
and insert, and no more. Money is in minor units of the currency beside it; debits are above zero, credits below.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lakehouse.adapters import migrations
from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError, RejectedInputError, RetryableError

SCHEMA = "ledger"
MIGRATIONS = Path(__file__).with_name("royalties_migrations")
#: SQLSTATEs that the ledger's triggers raise, and the reason codes they mean.
REASONS = {"WH001": "wrong_step", "WH002": "bad_booking", "WH003": "bad_adjustment", "WH004": "append_only"}


class NoLedgerError(FatalError):
    """The payout ledger was never made."""


@dataclass(frozen=True)
class Posting:
    """One side of a booking: minor units of `currency` on `account`, for a payee under a clause of an agreement."""

    account: str
    payee_id: str
    agreement_id: str
    clause: str
    kind: str
    currency: str
    amount_minor: int
    refers_to: str | None = None


@dataclass(frozen=True)
class Correction:
    """What a line of the closed `from_period` should have been more (or less), entered into a period still open."""

    into_period: str
    from_period: str
    from_digest: str
    to_digest: str
    corrects: str
    country: str
    tier: str
    currency: str
    agreement_id: str
    payee_id: str
    account: str
    amount_minor: int
    reason: str
    round: int


@dataclass(frozen=True)
class Restated:
    """Restatement `round` of the closed `period`: what it was closed as, and what it was computed again as.

    The latter's contracts and rates are those by which the month's accounts stand until the next restatement.
    `sequence` is the place among all restatements, from 1: accounts of one month follow from those of others.
    """

    sequence: int
    period: str
    round: int
    from_digest: str
    to_digest: str


@dataclass(frozen=True)
class AccountCorrection:
    """What an entry on an account of the closed `of_period`, or what it carries, should have been more (or less).

    Entered into a period still open, by restatement `round` of `from_period`, which is `of_period` or one before it.
    `by_digest` is the settlement of `of_period` by whose contracts and rates its accounts stand; `sequence` is the
    place among all that were entered, 0 of one that isn't yet.
    """

    into_period: str
    from_period: str
    round: int
    of_period: str
    by_digest: str
    agreement_id: str
    payee_id: str
    kind: str
    refers_to: str
    clause: str
    currency: str
    amount_minor: int
    reason: str
    sequence: int = 0


@dataclass(frozen=True)
class PeriodState:
    """Where a period stands; `digest` is the SHA-256 of the settlement it was calculated as, None while open."""

    period: str
    state: str
    digest: str | None
    decided_by: str


@dataclass(frozen=True)
class Step:
    """A step that `period` took: the state it reached, as which settlement, who decided it, and when (UTC)."""

    state: str
    digest: str | None
    decided_by: str
    recorded_at: datetime


def migrate(settings: Settings) -> list[str]:
    """Bring the schema to the newest revision; returns the revisions that were applied, none when it was there.

    Raises:
        RetryableError: PostgreSQL does not answer.
    """
    engine = sa.create_engine(settings.postgres.url("royalties"), hide_parameters=True)
    try:
        with _connected(engine, settings) as connection:
            return migrations.upgrade(connection, MIGRATIONS, SCHEMA)
    finally:
        engine.dispose()


@contextmanager
def _connected(engine: sa.Engine, settings: Settings) -> Iterator[sa.Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except sa.exc.OperationalError as error:
        raise RetryableError(
            f"The payout ledger at {settings.postgres.address} does not answer.",
            hint="`wavehouse status` shows whether PostgreSQL runs; `wavehouse up --only lake` starts it.",
        ) from error
    except sa.exc.DBAPIError as error:
        state = getattr(error.orig, "sqlstate", "") or ""
        if state == "23505":  # unique_violation: two clerks at the same step
            raise RetryableError(
                "Somebody else wrote the same to the payout ledger meanwhile.", hint="Look at it and try again."
            ) from error
        if state in REASONS:
            what = str(error.orig).splitlines()[0]
            raise RejectedInputError(
                f"The payout ledger refuses: {what}.",
                reason=REASONS[state],
                hint="`wavehouse royalties periods` shows where each period stands; nothing was changed.",
            ) from error
        if state in {"42P01", "3F000"}:  # undefined table or schema
            raise NoLedgerError(
                "The payout ledger has no tables yet.", hint="Make them with `wavehouse royalties migrate`."
            ) from error
        raise


class Ledger:
    """The ledger as its clerk sees it. Use as a context manager; connects when first used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = sa.create_engine(
            settings.postgres.url("royalties", role="royalties_clerk"),
            pool_size=1,
            hide_parameters=True,
            connect_args={"connect_timeout": 5, "application_name": "wavehouse", "options": "-c timezone=UTC"},
        )

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: committed at the end, rolled back by an error.

        Raises:
            RejectedInputError: what was to be written breaks a rule of the ledger (`REASONS`).
            RetryableError: PostgreSQL does not answer.
            FatalError: the ledger has no tables yet.
        """
        with _connected(self._engine, self._settings) as connection:
            yield connection

    def periods(self) -> list[PeriodState]:
        """Every period the ledger knows, oldest first."""
        query = """select distinct on (period) period, state, digest, decided_by from ledger.step
            order by period, sequence desc"""
        with self.begin() as connection:
            return [PeriodState(*row) for row in connection.execute(sa.text(query))]

    def steps(self, period: str) -> list[Step]:
        """Every step of `period`, in order; none is ever taken back."""
        query = sa.text("""select state, digest, decided_by, recorded_at from ledger.step
            where period = :period order by sequence""")
        with self.begin() as connection:
            return [Step(*row) for row in connection.execute(query, {"period": period})]

    def state(self, period: str) -> PeriodState:
        """Where `period` stands; one that nobody has touched is open."""
        known = {entry.period: entry for entry in self.periods()}
        return known.get(period, PeriodState(period, "open", None, ""))

    def calculate(self, period: str, document: bytes, digest: str, inputs: Mapping[str, Any], *, by: str) -> bool:
        """Keep a settlement as what `period` amounts to. False when it was the last calculated one already.

        Raises:
            RejectedInputError: `wrong_step` when the period is approved or closed.
        """
        with self.begin() as connection:
            _lock(connection, period)
            number, state, before = _last(connection, period)
            if (state, before) == ("calculated", digest):
                return False
            _put_settlement(connection, period, document, digest, inputs)
            if not state:
                _step(connection, period, 1, "open", None, by)
                number = 1
            _step(connection, period, number + 1, "calculated", digest, by)
        return True

    def approve(self, period: str, digest: str, *, by: str) -> bool:
        """Somebody (`by`) answers for the settlement `digest` of `period`. False when it is approved already.

        Raises:
            RejectedInputError: `wrong_step` when the period was calculated as another settlement, or not at all.
        """
        with self.begin() as connection:
            _lock(connection, period)
            number, state, before = _last(connection, period)
            if (state, before) == ("approved", digest):
                return False
            _step(connection, period, number + 1, "approved", digest, by)
        return True

    def reopen(self, period: str, *, by: str) -> None:
        """The figures of `period` are not accepted: it is open again.

        Raises:
            RejectedInputError: `wrong_step` when there is nothing calculated, or the period is closed.
        """
        with self.begin() as connection:
            _lock(connection, period)
            number, _, _ = _last(connection, period)
            _step(connection, period, number + 1, "open", None, by)

    def close(self, period: str, postings: Sequence[Posting], *, by: str) -> int:
        """Book the approved settlement of `period` and close it, both or neither; returns the number of the booking.

        Raises:
            RejectedInputError: `wrong_step` when the period is not approved (closed included), `bad_booking` when
                debits and credits differ.
        """
        with self.begin() as connection:
            _lock(connection, period)
            number, state, digest = _last(connection, period)
            if state != "approved":
                raise RejectedInputError(
                    f"The period {period} is {state or 'open'}; only an approved one can be closed.",
                    reason="wrong_step",
                    value=state,
                    hint="Order: run, approve, close. A closed period is corrected with `wavehouse royalties restate`.",
                )
            booked = sa.text(
                "insert into ledger.transaction (period, digest) values (:period, :digest) returning transaction_id"
            )
            transaction: int = connection.execute(booked, {"period": period, "digest": digest}).scalar_one()
            if postings:
                columns = list(zip(*map(astuple, postings), strict=True))
                names = [f"c{index}" for index in range(len(columns))]
                # One statement: the ledger balances each by itself.
                insert = sa.text(f"""insert into ledger.entry
                    (transaction_id, entry_no, account, payee_id, agreement_id, clause, kind, currency, amount_minor,
                     refers_to)
                    select :transaction, r.n, r.c0, r.c1, r.c2, r.c3, r.c4, r.c5, r.c6, r.c7
                    from unnest(cast(:c0 as text[]), cast(:c1 as text[]), cast(:c2 as text[]), cast(:c3 as text[]),
                        cast(:c4 as text[]), cast(:c5 as text[]), cast(:c6 as bigint[]), cast(:c7 as text[]))
                        with ordinality as r ({", ".join(names)}, n)""")  # noqa: S608 - names made above
                values = {name: list(column) for name, column in zip(names, columns, strict=True)}
                connection.execute(insert, {"transaction": transaction, **values})
            _step(connection, period, number + 1, "closed", digest, by)
        return transaction

    def correct(
        self,
        restated: Restated,
        corrections: Iterable[Correction],
        accounts: Iterable[AccountCorrection] = (),
        *,
        document: bytes,
        inputs: Mapping[str, Any],
    ) -> None:
        """Enter what a closed period, computed again as `document`, differs by; nothing, perhaps, until others change.

        Raises:
            RejectedInputError: `bad_adjustment` when the period isn't closed, or the one they go into is approved.
            RetryableError: somebody else restated this or another period meanwhile.
        """
        restatement = sa.text("""insert into ledger.restatement values (:sequence, :period, :round, :from_digest,
            :to_digest)""")
        insert = sa.text("""insert into ledger.adjustment values (:into_period, :from_period, :from_digest, :to_digest,
            :corrects, :country, :tier, :currency, :agreement_id, :payee_id, :account, :amount_minor, :reason,
            :round)""")
        insert_of_account = sa.text("""insert into ledger.account_adjustment values (:into_period, :from_period, :round,
            :of_period, :by_digest, :agreement_id, :payee_id, :kind, :refers_to, :clause, :currency, :amount_minor,
            :reason)""")
        with self.begin() as connection:
            _put_settlement(connection, restated.period, document, restated.to_digest, inputs)
            connection.execute(restatement, vars(restated))
            for correction in corrections:
                connection.execute(insert, vars(correction))
            for of_account in accounts:  # one by one: they are numbered in this order
                connection.execute(insert_of_account, vars(of_account))

    def corrections(self, *, into: str | None = None, of: str | None = None) -> list[Correction]:
        """Corrections that go into a period, or that are of one, in a stable order."""
        query = sa.text("""select * from ledger.adjustment
            where (into_period = :into or cast(:into as text) is null)
                and (from_period = :of or cast(:of as text) is null)
            order by from_period, round, corrects""")
        with self.begin() as connection:
            return [Correction(*row) for row in connection.execute(query, {"into": into, "of": of})]

    def account_corrections(self, *, into: str | None = None) -> list[AccountCorrection]:
        """Corrections of accounts in the order in which they were entered: those that go into a period, or all."""
        query = sa.text("""select * from ledger.account_adjustment
            where into_period = :into or cast(:into as text) is null order by sequence""")
        with self.begin() as connection:
            return [AccountCorrection(*row) for row in connection.execute(query, {"into": into})]

    def restatements(self) -> list[Restated]:
        """All restatements, in order."""
        with self.begin() as connection:
            query = sa.text("select * from ledger.restatement order by sequence")
            return [Restated(*row) for row in connection.execute(query)]

    def settlement(self, digest: str) -> tuple[bytes, dict[str, Any]]:
        """A settlement as it was kept, byte for byte, and the inputs it was computed from.

        Raises:
            FatalError: there is none of this digest.
        """
        query = sa.text("select document, inputs from ledger.settlement where digest = :digest")
        with self.begin() as connection:
            row = connection.execute(query, {"digest": digest}).one_or_none()
        if row is None:
            raise FatalError(f"There is no settlement {digest}.", hint="`wavehouse royalties periods` lists them.")
        return bytes(row.document), dict(row.inputs)

    def put_book(self, document: bytes) -> str:
        """Keep a book of contracts, unless it is kept already; returns the SHA-256 that names it."""
        insert = sa.text("""insert into ledger.book (sha256, document) values (:sha256, :document)
            on conflict (sha256) do nothing""")
        sha256 = hashlib.sha256(document).hexdigest()
        with self.begin() as connection:
            connection.execute(insert, {"sha256": sha256, "document": document})
        return sha256

    def book(self, sha256: str) -> bytes:
        """A book of contracts as it was kept.

        Raises:
            FatalError: there is none of this name.
        """
        query = sa.text("select document from ledger.book where sha256 = :sha256")
        with self.begin() as connection:
            document = connection.execute(query, {"sha256": sha256}).scalar_one_or_none()
        if document is None:
            raise FatalError(f"There is no book {sha256}.", hint="`wavehouse royalties periods` lists settlements.")
        return bytes(document)

    def entries(self, period: str) -> list[dict[str, Any]]:
        """The entries of the booking of `period`, in order."""
        query = sa.text("""select entry.* from ledger.entry inner join ledger.transaction using (transaction_id)
            where period = :period order by transaction_id, entry_no""")
        with self.begin() as connection:
            return [dict(row) for row in connection.execute(query, {"period": period}).mappings()]

    def balances(self) -> list[tuple[str, str, int]]:
        """Sum of each account by currency: (account, currency, minor units)."""
        query = sa.text("""select account, currency, cast(sum(amount_minor) as bigint) from ledger.entry
            group by account, currency order by account, currency""")
        with self.begin() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def _lock(connection: sa.Connection, period: str) -> None:
    connection.execute(
        sa.text("select pg_advisory_xact_lock(hashtext('ledger period ' || :period))"), {"period": period}
    )


def _last(connection: sa.Connection, period: str) -> tuple[int, str, str | None]:
    query = sa.text("select sequence, state, digest from ledger.step where period = :p order by sequence desc limit 1")
    row = connection.execute(query, {"p": period}).one_or_none()
    return (row.sequence, row.state, row.digest) if row else (0, "", None)


def _step(connection: sa.Connection, period: str, sequence: int, state: str, digest: str | None, by: str) -> None:
    insert = sa.text("""insert into ledger.step (period, sequence, state, digest, decided_by)
        values (:period, :sequence, :state, :digest, :by)""")
    values = {"period": period, "sequence": sequence, "state": state, "digest": digest, "by": by}
    connection.execute(insert, values)


def _put_settlement(
    connection: sa.Connection, period: str, document: bytes, digest: str, inputs: Mapping[str, Any]
) -> None:
    insert = sa.text("""insert into ledger.settlement (digest, period, document, inputs)
        values (:digest, :period, :document, cast(:inputs as jsonb)) on conflict (digest) do nothing""")
    values = {"digest": digest, "period": period, "document": document, "inputs": json.dumps(inputs, sort_keys=True)}
    connection.execute(insert, values)
