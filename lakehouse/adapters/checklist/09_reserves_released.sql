-- Reserves that are due are released, in full.
select
    count(*) as looked_at,
    count_if(entries.amount_minor is null or entries.amount_minor <> reserves.amount_minor) as wrong
from lake.gold.settlements as settlements
inner join lake.gold.settlement_reserves as reserves on settlements.calculation = reserves.calculation
left join lake.gold.settlement_entries as entries
    on
        entries.calculation = '{calculation}'
        and entries.entry_kind = 'reserve_released'
        and reserves.agreement_id = entries.agreement_id
        and reserves.payee = entries.payee
        and reserves.held_in = entries.refers_to
where
    settlements.period = '{before}'
    and settlements.calculation_kind = 'current'
    and reserves.release_in <= '{period}'
