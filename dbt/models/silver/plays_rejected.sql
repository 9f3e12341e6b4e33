{{ config(meta={'touched': 'new'}) }}

with candidates as (
    select * from {{ ref('stg_plays') }}
    where rejection_reason is not null and {{ received_in_window(var('received_lookback_days')) }}
)

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
    is_preload,
    client_ip_hash,
    device_hash,
    kafka_partition,
    kafka_offset,
    received_on,
    rejection_reason as reason
from candidates
where {{ is_not_kept() }}
