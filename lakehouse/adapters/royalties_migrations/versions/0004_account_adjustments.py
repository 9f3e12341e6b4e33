"""Corrections of accounts of a closed month are entered into an open one, as guarded as those of its lines."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and hold a month to every adjustment of accounts as well."""
    op.execute("""
        create table ledger.restatement (
            -- two that were computed at once can't both be the next: accounts of one month follow from those of others
            sequence integer primary key check (sequence > 0),
            period ledger.month not null,
            round integer not null check (round > 0),
            from_digest text not null references ledger.settlement,
            to_digest text not null references ledger.settlement,
            unique (period, round)
        )""")
    op.execute("""
        insert into ledger.restatement
        select row_number() over (order by from_period, round), from_period, round, from_digest, to_digest
        from (select distinct from_period, round, from_digest, to_digest from ledger.adjustment) as made""")
    op.execute("""
        create table ledger.account_adjustment (
            into_period ledger.month,
            from_period ledger.month,
            round integer,
            -- the month whose account is corrected, `from_period` or a later one, and the settlement whose contracts
            -- say so
            of_period ledger.month,
            by_digest text not null references ledger.settlement,
            agreement_id text,
            payee_id text,
            -- of the entry that is corrected, or what is carried: unrecouped, deficit, earned, reserve
            kind text,
            refers_to text,
            clause text not null,
            currency text not null check (currency ~ '^[A-Z]{3}$'),
            amount_minor bigint not null check (amount_minor <> 0),
            reason text not null check (reason <> ''),
            sequence bigint generated always as identity,
            primary key (from_period, round, of_period, agreement_id, payee_id, kind, refers_to),
            foreign key (from_period, round) references ledger.restatement (period, round),
            check (into_period > of_period and of_period >= from_period)
        )""")
    op.execute("""
        create function ledger.check_restatement() returns trigger language plpgsql as $$
        begin
            if ledger.state(new.period) is distinct from 'closed' then
                raise exception 'period % is not closed: calculate it again instead', new.period
                    using errcode = 'WH003';
            end if;
            return new;
        end $$""")
    op.execute("""
        create trigger of_a_closed_period before insert on ledger.restatement
        for each row execute function ledger.check_restatement()""")
    op.execute("""
        create trigger into_an_open_period before insert on ledger.account_adjustment
        for each row execute function ledger.check_adjustment()""")
    for table in ("restatement", "account_adjustment"):
        op.execute(f"grant select, insert on ledger.{table} to royalties_clerk")
        op.execute(
            f"create trigger append_only before update or delete or truncate on ledger.{table} "
            "for each statement execute function ledger.refuse()"
        )
    op.execute("""
        create function ledger.check_account_adjustments_taken() returns trigger language plpgsql as $$
        begin
            perform pg_advisory_xact_lock(hashtext('ledger period ' || new.period));
            if exists (
                with entered as (
                    select cast(of_period as text) as of_period, agreement_id, payee_id, kind, refers_to, amount_minor
                    from ledger.account_adjustment
                    where into_period = new.period
                ),
                taken as (
                    select item ->> 'of_period' as of_period, item ->> 'agreement_id' as agreement_id,
                        item ->> 'payee_id' as payee_id, item ->> 'kind' as kind, item ->> 'refers_to' as refers_to,
                        cast(item ->> 'amount_minor' as bigint) as amount_minor
                    from ledger.settlement,
                        jsonb_array_elements(coalesce(settlement.inputs -> 'account_adjustments', '[]')) as item
                    where digest = new.digest
                )
                (table entered except all table taken) union all (table taken except all table entered)
            ) then
                raise exception 'settlement % of % lacks adjustments of accounts that are entered: calculate it again',
                    new.digest, new.period using errcode = 'WH001';
            end if;
            return new;
        end $$""")
    # After the order of steps, by its name.
    op.execute("""
        create trigger with_every_account_adjustment before insert on ledger.step
        for each row when (new.state in ('approved', 'closed'))
        execute function ledger.check_account_adjustments_taken()""")
