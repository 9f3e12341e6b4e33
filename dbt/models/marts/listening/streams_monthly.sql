{{ config(meta={'touched': 'period'}) }}

with days as (
    select
        date_format(played_on, '%Y-%m') as period,
        track_id,
        country,
        tier,
        sum(plays) as plays,
        sum(streams) as streams,
        sum(bot_plays) as bot_plays,
        sum(ms_played) as ms_played,
        sum(royalty_streams) as royalty_streams
    from {{ ref('streams_daily') }}
    where {{ touched('period', "date_format(played_on, '%Y-%m')") }} and {{ in_part('track_id') }}
    group by date_format(played_on, '%Y-%m'), track_id, country, tier
),

listeners as (
    select
        period,
        track_id,
        country,
        tier,
        count(distinct user_id) as listeners
    from {{ ref('listener_track_monthly') }}
    where {{ touched('period') }} and {{ in_part('track_id') }}
    group by period, track_id, country, tier
)

select
    days.period,
    days.track_id,
    days.country,
    days.tier,
    days.plays,
    days.streams,
    days.bot_plays,
    days.ms_played,
    listeners.listeners,
    days.royalty_streams
from days
inner join listeners
    on
        days.period = listeners.period
        and days.track_id = listeners.track_id
        and days.country = listeners.country
        and days.tier = listeners.tier
