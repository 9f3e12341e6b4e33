{{ config(meta={'touched': 'listened_on'}) }}

-- depends_on: {{ ref('int_listens_rematched') }}
select
    listened_on,
    user_id,
    recording_key,
    min(track_id) as track_id,
    min(artist_name) as artist_name,
    min(title) as title,
    min(release_title) as release_title,
    sum(streams) as streams,
    sum(listens) as listens,
    sum(ms_played) as ms_played
from {{ ref('int_listening') }}
where {{ touched('listened_on') }}
group by listened_on, user_id, recording_key
