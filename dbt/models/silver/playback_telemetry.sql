{{ config(meta={'touched': 'new'}) }}

with candidates as (
    select * from {{ ref('stg_playback_telemetry') }}
    where rejection_reason is null and {{ received_in_window(var('received_lookback_days')) }}
),

copies as (
    select
        event_id,
        kafka_partition,
        kafka_offset,
        row_number() over (partition by event_id order by kafka_partition, kafka_offset) as copy
    from candidates
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
    received_on,
    is_bot
from candidates
where {{ is_first_copy('measured_on', 'cast(present.measured_at as date)') }}
