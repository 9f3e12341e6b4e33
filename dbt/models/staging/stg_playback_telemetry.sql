with source as (
    select * from {{ bronze('playback_telemetry') }}
)

select
    event_id,
    user_id,
    track_id,
    session_id,
    play_event_id,
    measured_at,
    received_at,
    startup_ms,
    rebuffers,
    rebuffered_ms,
    bitrate_bps,
    device,
    user_agent,
    country,
    kafka_partition,
    kafka_offset,
    cast(measured_at as date) as measured_on,
    cast(received_at as date) as received_on,
    cast(null as varchar) as rejection_reason,
    {{ is_bot() }} as is_bot
from source
