-- How much each listener streamed in a pool, and over all pools of the month.
select
    period,
    country,
    tier,
    user_id,
    sum(streams) as pool_streams,
    sum(sum(streams)) over (partition by period, user_id) as month_streams
from {{ ref('int_royalty_streams') }}
group by period, country, tier, user_id
