{{ config(meta={'touched': 'local_played_on'}) }}

select
    local_played_on,
    user_id,
    count(*) as plays,
    count_if(is_stream) as streams,
    sum(ms_played) as ms_played,
    min(played_at) as first_played_at
from {{ ref('plays') }}
where
    not is_bot
    and {{ touched("local_played_on") }}
group by local_played_on, user_id
