{{ config(meta={'touched': 'period'}) }}

select
    date_format(played_on, '%Y-%m') as period,
    year(local_played_on) as year,
    user_id,
    track_id,
    country,
    tier,
    is_bot,
    count(*) as plays,
    count_if(is_stream) as streams,
    sum(ms_played) as ms_played,
    count_if(is_royalty_bearing) as royalty_streams,
    count_if(is_royalty_bearing and context in ('search', 'library')) as chosen_streams
from {{ ref('int_plays_judged') }}
where {{ touched('period', "date_format(played_on, '%Y-%m')") }} and {{ in_part('user_id') }}
group by date_format(played_on, '%Y-%m'), year(local_played_on), user_id, track_id, country, tier, is_bot
