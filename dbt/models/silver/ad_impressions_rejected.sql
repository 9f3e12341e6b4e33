{{ config(meta={'touched': 'new'}) }}

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
from {{ ref('stg_ad_impressions') }} as candidates
where
    rejection_reason is not null
    and {{ received_in_window(var('received_lookback_days')) }}
    {% if has_window() -%}
        and not exists (
            select 1 from {{ this }} as present
            where
                present.kafka_partition = candidates.kafka_partition
                and present.kafka_offset = candidates.kafka_offset
                and {{ received_in_window(var('received_lookback_days')) | replace('received_at', 'present.received_at') }}
        )
    {%- endif %}
