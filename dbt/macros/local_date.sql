{# Date of a moment in the listener's time zone. A zone that Trino does not know counts as UTC, so that one bad event can't stop a run. #}
{% macro local_date(moment, time_zone) -%}
    coalesce(try(cast(at_timezone({{ moment }}, {{ time_zone }}) as date)), cast({{ moment }} as date))
{%- endmacro %}
