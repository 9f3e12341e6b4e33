{{ config(meta={'touched': 'new'}) }}

with candidates as (
    select * from {{ ref('stg_plays') }}
    where rejection_reason is null and {{ received_in_window(var('received_lookback_days')) }}
),

-- narrow, because every event of the window passes through it
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
