-- The entries of an account sum to what is payable.
select
    count(*) as looked_at,
    count_if(rest <> 0) as wrong
from (
    select sum(if(entry_kind = 'payable', -amount_minor, amount_minor)) as rest
    from lake.gold.settlement_entries
    where calculation = '{calculation}' and entry_kind not in ('suspense', 'balance_adjustment')
    group by agreement_id, payee, currency
) as accounts
