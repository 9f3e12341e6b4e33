{{ config(meta={'touched': 'closing'}) }}

select
    period,
    country,
    track_id,
    streams
from {{ ref('int_streams_matched') }}
where payee_id is null and {{ closing('period') }}
