{{ config(meta={'touched': 'played_on'}) }}

select
    played_on,
    track_id,
    country,
    tier,
    count(*) as plays,
    count_if(is_stream) as streams,
    count_if(is_bot) as bot_plays,
    sum(ms_played) as ms_played
from {{ ref('plays') }}
where {{ touched('played_on') }}
group by played_on, track_id, country, tier
