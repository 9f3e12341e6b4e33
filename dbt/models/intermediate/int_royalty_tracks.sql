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

-- Joined with their artists before they are summed: who asks for a range of artists has only their tracks summed.
annual as (
    select
        months.period,
        monthly.track_id,
        tracks.artist_id,
        sum(monthly.royalty_streams) as annual_streams
    from (select distinct period from {{ ref('streams_monthly') }}) as months
    inner join {{ ref('streams_monthly') }} as monthly
        on
            months.period >= monthly.period
            and monthly.period > date_format(
                date_add('year', -1, cast(months.period || '-01' as date)), '%Y-%m'
            )
    inner join {{ ref('tracks') }} as tracks on monthly.track_id = tracks.track_id
    where monthly.royalty_streams > 0
    group by months.period, monthly.track_id, tracks.artist_id
)

select
    annual.period,
    annual.track_id,
    annual.artist_id,
    tracks.title,
    {{ is_noise('tracks.genre') }} as is_noise,
    artists.artist_streams,
    artists.artist_listeners,
    annual.annual_streams
from annual
inner join artists on annual.period = artists.period and annual.artist_id = artists.artist_id
inner join {{ ref('tracks') }} as tracks on annual.track_id = tracks.track_id
