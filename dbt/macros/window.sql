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
    {{- at(source('bronze', table), var('bronze_snapshots').get(table)) -}}
{%- endmacro %}

{# A table at a snapshot when one is given, with the columns it had then. #}
{% macro at(relation, snapshot) -%}
    {{ relation }}{% if snapshot %} for version as of {{ snapshot }}{% endif %}
{%- endmacro %}

{# What `touched` is computed from: the table, the expression that yields the column, the schema where it is not silver, and SQL of
   more values, where rows change though nothing was received for them: impressions of before were clicked on, or recordings of
   listens came or went. #}
{% macro touched_sources() -%}
    {{ return({
        'played_on': ('plays', 'played_on'),
        'local_played_on': ('plays', 'local_played_on'),
        'period': ('plays', "date_format(played_on, '%Y-%m')"),
        'year': ('plays', 'year(local_played_on)'),
        'shown_on': ('ad_impressions', 'shown_on', 'silver_audit',
            'select shown_on from ' ~ built('silver_audit', 'ad_impressions') ~ ' where event_id in (select impression_event_id from '
            ~ built('silver_audit', 'ad_clicks') ~ ' where ' ~ received_in_window(var('received_lookback_days')) ~ ')'),
        'as_of_on': ('plays', 'received_on'),
        'listened_on': ('int_listening', 'listened_on', 'staging',
            'select listened_on from ' ~ built('staging', 'int_listens_rematched')),
    }) }}
{%- endmacro %}

{# A table that is built already; `ref` would make it a dependency of every model. #}
{% macro built(schema, name) -%}
    {{ return(api.Relation.create(database=target.database, schema=generate_schema_name(schema, none) | trim, identifier=name)) }}
{%- endmacro %}

{# Values of `column`, as literals, that this run's window brought something new for. #}
{% macro touched_values(column) -%}
    {%- set source = touched_sources()[column] -%}
    {%- set relation = built(source[2] if source | length > 2 else 'silver_audit', source[0]) -%}
    {%- set more = ' union ' ~ source[3] if source | length > 3 else '' -%}
    {%- set found = run_query(
        'select distinct ' ~ source[1] ~ ' from ' ~ relation ~ ' where ' ~ received_in_window(var('received_lookback_days'))
        ~ more ~ ' order by 1') -%}
    {%- set literals = [] -%}
    {%- for row in found.rows -%}
        {%- if row[0] is number -%}{%- do literals.append(row[0] | string) -%}
        {%- elif column == 'period' -%}{%- do literals.append("'" ~ row[0] ~ "'") -%}
        {%- else -%}{%- do literals.append("date '" ~ row[0] ~ "'") -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(literals) }}
{%- endmacro %}

{# Predicate over `column`: rows of this day, month or year have to be computed again, because this run's window brought something new.
   Values are written out, so that Trino reads and deletes whole partitions. `expression` stands for the column where it is computed.
   A run that closes a month (var `period`) is about that month. #}
{% macro touched(column, expression=none) -%}
    {%- if column == 'period' and var('period') -%}{{ return(closing(expression or column)) }}{%- endif -%}
    {%- if not has_window() -%}{{ return('true') }}{%- endif -%}
    {%- if not execute -%}{{ return('false') }}{%- endif -%}
    {{ return(one_of(expression or column, touched_values(column))) }}
{%- endmacro %}

{# Predicate over the date `column`: it is in a month that `touched('period')` is true of, written so that Trino skips whole days. #}
{% macro in_touched_months(column) -%}
    {%- if not has_window() and not var('period') -%}{{ return('true') }}{%- endif -%}
    {%- if not execute -%}{{ return('false') }}{%- endif -%}
    {%- set ranges = [] -%}
    {%- for month in (["'" ~ var('period') ~ "'"] if var('period') else touched_values('period')) -%}
        {%- set first = "date '" ~ month[1:-1] ~ "-01'" -%}
        {%- do ranges.append('(' ~ column ~ ' >= ' ~ first ~ ' and ' ~ column ~ ' < ' ~ first ~ " + interval '1' month)") -%}
    {%- endfor -%}
    {{ return('(' ~ ranges | join(' or ') ~ ')' if ranges else 'false') }}
{%- endmacro %}

{# Predicate over the date `column`: it is one of the `days` days that end with a day that `touched(of)` is true of, or lies between
   such days; written so that Trino skips whole days. #}
{% macro in_trailing_days(column, days, of) -%}
    {%- if not has_window() -%}{{ return('true') }}{%- endif -%}
    {%- if not execute -%}{{ return('false') }}{%- endif -%}
    {%- set ends = touched_values(of) -%}
    {{ return('(' ~ column ~ ' > ' ~ ends[0] ~ " - interval '" ~ days ~ "' day and " ~ column ~ ' <= ' ~ ends[-1] ~ ')' if ends else 'false') }}
{%- endmacro %}

{# The first day of the month of the date `column`; a constant where a run is about one month. #}
{% macro month_of(column) -%}
    {{ return("date '" ~ var('period') ~ "-01'" if var('period') else "date_trunc('month', " ~ column ~ ')') }}
{%- endmacro %}

{# Predicate: `expression` is one of `literals`. #}
{% macro one_of(expression, literals) -%}
    {{ return(expression ~ ' in (' ~ literals | join(', ') ~ ')' if literals else 'false') }}
{%- endmacro %}

{# Predicate over the month `column`: of a run that closes a month that month, of others all, because revenue and the catalogue
   change months whose plays nobody touched. #}
{% macro closing(column) -%}
    {{ return(column ~ " = '" ~ var('period') ~ "'" if var('period') else 'true') }}
{%- endmacro %}

{# Predicate: the row is in the part that a statement is about. Where a whole month doesn't fit into Trino's memory, var `parts`
   splits it by `number`, an expression that is never negative; the materialization then runs a statement a part. #}
{% macro in_part(number) -%}
    {{ return('mod(' ~ number ~ ', ' ~ var('parts') ~ ') = ' ~ part_marker() if var('parts') > 1 else 'true') }}
{%- endmacro %}

{% macro part_marker() -%}
    {{ return('/* part */ -1') }}
{%- endmacro %}
