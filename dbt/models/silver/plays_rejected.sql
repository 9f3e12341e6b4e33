{{ config(meta={'touched': 'new'}) }}

select
    event_id,
    user_id,
    track_id,
    session_id,
    played_at,
    received_at,
    ms_played,
    track_duration_ms,
    reason_start,
    reason_end,
    context,
    device,
    user_agent,
    tier,
    country,
    time_zone,
    is_offline,
    kafka_partition,
    kafka_offset,
    received_on,
    rejection_reason as reason
from {{ ref('stg_plays') }} as candidates
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
