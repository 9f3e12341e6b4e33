{{ config(meta={'touched': 'shown_on'}) }}

select
    shown_on,
    campaign_id,
    creative_id,
    country,
    currency,
    count(*) as impressions,
    count_if(is_bot) as bot_impressions,
    count(distinct user_id) as listeners,
    sum(cost_micros) as cost_micros,
    coalesce(sum(cost_micros) filter (where not is_bot), 0) as billable_cost_micros
from {{ ref('ad_impressions') }}
where {{ touched('shown_on') }}
group by shown_on, campaign_id, creative_id, country, currency
