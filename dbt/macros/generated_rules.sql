{# Generated from the rules of lakehouse/domain/listening and of lakehouse/domain/royalties/terms.yaml by
   `wavehouse contracts generate`. #}
{% macro plays_rejection_reason() -%}
CASE WHEN ms_played < 0 THEN 'negative_ms_played' WHEN played_at > received_at + INTERVAL '5' MINUTE THEN 'played_at_in_future' WHEN ms_played > 86400000 THEN 'play_longer_than_a_day' ELSE CAST(NULL AS VARCHAR) END
{%- endmacro %}

{% macro ad_impressions_rejection_reason() -%}
CASE WHEN cost_micros < 0 THEN 'negative_cost' WHEN shown_at > received_at + INTERVAL '5' MINUTE THEN 'shown_at_in_future' ELSE CAST(NULL AS VARCHAR) END
{%- endmacro %}

{% macro is_bot() -%}
(LOWER(user_agent) LIKE '%bot%' OR LOWER(user_agent) LIKE '%crawler%' OR LOWER(user_agent) LIKE '%spider%' OR LOWER(user_agent) LIKE '%headless%' OR LOWER(user_agent) LIKE '%python-requests%' OR LOWER(user_agent) LIKE '%curl/%')
{%- endmacro %}

{% macro is_stream() -%}
(ms_played >= 30000 AND NOT (LOWER(user_agent) LIKE '%bot%' OR LOWER(user_agent) LIKE '%crawler%' OR LOWER(user_agent) LIKE '%spider%' OR LOWER(user_agent) LIKE '%headless%' OR LOWER(user_agent) LIKE '%python-requests%' OR LOWER(user_agent) LIKE '%curl/%'))
{%- endmacro %}

{% macro royalty_bearing(period, flags) -%}
(CASE WHEN {{ period }} >= '2000-01' THEN (CASE WHEN NOT COALESCE(ms_played >= 30000, FALSE) THEN 'under_30_s' WHEN CONTAINS({{ flags }}, 'bot-user-agent') THEN 'bot-user-agent' WHEN CONTAINS({{ flags }}, 'overlapping-plays') THEN 'overlapping-plays' WHEN CONTAINS({{ flags }}, 'track-loop') THEN 'track-loop' WHEN CONTAINS({{ flags }}, 'shared-device') THEN 'shared-device' ELSE NULL END) IS NULL ELSE FALSE END)
{%- endmacro %}

{% macro royalty_bearing_but_for_flags(period) -%}
(CASE WHEN {{ period }} >= '2000-01' THEN (CASE WHEN NOT COALESCE(ms_played >= 30000, FALSE) THEN 'under_30_s' ELSE NULL END) IS NULL ELSE FALSE END)
{%- endmacro %}

{% macro royalty_policy(period) -%}
(CASE WHEN {{ period }} >= '2000-01' THEN 'streamed-30s@2' END)
{%- endmacro %}

{% macro artificial_rule(name, key) -%}
{{ {'bot-user-agent': {'version': 1}, 'overlapping-plays': {'version': 1, 'least_plays': 20, 'tolerance_ms': 5000}, 'track-loop': {'version': 1, 'least_plays': 100}, 'shared-device': {'version': 1, 'least_accounts': 10}}[name][key] }}
{%- endmacro %}

{% macro is_noise(genre) -%}
COALESCE(LOWER(TRIM({{ genre }})) IN ('ambient noise', 'brown noise', 'fan noise', 'functional noise', 'nature sounds', 'pink noise', 'rain', 'rain sounds', 'sleep sounds', 'sound effects', 'static', 'white noise'), FALSE)
{%- endmacro %}

{% macro royalty_share_bps(period) -%}
cast(case when {{ period }} >= '2000-01' then 7000 end as bigint)
{%- endmacro %}
