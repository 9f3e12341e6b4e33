{# What the linter reads in place of the project's macros, which need a running dbt. #}
{% macro bronze(table) %}bronze.{{ table }}{% endmacro %}
{% macro at(relation, snapshot) %}{{ relation }}{% endmacro %}
{% macro plays_rejection_reason() %}cast(null as varchar){% endmacro %}
{% macro ad_impressions_rejection_reason() %}cast(null as varchar){% endmacro %}
{% macro is_bot() %}(user_agent = 'bot'){% endmacro %}
{% macro is_stream() %}(ms_played > 0){% endmacro %}
{% macro royalty_bearing_but_for_flags(period) %}({{ period }} > '2000-01' and ms_played > 0){% endmacro %}
{% macro royalty_bearing(period, flags) %}({{ period }} > '2000-01' and {{ flags }} is null){% endmacro %}
{% macro royalty_policy(period) %}{{ period }}{% endmacro %}
{% macro is_noise(genre) %}({{ genre }} is null){% endmacro %}
{% macro royalty_share_bps(period) %}if({{ period }} > '2000-01', 7000, 0){% endmacro %}
{% macro local_date(moment, time_zone) %}cast({{ moment }} as date){% endmacro %}
{% macro received_in_window(lookback_days=0) %}(received_at > current_date){% endmacro %}
{% macro has_window() %}{% endmacro %}
{% macro touched(column, expression=none) %}({{ expression or column }} is not null){% endmacro %}
{% macro candidates_and_copies(staged) %}candidates as (select * from {{ staged }}), copies as (select copy from candidates){% endmacro %}
{% macro is_first_copy(day, present_day=none) %}not exists (select 1 from copies where copies.copy > 1){% endmacro %}
{% macro is_not_kept() %}(event_id is not null){% endmacro %}
{% macro product(a, b) %}({{ a }} * {{ b }}){% endmacro %}
{% macro remainder(a, b, c) %}mod({{ a }} * {{ b }}, {{ c }}){% endmacro %}
{% macro floor_div(a, b, c) %}({{ a }} * {{ b }} / {{ c }}){% endmacro %}
{% macro artificial_rule(name, key) %}1{% endmacro %}
{% macro in_touched_months(column) %}({{ column }} is not null){% endmacro %}
{% macro month_of(column) %}date_trunc('month', {{ column }}){% endmacro %}
{% macro closing(column) %}({{ column }} is not null){% endmacro %}
{% macro in_part(number) %}mod({{ number }}, 2) = 1{% endmacro %}
{% macro in_trailing_days(column, days, of) %}({{ column }} is not null){% endmacro %}
