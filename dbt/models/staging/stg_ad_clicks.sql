with source as (
    select * from {{ bronze('ad_clicks') }}
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
    cast(clicked_at as date) as clicked_on,
    cast(received_at as date) as received_on,
    cast(null as varchar) as rejection_reason,
    {{ is_bot() }} as is_bot
from source
