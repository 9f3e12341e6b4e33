{{ config(meta={'touched': 'new'}) }}

with candidates as (
    select * from {{ ref('stg_likes') }}
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
