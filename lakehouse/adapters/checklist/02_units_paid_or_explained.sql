-- Units settled have a line, or are of a track in which nobody holds a right.
with pools as (
    select
        country,
        tier,
        streams,
        unlicensed_streams
    from lake.gold.settlement_pools
    where calculation = '{calculation}' and {markets}
),

paid as (
    select
        country,
        tier,
        sum(streams) as streams
    from (
        select distinct
            country,
            tier,
            track_id,
            streams
        from lake.gold.settlement_lines
        where calculation = '{calculation}' and {markets}
    ) as tracks
    group by country, tier
)

select
    count(*) as looked_at,
    count_if(pools.streams <> coalesce(paid.streams, 0) + pools.unlicensed_streams) as wrong
from pools
left join paid on pools.country = paid.country and pools.tier = paid.tier
