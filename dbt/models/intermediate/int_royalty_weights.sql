-- What the three models of royalties need of a month, without naming listeners: a track's streams by how much its
-- listeners streamed. With N streams by listeners who streamed D in the pool, the sum of N / D is the user-centric
-- weight, exact; who streamed M in the month weighs 1000 / M beyond the cap of the artist-centric model.
with heard as (
    select
        listened.period,
        listened.country,
        listened.tier,
        listened.user_id,
        listened.track_id,
        tracks.artist_id,
        sum(listened.royalty_streams) as streams
    from {{ ref('listener_track_monthly') }} as listened
    inner join {{ ref('tracks') }} as tracks on listened.track_id = tracks.track_id
    where listened.royalty_streams > 0
    group by
        listened.period, listened.country, listened.tier, listened.user_id, listened.track_id, tracks.artist_id
),

chosen as (
    select
        date_format(played_on, '%Y-%m') as period,
        country,
        tier,
        user_id,
        track_id,
        count(*) as chosen_streams
    from {{ ref('int_plays_judged') }}
    where is_royalty_bearing and context in ('search', 'library')
    group by date_format(played_on, '%Y-%m'), country, tier, user_id, track_id
),

votes as (
    select
        heard.*,
        coalesce(chosen.chosen_streams, 0) as chosen_streams,
        sum(heard.streams) over (
            partition by heard.period, heard.country, heard.tier, heard.user_id
        ) as pool_streams,
        sum(heard.streams) over (partition by heard.period, heard.user_id) as month_streams
    from heard
    left join chosen
        on
            heard.period = chosen.period
            and heard.country = chosen.country
            and heard.tier = chosen.tier
            and heard.user_id = chosen.user_id
            and heard.track_id = chosen.track_id
)

select
    period,
    country,
    tier,
    track_id,
    artist_id,
    pool_streams,
    month_streams,
    sum(streams) as streams,
    sum(chosen_streams) as chosen_streams
from votes
group by period, country, tier, track_id, artist_id, pool_streams, month_streams
