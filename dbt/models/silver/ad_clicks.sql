{{ config(meta={'touched': 'new'}) }}

with {{ candidates_and_copies(ref('stg_ad_clicks')) }}

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
