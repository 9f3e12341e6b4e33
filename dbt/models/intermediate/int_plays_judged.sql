-- The day stands in the join too, so that a run reads the flags of the days it touches alone.
with flagged as (
    select
        event_id,
        played_on,
        array_agg(rule) as rules
    from {{ ref('play_flags') }}
    group by event_id, played_on
)

select
    plays.*,
    {{ royalty_bearing("date_format(plays.played_on, '%Y-%m')", 'flagged.rules') }} as is_royalty_bearing
from {{ ref('plays') }} as plays
left join flagged on plays.event_id = flagged.event_id and plays.played_on = flagged.played_on
