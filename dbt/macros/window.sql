{# The window of a run: what was received on the dates `from` to `to`. #}

{# Whether the run has a window; without one everything is built anew. #}
{% macro has_window() -%}
    {{ return(var('from') is not none) }}
{%- endmacro %}

{# Predicate over received_at: the row is taken in by this run. Written on the timestamp, so that partitions and files are skipped. #}
{% macro received_in_window(lookback_days=0) -%}
    {%- if has_window() -%}
        {%- set days = modules.datetime.timedelta -%}
        {%- set first = modules.datetime.date.fromisoformat(var('from') | string) - days(lookback_days) -%}
        {%- set last = modules.datetime.date.fromisoformat(var('to') | string) + days(1) -%}
        (received_at >= timestamp '{{ first }} 00:00:00 UTC' and received_at < timestamp '{{ last }} 00:00:00 UTC')
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}

{# A bronze table, at the snapshot that this run reads when one is given. #}
{% macro bronze(table) -%}
    {%- set snapshot = var('bronze_snapshots').get(table) -%}
    {{ source('bronze', table) }}{% if snapshot %} for version as of {{ snapshot }}{% endif %}
{%- endmacro %}

{# What `touched` is computed from: the silver table, the expression that yields the column, and the schema where it is not silver. #}
{% macro touched_sources() -%}
    {{ return({
        'played_on': ('plays', 'played_on'),
        'local_played_on': ('plays', 'local_played_on'),
        'period': ('plays', "date_format(played_on, '%Y-%m')"),
        'year': ('plays', 'year(local_played_on)'),
        'shown_on': ('ad_impressions', 'shown_on'),
        'listened_on': ('int_listening', 'listened_on', 'staging'),
    }) }}
{%- endmacro %}

{# Predicate over `column`: rows of this day, month or year have to be computed again, because this run's window brought something new.
   Values are written out, so that Trino reads and deletes whole partitions. `expression` stands for the column where it is computed. #}
{% macro touched(column, expression=none) -%}
    {%- if not has_window() -%}{{ return('true') }}{%- endif -%}
    {%- if not execute -%}{{ return('false') }}{%- endif -%}
    {%- set source = touched_sources()[column] -%}
    {%- set value, schema = source[1], source[2] if source | length > 2 else 'silver_audit' -%}
    {%- set silver = api.Relation.create(database=target.database, schema=schema, identifier=source[0]) -%}
    {%- set lookback = var('received_lookback_days') -%}
    {%- set found = run_query('select distinct ' ~ value ~ ' from ' ~ silver ~ ' where ' ~ received_in_window(lookback) ~ ' order by 1') -%}
    {%- set literals = [] -%}
    {%- for row in found.rows -%}
        {%- if row[0] is number -%}{%- do literals.append(row[0] | string) -%}
        {%- elif column == 'period' -%}{%- do literals.append("'" ~ row[0] ~ "'") -%}
        {%- else -%}{%- do literals.append("date '" ~ row[0] ~ "'") -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return((expression or column) ~ ' in (' ~ literals | join(', ') ~ ')' if literals else 'false') }}
{%- endmacro %}
