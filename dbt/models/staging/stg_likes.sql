with source as (
    select * from {{ bronze('likes') }}
)

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
    cast(liked_at as date) as liked_on,
    cast(received_at as date) as received_on,
    cast(null as varchar) as rejection_reason
from source
