-- Every minor unit of a pool is paid, or stands as unallocated.
select
    pools.period,
    pools.country,
    pools.pool_minor,
    pools.unallocated_minor,
    sum(royalties.amount_minor) as paid_minor
from {{ ref('royalty_pools') }} as pools
left join {{ ref('royalties') }} as royalties
    on pools.period = royalties.period and pools.country = royalties.country
group by pools.period, pools.country, pools.pool_minor, pools.unallocated_minor
having pools.pool_minor <> pools.unallocated_minor + coalesce(sum(royalties.amount_minor), 0)
