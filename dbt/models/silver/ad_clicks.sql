{{ config(meta={'touched': 'new'}) }}

with candidates as (
    select * from {{ ref('stg_ad_clicks') }}
    where rejection_reason is null and {{ received_in_window(var('received_lookback_days')) }}
),

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
    impression_event_id,
    campaign_id,
    creative_id,
    session_id,
    clicked_at,
    received_at,
    device,
    user_agent,
    country,
    kafka_partition,
    kafka_offset,
    received_on,
    is_bot
from candidates
where {{ is_first_copy('clicked_on', 'cast(present.clicked_at as date)') }}
