with versions as (
    select * from {{ ref('int_tracks_before') }}
    union all
    select
        track_id,
        isrc,
        recording_mbid,
        recording_key
    from {{ ref('tracks') }}
),

-- what the catalogues of today and before do not all have
changed as (
    select
        isrc,
        recording_mbid,
        recording_key
    from versions
    group by track_id, isrc, recording_mbid, recording_key
    having count(*) <= {{ var('tracks_before') | length }}
)

-- a query each and not one, so that Trino reads nothing of listens when nothing changed
select listened_on from {{ ref('listens') }}
where isrc in (select isrc from changed)
union distinct
select listened_on from {{ ref('listens') }}
where recording_mbid in (select recording_mbid from changed)
union distinct
select listened_on from {{ ref('listens') }}
where recording_key in (select recording_key from changed) or {{ 'false' if var('tracks_before') else 'true' }}
