{{ config(meta={'touched': 'new'}) }}

with candidates as (
    select * from {{ ref('stg_ad_impressions') }}
    where rejection_reason is not null and {{ received_in_window(var('received_lookback_days')) }}
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
    received_on,
    rejection_reason as reason
from candidates
where {{ is_not_kept() }}
