{{ config(meta={'touched': 'new'}) }}

with {{ candidates_and_copies(ref('stg_plays')) }}

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
    played_on,
    received_on,
    local_played_on,
    is_bot,
    is_stream
from candidates
where {{ is_first_copy('played_on') }}
