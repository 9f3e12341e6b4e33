{{ config(meta={'touched': 'new'}) }}

with {{ candidates_and_copies(ref('stg_playlist_edits')) }}

select
    event_id,
    user_id,
    playlist_id,
    edit,
    track_id,
    position,
    edited_at,
    received_at,
    country,
    kafka_partition,
    kafka_offset,
    received_on
from candidates
where {{ is_first_copy('edited_on', 'cast(present.edited_at as date)') }}
