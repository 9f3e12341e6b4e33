select
    period,
    country,
    tier,
    currency,
    revenue_minor,
    source_file,
    subscription_minor,
    advertising_minor,
    taxes_minor,
    fees_minor,
    subscribers
from {{ ref('stg_revenue') }}
