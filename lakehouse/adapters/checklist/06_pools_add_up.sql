-- Net revenue of a pool = its lines + what is retained.
select
    count(*) as looked_at,
    count_if(
        pools.net_minor <> coalesce(lines.paid, 0) + pools.retained_minor
        or pools.claimed_minor <> coalesce(lines.paid, 0)
    ) as wrong
from lake.gold.settlement_pools as pools
left join (
    select
        country,
        tier,
        currency,
        sum(amount_minor) as paid
    from lake.gold.settlement_lines
    where calculation = '{calculation}'
    group by country, tier, currency
) as lines
    on pools.country = lines.country and pools.tier = lines.tier and pools.currency = lines.currency
where pools.calculation = '{calculation}'
