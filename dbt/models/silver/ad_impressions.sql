{{ config(meta={'touched': 'new'}) }}

with {{ candidates_and_copies(ref('stg_ad_impressions')) }}

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
