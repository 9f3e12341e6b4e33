{{ config(meta={'touched': 'year'}) }}

with heard as (
    select
        listener_track_monthly.year,
        listener_track_monthly.user_id,
        listener_track_monthly.track_id,
        sum(listener_track_monthly.plays) as plays,
        sum(listener_track_monthly.streams) as streams,
        sum(listener_track_monthly.ms_played) as ms_played
    from {{ ref('listener_track_monthly') }}
    where not listener_track_monthly.is_bot and {{ touched('year') }}
    group by listener_track_monthly.year, listener_track_monthly.user_id, listener_track_monthly.track_id
),

-- only what the catalogue knows can be named
named as (
    select
        heard.*,
        tracks.title,
        tracks.artist_id,
        tracks.artist_name,
        tracks.genre
    from heard
    inner join {{ ref('tracks') }} on heard.track_id = tracks.track_id
),

totals as (
    select
        year,
        user_id,
        sum(plays) as plays,
        sum(ms_played) / 60000 as minutes_played
    from heard
    group by year, user_id
),

days as (
    select
        year(local_played_on) as year,
        user_id,
        count(*) as listening_days,
        min(first_played_at) as first_played_at
    from {{ ref('listener_daily') }}
    where {{ touched('year', 'year(local_played_on)') }}
    group by year(local_played_on), user_id
),

ranked_tracks as (
    select
        *,
        row_number() over (partition by year, user_id order by streams desc, ms_played desc, track_id asc) as place
    from named
),

top_tracks as (
    select
        year,
        user_id,
        array_agg(track_id order by place) as ids,
        array_agg(title order by place) as titles
    from ranked_tracks
    where place <= 5
    group by year, user_id
),

artists as (
    select
        year,
        user_id,
        artist_id,
        min(artist_name) as artist_name,
        sum(streams) as streams,
        sum(ms_played) as ms_played
    from named
    group by year, user_id, artist_id
),

ranked_artists as (
    select
        *,
        row_number() over (partition by year, user_id order by streams desc, ms_played desc, artist_id asc) as place
    from artists
),

top_artists as (
    select
        year,
        user_id,
        array_agg(artist_id order by place) as ids,
        array_agg(artist_name order by place) as names
    from ranked_artists
    where place <= 5
    group by year, user_id
),

genres as (
    select
        year,
        user_id,
        genre,
        row_number() over (partition by year, user_id order by sum(ms_played) desc, genre asc) as place
    from named
    where genre is not null
    group by year, user_id, genre
)

select
    totals.user_id,
    totals.year,
    totals.minutes_played,
    totals.plays,
    days.listening_days,
    days.first_played_at,
    coalesce(top_tracks.ids, array[]) as top_track_ids,
    coalesce(top_tracks.titles, array[]) as top_track_titles,
    coalesce(top_artists.ids, array[]) as top_artist_ids,
    coalesce(top_artists.names, array[]) as top_artist_names,
    genres.genre as top_genre
from totals
inner join days on totals.year = days.year and totals.user_id = days.user_id
left join top_tracks on totals.year = top_tracks.year and totals.user_id = top_tracks.user_id
left join top_artists on totals.year = top_artists.year and totals.user_id = top_artists.user_id
left join genres on totals.year = genres.year and totals.user_id = genres.user_id and genres.place = 1
