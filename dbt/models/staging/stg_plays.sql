with source as (
    select * from {{ bronze('plays') }}
),

judged as (
    select
        *,
        {{ plays_rejection_reason() }} as rejection_reason,
        {{ is_bot() }} as is_bot,
        {{ is_stream() }} as counts
    from source
)

select
    -- what happened
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
    -- where it came from
    kafka_partition,
    kafka_offset,
    -- its days
    cast(played_at as date) as played_on,
    cast(received_at as date) as received_on,
    {{ local_date('played_at', 'time_zone') }} as local_played_on,
    -- the rules' judgement
    rejection_reason,
    is_bot,
    rejection_reason is null and counts as is_stream
from judged
