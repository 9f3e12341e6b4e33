with source as (
    select * from {{ bronze('listens') }}
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
    cast(listened_at as date) as listened_on,
    cast(received_at as date) as received_on,
    cast(null as varchar) as rejection_reason
from source
