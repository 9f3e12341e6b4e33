{{ config(meta={'touched': 'new'}) }}

with {{ candidates_and_copies(ref('stg_playback_telemetry')) }}

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
    received_on,
    is_bot
from candidates
where {{ is_first_copy('measured_on', 'cast(present.measured_at as date)') }}
