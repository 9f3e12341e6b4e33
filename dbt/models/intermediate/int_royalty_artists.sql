-- How an artist did in a month over all pools: what the artist-centric model asks before it calls them professional.
select
    listened.period,
    tracks.artist_id,
    sum(listened.royalty_streams) as streams,
    count(distinct listened.user_id) as listeners
from {{ ref('listener_track_monthly') }} as listened
inner join {{ ref('tracks') }} as tracks on listened.track_id = tracks.track_id
where listened.royalty_streams > 0
group by listened.period, tracks.artist_id
