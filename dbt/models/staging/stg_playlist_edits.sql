with source as (
    select * from {{ bronze('playlist_edits') }}
)

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
    cast(edited_at as date) as edited_on,
    cast(received_at as date) as received_on,
    cast(null as varchar) as rejection_reason
from source
