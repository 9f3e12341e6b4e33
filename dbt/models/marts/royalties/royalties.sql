{{ config(meta={'touched': 'closing'}) }}

-- Largest remainder: everyone gets the whole minor units of their share, and what is left of the pool goes, one unit
-- each, to the largest fractions; equal fractions in the order of track_id. The same rule in Python:
-- lakehouse/domain/royalties/allocation.py
with shares as (
    select
        streams.period,
        streams.country,
        streams.track_id,
        streams.payee_id,
        streams.streams,
        pools.currency,
        pools.pool_minor,
        {{ floor_div('pools.pool_minor', 'streams.streams', 'pools.streams') }} as whole_minor,
        {{ remainder('pools.pool_minor', 'streams.streams', 'pools.streams') }} as fraction
    from {{ ref('int_streams_matched') }} as streams
    inner join {{ ref('royalty_pools') }} as pools
        on streams.period = pools.period and streams.country = pools.country
    where
        streams.payee_id is not null
        and {{ closing('streams.period') }}
        and {{ in_part('crc32(to_utf8(streams.country))') }}
),

ranked as (
    select
        *,
        row_number() over (partition by period, country order by fraction desc, track_id asc) as place,
        pool_minor - sum(whole_minor) over (partition by period, country) as left_minor
    from shares
)

select
    period,
    country,
    track_id,
    payee_id,
    streams,
    whole_minor + if(place <= left_minor, 1, 0) as amount_minor,
    currency
from ranked
