{% for snapshot in var('tracks_before') %}
    select
        track_id,
        isrc,
        recording_mbid,
        recording_key
    from {{ at(ref('tracks'), snapshot) }}
    union all
{% endfor %}
select
    track_id,
    isrc,
    recording_mbid,
    recording_key
from {{ ref('tracks') }}
where false
