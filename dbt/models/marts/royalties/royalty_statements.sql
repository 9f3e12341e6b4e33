{{ config(meta={'touched': 'closing'}) }}

select
    period,
    payee_id,
    country,
    currency,
    count(*) as tracks,
    sum(streams) as streams,
    sum(amount_minor) as amount_minor
from {{ ref('royalties') }}
where {{ closing('period') }}
group by period, payee_id, country, currency
