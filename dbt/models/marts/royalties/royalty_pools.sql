{{ config(meta={'touched': 'closing'}) }}

with revenue as (
    select
        period,
        country,
        min(currency) as currency, -- the audit of revenue allows one currency a market
        sum(revenue_minor) as revenue_minor,
        {{ royalty_share_bps('period') }} as share_bps
    from {{ ref('revenue') }}
    where {{ closing('period') }}
    group by period, country
),

streams as (
    select
        period,
        country,
        coalesce(sum(streams) filter (where payee_id is not null), 0) as streams,
        coalesce(sum(streams) filter (where payee_id is null), 0) as unmatched_streams
    from {{ ref('int_streams_matched') }}
    where {{ closing('period') }}
    group by period, country
),

pools as (
    select
        revenue.*,
        -- the platform keeps the fraction of a minor unit
        {{ floor_div('revenue.revenue_minor', 'revenue.share_bps', '10000') }} as pool_minor,
        coalesce(streams.streams, 0) as streams,
        coalesce(streams.unmatched_streams, 0) as unmatched_streams
    from revenue
    left join streams on revenue.period = streams.period and revenue.country = streams.country
)

select
    period,
    country,
    currency,
    revenue_minor,
    share_bps,
    pool_minor,
    {{ royalty_policy('period') }} as counting_policy,
    streams,
    unmatched_streams,
    if(streams = 0, pool_minor, 0) as unallocated_minor
from pools
