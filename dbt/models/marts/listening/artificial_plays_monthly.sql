{{ config(meta={'touched': 'period'}) }}

select
    date_format(flags.played_on, '%Y-%m') as period,
    plays.track_id,
    plays.country,
    flags.rule,
    max(flags.rule_version) as rule_version,
    min(tracks.artist_id) as payee_id, -- null: the catalogue does not know the track
    count(*) as plays,
    count_if({{ royalty_bearing_but_for_flags("date_format(plays.played_on, '%Y-%m')") }}) as streams,
    sum(plays.ms_played) as ms_played
from {{ ref('play_flags') }} as flags
inner join {{ ref('plays') }} as plays on flags.event_id = plays.event_id and flags.played_on = plays.played_on
left join {{ ref('tracks') }} as tracks on plays.track_id = tracks.track_id
where
    {{ touched('period', "date_format(flags.played_on, '%Y-%m')") }}
    and {{ touched('period', "date_format(plays.played_on, '%Y-%m')") }}
group by date_format(flags.played_on, '%Y-%m'), plays.track_id, plays.country, flags.rule
