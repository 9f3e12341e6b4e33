{{ config(meta={'touched': 'new'}) }}

with candidates as (
    select * from {{ ref('stg_listens') }}
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
    listened_at,
    received_at,
    source,
    kind,
    artist_name,
    title,
    release_title,
    recording_key,
    ms_played,
    isrc,
    recording_mbid,
    release_mbid,
    spotify_uri,
    kafka_partition,
    kafka_offset,
    listened_on,
    received_on
from candidates
where {{ is_first_copy('listened_on') }}
