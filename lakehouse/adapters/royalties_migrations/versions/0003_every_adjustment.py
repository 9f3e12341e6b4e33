"""A month is approved and closed with every adjustment that was entered into it, or not at all."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Compare what a settlement took in with what is entered, at each step that makes it final.

    Adjustments may be entered while a month is calculated. Closed without them they would be lost, as restatements take
    what is entered for booked. The lock is the one that entering them takes too.
    """
    op.execute("""
        create function ledger.check_adjustments_taken() returns trigger language plpgsql as $$
        begin
            perform pg_advisory_xact_lock(hashtext('ledger period ' || new.period));
            if exists (
                with entered as (
                    select cast(from_period as text) as from_period, corrects, amount_minor from ledger.adjustment
                    where into_period = new.period
                ),
                taken as (
                    select item -> 'key' ->> 'period' as from_period, item ->> 'corrects' as corrects,
                        cast(item ->> 'amount_minor' as bigint) as amount_minor
                    from ledger.settlement,
                        jsonb_array_elements(coalesce(settlement.inputs -> 'adjustments', '[]')) as item
                    where digest = new.digest
                )
                (table entered except all table taken) union all (table taken except all table entered)
            ) then
                raise exception 'settlement % of % lacks adjustments that are entered: calculate it again',
                    new.digest, new.period using errcode = 'WH001';
            end if;
            return new;
        end $$""")
    # Of several triggers the first by name is the first: the order of steps is checked before.
    op.execute("""
        create trigger with_every_adjustment before insert on ledger.step
        for each row when (new.state in ('approved', 'closed')) execute function ledger.check_adjustments_taken()""")
