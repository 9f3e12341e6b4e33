{{ config(meta={'touched': 'played_on'}) }}

select
    plays.played_on,
    tracks.artist_id,
    plays.country,
    count(*) as plays,
    count_if(plays.is_stream) as streams,
    count_if(plays.is_bot) as bot_plays,
    count(distinct plays.user_id) as listeners,
    sum(plays.ms_played) as ms_played,
    count_if(plays.is_royalty_bearing) as royalty_streams
from {{ ref('int_plays_judged') }} as plays
inner join {{ ref('tracks') }} on plays.track_id = tracks.track_id
where {{ touched('played_on') }}
group by plays.played_on, tracks.artist_id, plays.country
