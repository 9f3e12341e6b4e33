-- The streams that a month's royalties are computed from: those of tracks that the catalogue knows.
select
    listened.period,
    listened.country,
    listened.tier,
    listened.user_id,
    listened.track_id,
    tracks.artist_id,
    listened.royalty_streams as streams,
    listened.chosen_streams
from {{ ref('listener_track_monthly') }} as listened
inner join {{ ref('tracks') }} as tracks on listened.track_id = tracks.track_id
where listened.royalty_streams > 0
