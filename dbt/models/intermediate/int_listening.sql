select
    plays.event_id,
    plays.user_id,
    plays.played_on as listened_on,
    plays.received_at,
    plays.track_id,
    coalesce(tracks.recording_key, cast(plays.track_id as varchar)) as recording_key,
    tracks.artist_name,
    tracks.title,
    tracks.release_title,
    plays.ms_played,
    1 as streams,
    0 as listens
from {{ ref('plays') }} as plays
left join {{ ref('tracks') }} as tracks on plays.track_id = tracks.track_id
where plays.is_stream
union all
select
    listens.event_id,
    listens.user_id,
    listens.listened_on,
    listens.received_at,
    listens.track_id,
    coalesce(tracks.recording_key, listens.recording_key) as recording_key,
    coalesce(tracks.artist_name, listens.artist_name) as artist_name,
    coalesce(tracks.title, listens.title) as title,
    coalesce(tracks.release_title, listens.release_title) as release_title,
    coalesce(listens.ms_played, 0) as ms_played,
    0 as streams,
    1 as listens
from {{ ref('int_listens_matched') }} as listens
left join {{ ref('tracks') }} as tracks on listens.track_id = tracks.track_id
where listens.ms_played is null or listens.ms_played >= 30000
