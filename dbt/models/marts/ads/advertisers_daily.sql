{{ config(meta={'touched': 'shown_on'}) }}

select
    shown_on,
    campaign_id,
    creative_id,
    country,
    currency,
    sum(impressions) as impressions,
    coalesce(sum(impressions) filter (where is_bot), 0) as bot_impressions,
    count(distinct user_id) as listeners,
    sum(cost_micros) as cost_micros,
    coalesce(sum(cost_micros) filter (where not is_bot), 0) as billable_cost_micros,
    sum(clicks) as clicks,
    coalesce(sum(clicks) filter (where is_bot), 0) as bot_clicks
from {{ ref('int_ad_events') }}
where {{ touched('shown_on') }}
group by shown_on, campaign_id, creative_id, country, currency
