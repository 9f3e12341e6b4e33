-- The tracks streamed in a month: streams and listeners of their artists in it, and their own streams of twelve months.
with artists as (
    select
        period,
        artist_id,
        sum(streams) as artist_streams,
        count(distinct user_id) as artist_listeners
    from {{ ref('int_royalty_streams') }}
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
    where monthly.royalty_streams > 0
    group by months.period, monthly.track_id
)

select
    artists.period,
    tracks.track_id,
    tracks.artist_id,
    tracks.title,
    {{ is_noise('tracks.genre') }} as is_noise,
    artists.artist_streams,
    artists.artist_listeners,
    annual.annual_streams
from {{ ref('tracks') }} as tracks
inner join artists on tracks.artist_id = artists.artist_id
inner join annual on artists.period = annual.period and tracks.track_id = annual.track_id
