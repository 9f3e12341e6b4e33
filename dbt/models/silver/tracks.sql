select
    content_id as track_id,
    kind,
    title,
    artist_id,
    artist_name,
    release_id,
    release_title,
    isrc,
    genre,
    licence,
    duration_ms,
    sha256,
    created_at,
    recording_key,
    recording_mbid
from {{ ref('stg_catalog_content') }}
where kind in ('track', 'episode')
