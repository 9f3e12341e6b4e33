select
    shown_on,
    campaign_id,
    creative_id,
    country,
    currency,
    user_id,
    cost_micros,
    received_at,
    is_bot,
    1 as impressions,
    0 as clicks
from {{ ref('ad_impressions') }}
union all
select
    impressions.shown_on,
    impressions.campaign_id,
    impressions.creative_id,
    impressions.country,
    impressions.currency,
    impressions.user_id,
    0 as cost_micros,
    clicks.received_at,
    clicks.is_bot,
    0 as impressions,
    1 as clicks
from {{ ref('ad_clicks') }} as clicks
inner join {{ ref('ad_impressions') }} as impressions on clicks.impression_event_id = impressions.event_id
