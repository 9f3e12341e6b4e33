select
    streams_monthly.period,
    streams_monthly.country,
    streams_monthly.track_id,
    min(tracks.artist_id) as payee_id, -- null: the catalogue does not know the track
    sum(streams_monthly.royalty_streams) as streams
from {{ ref('streams_monthly') }}
left join {{ ref('tracks') }} on streams_monthly.track_id = tracks.track_id
group by streams_monthly.period, streams_monthly.country, streams_monthly.track_id
having sum(streams_monthly.royalty_streams) > 0
