with source as (
    select * from {{ bronze('ad_impressions') }}
)

select
    -- what happened
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
    -- where it came from
    kafka_partition,
    kafka_offset,
    -- its days
    cast(shown_at as date) as shown_on,
    cast(received_at as date) as received_on,
    -- the rules' judgement
    {{ ad_impressions_rejection_reason() }} as rejection_reason,
    {{ is_bot() }} as is_bot
from source
