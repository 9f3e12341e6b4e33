{{ config(meta={'touched': 'new'}) }}

with candidates as (
    select * from {{ ref('stg_ad_impressions') }}
    where rejection_reason is null and {{ received_in_window(var('received_lookback_days')) }}
),

-- narrow, because every event of the window passes through it
copies as (
    select
        event_id,
        kafka_partition,
        kafka_offset,
        row_number() over (partition by event_id order by kafka_partition, kafka_offset) as copy
    from candidates
)

select
    event_id,
    user_id,
    campaign_id,
    creative_id,
    session_id,
    shown_at,
    received_at,
    cost_micros,
    currency,
    device,
    user_agent,
    country,
    time_zone,
    kafka_partition,
    kafka_offset,
    shown_on,
    received_on,
    is_bot
from candidates
where {{ is_first_copy('shown_on') }}
