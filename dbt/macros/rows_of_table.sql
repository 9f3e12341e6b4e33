{# Materialization: the model's rows in a table that the contracts made (`wavehouse lake init`). Of what is there, the rows this run
   touches are deleted (meta.touched names the column; without it: all), then what the model selects is put in. meta.touched 'new'
   only puts in: the model leaves out what is there already. Running it twice, or again after a crash in between, gives the same
   rows; nothing of it shows before it is published. Unlike dbt's own it never renames or replaces a table, which would cut
   it off from its published snapshot, and it asks no more of Trino than three statements. #}
{% materialization rows_of_table, adapter='trino' %}
    {%- set table = this.incorporate(type='table') -%}
    {%- set columns = get_quoted_csv(model.columns.keys()) -%}
    {%- set by = model.config.meta.get('touched', 'all') -%}
    {%- set rows = ('false' if has_window() else 'true') if by == 'new' else (closing('period') if by == 'closing' else
        ('true' if by == 'all' else touched(by))) -%}
    {%- if not load_cached_relation(this) -%}
        {%- do exceptions.raise_compiler_error(this ~ ' does not exist; run `wavehouse lake init`') -%}
    {%- endif -%}
    {{ run_hooks(pre_hooks) }}
    {%- do get_assert_columns_equivalent(sql) -%}
    {%- if rows != 'false' -%}
        {%- call statement('delete') -%} delete from {{ table }} where {{ rows }} {%- endcall -%}
    {%- endif -%}
    {%- for piece in pieces(sql, by) -%}
        {%- call statement('main') -%}
            insert into {{ table }} ({{ columns }})
            select {{ columns }} from (
                {{ piece }}
            )
        {%- endcall -%}
    {%- endfor -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [table]}) }}
{% endmaterialization %}

{# The query of a model, or the queries that together select the same rows. #}
{% macro pieces(sql, by) -%}
    {%- set made = [] -%}
    {%- if part_marker() in sql -%}
        {%- for part in range(var('parts')) -%}
            {%- do made.append(sql | replace(part_marker(), part | string)) -%}
        {%- endfor -%}
    {%- elif by == 'played_on' and var('days_a_statement') and has_window() -%}
        {%- for days in touched_values(by) | batch(var('days_a_statement')) -%}
            {%- do made.append(sql | replace(touched(by), one_of(by, days))) -%}
        {%- endfor -%}
    {%- else -%}
        {%- do made.append(sql) -%}
    {%- endif -%}
    {{ return(made) }}
{%- endmacro %}
