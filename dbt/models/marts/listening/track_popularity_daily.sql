{{ config(meta={'touched': 'as_of_on'}) }}

-- What a date knew: a play received later counts from the date of its receipt on, where its own day is then still in
-- sight. So no row changes because of what came after it, and a model trained on it sees what it would have got.
with days as (
    select distinct received_on as as_of_on
    from {{ ref('plays') }}
    where {{ touched('as_of_on', 'received_on') }}
),

heard as (
    select
        track_id,
        user_id,
        played_on,
        received_on,
        count(*) as plays,
        count_if(is_stream) as streams,
        count_if(reason_end = 'fwdbtn' and not is_stream) as skips
    from {{ ref('plays') }}
    where
        not is_bot
        and {{ in_trailing_days('played_on', 28, 'as_of_on') }}
    group by track_id, user_id, played_on, received_on
),

seen as (
    select
        days.as_of_on,
        heard.*,
        heard.played_on > days.as_of_on - interval '7' day as is_in_week
    from days
    inner join heard on
        days.as_of_on >= heard.received_on
        and days.as_of_on >= heard.played_on
        and days.as_of_on - interval '28' day < heard.played_on
)

select
    as_of_on,
    track_id,
    with_timezone(cast(as_of_on + interval '1' day as timestamp(6)), 'UTC') as event_at,
    -- the run starts at four and is done well before
    with_timezone(cast(as_of_on + interval '1' day as timestamp(6)) + interval '6' hour, 'UTC') as available_at,
    sum(if(is_in_week, streams, 0)) as streams_7d,
    sum(streams) as streams_28d,
    count(distinct if(is_in_week, user_id)) as listeners_7d,
    count(distinct user_id) as listeners_28d,
    sum(plays) as plays_28d,
    cast(sum(skips) as double) / sum(plays) as skip_rate_28d
from seen
group by as_of_on, track_id
