-- Reserves that are due are released, in full.
with carried as (
    select
        reserves.agreement_id,
        reserves.payee,
        reserves.held_in,
        reserves.release_in,
        reserves.amount_minor
    from lake.gold.settlements as settlements
    inner join lake.gold.settlement_reserves as reserves on settlements.calculation = reserves.calculation
    where settlements.period = '{before}' and settlements.calculation_kind = 'current'
    union all
    -- what they were corrected by, after {before} was closed: "{before}/reserve/2026-10/2026-12"
    select
        agreement_id,
        payee,
        split_part(refers_to, '/', 3) as held_in,
        split_part(refers_to, '/', 4) as release_in,
        amount_minor
    from lake.gold.settlement_entries
    where
        calculation = '{calculation}'
        and entry_kind = 'balance_adjustment'
        and starts_with(refers_to, '{before}/reserve/')
),

due as (
    select
        agreement_id,
        payee,
        held_in,
        sum(amount_minor) as amount_minor
    from carried
    where release_in <= '{period}'
    group by agreement_id, payee, held_in
    having sum(amount_minor) <> 0
),

released as (
    select
        agreement_id,
        payee,
        refers_to as held_in,
        sum(amount_minor) as amount_minor
    from lake.gold.settlement_entries
    where calculation = '{calculation}' and entry_kind = 'reserve_released'
    group by agreement_id, payee, refers_to
)

select
    count(*) as looked_at,
    -- of what isn't due nothing is released either
    count_if(due.amount_minor is distinct from released.amount_minor) as wrong
from due
full join released
    on
        due.agreement_id = released.agreement_id
        and due.payee = released.payee
        and due.held_in = released.held_in
