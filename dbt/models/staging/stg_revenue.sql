with source as (
    select * from {{ bronze('revenue') }}
)

select
    period,
    country,
    tier,
    currency,
    revenue_minor,
    source_file
from source
