-- No play counts twice, in this month or in this one and its neighbours.
select
    count(*) as looked_at,
    count_if(copies > 1) as wrong
from (
    select
        event_id,
        count(*) as copies
    from ({royalty_plays}) as plays
    where
        played_on >= date '{first}' - interval '1' month
        and played_on < date '{after}' + interval '1' month
        and {event_ids}
    group by event_id
) as events
