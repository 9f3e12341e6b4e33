{{ config(meta={'touched': 'new'}) }}

with {{ candidates_and_copies(ref('stg_likes')) }}

select
    event_id,
    user_id,
    track_id,
    is_liked,
    liked_at,
    received_at,
    country,
    kafka_partition,
    kafka_offset,
    received_on
from candidates
where {{ is_first_copy('liked_on', 'cast(present.liked_at as date)') }}
