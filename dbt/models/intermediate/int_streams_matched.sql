select
    streams.period,
    streams.country,
    streams.track_id,
    tracks.artist_id as payee_id, -- null: the catalogue does not know the track
    streams.royalty_streams as streams
from {{ ref('streams_by_market_monthly') }} as streams
left join {{ ref('tracks') }} as tracks on streams.track_id = tracks.track_id
