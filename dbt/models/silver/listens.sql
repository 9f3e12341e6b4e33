{{ config(meta={'touched': 'new'}) }}

with {{ candidates_and_copies(ref('stg_listens')) }}

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
