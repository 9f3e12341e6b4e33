"""The payout ledger: periods and their steps, settlements, balanced transactions, adjustments. Nothing is ever changed.

What must hold is held here by the database, not by the program that writes: whoever signs in as the clerk can only
add rows, and only rows that keep the rules. Money is in minor units; an entry is a debit above zero, a credit below.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
create domain ledger.month as text check (value ~ '^20[0-9][0-9]-(0[1-9]|1[0-2])$');

create table ledger.settlement (
    digest text primary key,
    period ledger.month not null,
    document bytea not null,
    inputs jsonb not null,
    check (digest = encode(sha256(document), 'hex'))
);

create table ledger.step (
    period ledger.month,
    sequence integer check (sequence > 0),
    state text not null check (state in ('open', 'calculated', 'approved', 'closed')),
    digest text references ledger.settlement,
    decided_by text not null check (decided_by <> ''),
    recorded_at timestamptz not null default transaction_timestamp(),
    primary key (period, sequence),
    check ((state = 'open') = (digest is null))
);

create table ledger.transaction (
    transaction_id bigint generated always as identity primary key,
    period ledger.month not null,
    digest text not null unique references ledger.settlement,
    made_in xid8 not null default pg_current_xact_id()
);

create table ledger.entry (
    transaction_id bigint references ledger.transaction,
    entry_no integer check (entry_no > 0),
    account text not null check (account in (
        'royalty_expense', 'payee', 'reserve', 'advance', 'withholding_tax', 'suspense', 'deficit', 'cash'
    )),
    payee_id text not null,
    agreement_id text not null,
    clause text not null,
    kind text not null,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint not null check (amount_minor <> 0),
    refers_to text,
    primary key (transaction_id, entry_no)
);
create index on ledger.entry (payee_id, currency);

create table ledger.adjustment (
    into_period ledger.month,
    from_period ledger.month,
    from_digest text references ledger.settlement,
    to_digest text references ledger.settlement,
    corrects text,
    -- of the pool that the line drew on; the amount is in its currency
    country text not null,
    tier text not null,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    agreement_id text not null,
    payee_id text not null,
    account text not null check (account in ('payable', 'dispute', 'unclaimed')),
    amount_minor bigint not null check (amount_minor <> 0),
    reason text not null check (reason <> ''),
    -- how often the period was restated, this time included: two at once can't both be the next
    round integer check (round > 0),
    primary key (from_period, round, corrects),
    check (into_period > from_period)
);
"""

STATE = """
create function ledger.state(ledger.month) returns text language sql stable as $$
    select state from ledger.step where period = $1 order by sequence desc limit 1
$$;
"""

STEPS = """
create function ledger.check_step() returns trigger language plpgsql as $$
declare
    before ledger.step;
begin
    perform pg_advisory_xact_lock(hashtext('ledger period ' || new.period));
    select * into before from ledger.step where period = new.period order by sequence desc limit 1;
    if new.sequence <> coalesce(before.sequence, 0) + 1 then
        raise exception 'step % of % is not the next one', new.sequence, new.period using errcode = 'WH001';
    end if;
    if (coalesce(before.state, ''), new.state) not in (
        ('', 'open'), ('open', 'calculated'), ('calculated', 'calculated'), ('calculated', 'open'),
        ('approved', 'open'), ('calculated', 'approved'), ('approved', 'closed')
    ) then
        raise exception 'period % is %, it can''t become %', new.period, coalesce(before.state, 'unknown'), new.state
            using errcode = 'WH001';
    end if;
    if new.state in ('approved', 'closed') and new.digest <> before.digest then
        raise exception 'period % was calculated as %, not as %', new.period, before.digest, new.digest
            using errcode = 'WH001';
    end if;
    if new.digest is not null
            and (select period from ledger.settlement where digest = new.digest) <> new.period then
        raise exception 'settlement % is of another period', new.digest using errcode = 'WH001';
    end if;
    if new.state = 'closed' and not exists (
        select from ledger.transaction where period = new.period and digest = new.digest
    ) then
        raise exception 'settlement % of % is not booked', new.digest, new.period using errcode = 'WH001';
    end if;
    return new;
end $$;
create trigger the_next_step before insert on ledger.step for each row execute function ledger.check_step();
"""

BOOKING = """
create function ledger.check_transaction() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtext('ledger period ' || new.period));
    if new.made_in <> pg_current_xact_id() then
        raise exception 'made_in is the transaction that inserts' using errcode = 'WH002';
    end if;
    if not exists (
        select from ledger.step where period = new.period and state = 'approved' and digest = new.digest
    ) or ledger.state(new.period) is distinct from 'approved' then
        raise exception 'only an approved settlement is booked, and % is %', new.period, ledger.state(new.period)
            using errcode = 'WH002';
    end if;
    return new;
end $$;
create trigger of_an_approved_period before insert on ledger.transaction
    for each row execute function ledger.check_transaction();

-- Each statement that inserts entries is balanced by itself and belongs to a transaction made beside it. A deferred
-- constraint would say the same at commit, but `set constraints all immediate` lets later rows slip past it.
create function ledger.check_entries() returns trigger language plpgsql as $$
declare
    wrong text;
begin
    if exists (
        select from made inner join ledger.transaction using (transaction_id) where made_in <> pg_current_xact_id()
    ) then
        raise exception 'a transaction that is complete takes no more entries' using errcode = 'WH002';
    end if;
    select string_agg(transaction_id || ' ' || currency || ' ' || total, ', ') into wrong from (
        select transaction_id, currency, sum(amount_minor) as total from made
        group by transaction_id, currency having sum(amount_minor) <> 0
    ) as sums;
    if wrong is not null then
        raise exception 'debits and credits differ: %', wrong using errcode = 'WH002';
    end if;
    return null;
end $$;
create trigger balanced after insert on ledger.entry
    referencing new table as made for each statement execute function ledger.check_entries();

create function ledger.check_adjustment() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtext('ledger period ' || new.into_period));
    if ledger.state(new.from_period) is distinct from 'closed' then
        raise exception 'period % is not closed: calculate it again instead', new.from_period using errcode = 'WH003';
    end if;
    if coalesce(ledger.state(new.into_period), 'open') not in ('open', 'calculated') then
        raise exception 'period % takes no adjustments any more', new.into_period using errcode = 'WH003';
    end if;
    return new;
end $$;
create trigger into_an_open_period before insert on ledger.adjustment
    for each row execute function ledger.check_adjustment();
"""

APPEND_ONLY = """
create function ledger.refuse() returns trigger language plpgsql as $$
begin
    raise exception 'the ledger is append-only: % on % is refused', tg_op, tg_table_name using errcode = 'WH004';
end $$;
"""


def upgrade() -> None:
    """Create the tables, the rules and the clerk's rights."""
    for part in (TABLES, STATE, STEPS, BOOKING, APPEND_ONLY):
        op.execute(part)
    op.execute("grant usage on schema ledger to royalties_clerk")
    for table in ("settlement", "step", "transaction", "entry", "adjustment"):
        op.execute(f"grant select, insert on ledger.{table} to royalties_clerk")
        op.execute(
            f"create trigger append_only before update or delete or truncate on ledger.{table} "
            "for each statement execute function ledger.refuse()"
        )
