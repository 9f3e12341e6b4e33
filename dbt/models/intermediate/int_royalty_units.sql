-- What the three models of royalties need of a month, without naming listeners: a track's streams by how much its
-- listeners streamed. With N streams by listeners who streamed D in the pool, the sum of N / D is the user-centric
-- weight, exact; who streamed M in the month weighs 1000 / M beyond the cap of the artist-centric model.
-- A month is counted in portions; what spans them, listeners and tracks, is counted once a calculation before.
with classes as (
    select
        listeners.calculation,
        streamed.period,
        streamed.country,
        streamed.tier,
        streamed.track_id,
        listeners.pool_streams,
        listeners.month_streams,
        sum(streamed.streams) as streams,
        sum(streamed.chosen_streams) as chosen_streams
    from {{ ref('int_royalty_streams') }} as streamed
    inner join {{ source('settlement', 'settlement_listeners') }} as listeners
        on
            streamed.period = listeners.period
            and streamed.country = listeners.country
            and streamed.tier = listeners.tier
            and streamed.user_id = listeners.user_id
    group by
        listeners.calculation, streamed.period, streamed.country, streamed.tier, streamed.track_id,
        listeners.pool_streams, listeners.month_streams
)

select
    classes.calculation,
    classes.period,
    classes.country,
    classes.tier,
    classes.track_id,
    tracks.artist_id,
    tracks.title,
    classes.pool_streams,
    classes.month_streams,
    classes.streams,
    classes.chosen_streams,
    tracks.artist_streams,
    tracks.artist_listeners,
    tracks.annual_streams,
    tracks.is_noise
from classes
inner join {{ source('settlement', 'settlement_tracks') }} as tracks
    on classes.calculation = tracks.calculation and classes.track_id = tracks.track_id
