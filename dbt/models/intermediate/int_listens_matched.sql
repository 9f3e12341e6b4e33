with by_isrc as (
    select
        isrc,
        min(track_id) as track_id
    from {{ ref('tracks') }}
    where isrc is not null
    group by isrc
),

by_mbid as (
    select
        recording_mbid,
        min(track_id) as track_id
    from {{ ref('tracks') }}
    where recording_mbid is not null
    group by recording_mbid
),

by_names as (
    select
        recording_key,
        min(track_id) as track_id
    from {{ ref('tracks') }}
    group by recording_key
)

select
    listens.*,
    coalesce(by_isrc.track_id, by_mbid.track_id, by_names.track_id) as track_id
from {{ ref('listens') }} as listens
left join by_isrc on listens.isrc = by_isrc.isrc
left join by_mbid on listens.recording_mbid = by_mbid.recording_mbid
left join by_names on listens.recording_key = by_names.recording_key
