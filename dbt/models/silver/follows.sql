{{ config(meta={'touched': 'new'}) }}

with {{ candidates_and_copies(ref('stg_follows')) }}

select
    event_id,
    user_id,
    artist_id,
    is_followed,
    followed_at,
    received_at,
    country,
    kafka_partition,
    kafka_offset,
    received_on
from candidates
where {{ is_first_copy('followed_on', 'cast(present.followed_at as date)') }}
