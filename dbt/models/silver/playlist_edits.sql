{{ config(meta={'touched': 'new'}) }}

with candidates as (
    select * from {{ ref('stg_playlist_edits') }}
    where rejection_reason is null and {{ received_in_window(var('received_lookback_days')) }}
),

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
