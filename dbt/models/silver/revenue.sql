select
    period,
    country,
    tier,
    currency,
    revenue_minor,
    source_file
from {{ ref('stg_revenue') }}
