{{ config(meta={'touched': 'period'}) }}

select
    date_format(month, '%Y-%m') as period,
    country,
    track_id,
    royalty_streams
from (
    select
        {{ month_of('played_on') }} as month,
        country,
        track_id,
        sum(royalty_streams) as royalty_streams
    from {{ ref('streams_daily') }}
    where royalty_streams > 0 and {{ in_touched_months('played_on') }} and {{ in_part('track_id') }}
    group by {{ month_of('played_on') }}, country, track_id
)
