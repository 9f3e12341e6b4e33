-- Nothing is paid twice: one line a pool, agreement, right, track and chain of payees.
select
    coalesce(sum(copies), 0) as looked_at,
    count_if(copies > 1) as wrong
from (
    select count(*) as copies
    from lake.gold.settlement_lines
    where calculation = '{calculation}' and {markets}
    group by country, tier, currency, agreement_id, share_type, track_id, payee_chain, account
) as lines
