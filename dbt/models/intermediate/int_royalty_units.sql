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
        sum(listened.royalty_streams) as streams,
        sum(listened.chosen_streams) as chosen_streams
    from {{ ref('listener_track_monthly') }} as listened
    inner join {{ ref('tracks') }} as tracks on listened.track_id = tracks.track_id
    where listened.royalty_streams > 0
    group by
        listened.period, listened.country, listened.tier, listened.user_id, listened.track_id, tracks.artist_id
),

in_pools as (
    select
        period,
        country,
        tier,
        user_id,
        sum(streams) as pool_streams
    from heard
    group by period, country, tier, user_id
),

in_months as (
    select
        period,
        user_id,
        sum(pool_streams) as month_streams
    from in_pools
    group by period, user_id
),

classes as (
    select
        heard.period,
        heard.country,
        heard.tier,
        heard.track_id,
        in_pools.pool_streams,
        in_months.month_streams,
        sum(heard.streams) as streams,
        sum(heard.chosen_streams) as chosen_streams
    from heard
    inner join in_pools
        on
            heard.period = in_pools.period
            and heard.country = in_pools.country
            and heard.tier = in_pools.tier
            and heard.user_id = in_pools.user_id
    inner join in_months on heard.period = in_months.period and heard.user_id = in_months.user_id
    group by
        heard.period, heard.country, heard.tier, heard.track_id, in_pools.pool_streams, in_months.month_streams
),

artists as (
    select
        period,
        artist_id,
        sum(streams) as artist_streams,
        count(distinct user_id) as artist_listeners
    from heard
    group by period, artist_id
),

annual as (
    select
        months.period,
        monthly.track_id,
        sum(monthly.royalty_streams) as annual_streams
    from (select distinct period from {{ ref('streams_monthly') }}) as months
    inner join {{ ref('streams_monthly') }} as monthly
        on
            months.period >= monthly.period
            and monthly.period > date_format(
                date_add('year', -1, cast(months.period || '-01' as date)), '%Y-%m'
            )
    group by months.period, monthly.track_id
)

select
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
    artists.artist_streams,
    artists.artist_listeners,
    annual.annual_streams,
    {{ is_noise('tracks.genre') }} as is_noise
from classes
inner join {{ ref('tracks') }} as tracks on classes.track_id = tracks.track_id
inner join artists on classes.period = artists.period and tracks.artist_id = artists.artist_id
inner join annual on classes.period = annual.period and classes.track_id = annual.track_id
