with source as (
    select * from {{ bronze('follows') }}
)

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
    cast(followed_at as date) as followed_on,
    cast(received_at as date) as received_on,
    cast(null as varchar) as rejection_reason
from source
