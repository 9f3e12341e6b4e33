with source as (
    select * from {{ bronze('catalog_content') }}
)

select
    content_id,
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
from source
