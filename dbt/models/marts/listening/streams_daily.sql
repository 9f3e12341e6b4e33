{{ config(meta={'touched': 'played_on'}) }}

select
    played_on,
    track_id,
    country,
    tier,
    count(*) as plays,
    count_if(is_stream) as streams,
    count_if(is_bot) as bot_plays,
    sum(ms_played) as ms_played,
    count_if(is_royalty_bearing) as royalty_streams
from {{ ref('int_plays_judged') }}
where {{ touched('played_on') }}
group by played_on, track_id, country, tier
