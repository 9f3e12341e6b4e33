{# Incremental strategy: the touched rows of a table (meta.touched names the column; none: all rows) are deleted, and what the model
   selects is put in. meta.touched 'new' only puts in: the model itself leaves out what is there already. Running it twice, or again
   after a crash in between, gives the same rows; nothing of it shows before it is published. #}
{% macro get_incremental_replace_touched_sql(arg_dict) -%}
    {%- set target_table = arg_dict['target_relation'] -%}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    {%- set by = model.config.meta.get('touched', 'all') -%}
    {%- set rows = ('false' if has_window() else 'true') if by == 'new' else ('true' if by == 'all' else touched(by)) -%}
    {%- if rows != 'false' -%}
    delete from {{ target_table }} where {{ rows }};
    {%- endif %}
    insert into {{ target_table }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{%- endmacro %}

{# Predicate over `candidate` (alias): it is the first copy of its event among the candidates, by Kafka position, and the
   event is not in the table yet. Needs a CTE `copies` of event_id, kafka_partition, kafka_offset and copy (1 = first). #}
{% macro is_first_copy(day) -%}
    not exists (
        select 1 from copies
        where
            copies.copy > 1
            and copies.kafka_partition = candidates.kafka_partition
            and copies.kafka_offset = candidates.kafka_offset
    )
    {%- if is_incremental() and has_window() %}
    and not exists (
        select 1 from {{ this }} as present
        where present.event_id = candidates.event_id and {{ near_candidates('present.' ~ day, day) }}
    )
    {%- endif %}
{%- endmacro %}

{# Predicate that keeps the look for known events to the partitions that can hold them: a copy has the day of its original. A month on
   either side is for players that send one event_id with two times. #}
{% macro near_candidates(column, day) -%}
    {%- if not execute -%}{{ return('true') }}{%- endif -%}
    {%- set staged = ref('stg_' ~ model.name) -%}
    {%- set lookback = var('received_lookback_days') -%}
    {%- set found = run_query('select min(' ~ day ~ "), max(" ~ day ~ ') from ' ~ staged ~ ' where rejection_reason is null and ' ~ received_in_window(lookback)) -%}
    {%- set first, last = found.rows[0][0], found.rows[0][1] -%}
    {%- if first is none -%}{{ return('false') }}{%- endif -%}
    {{ return(column ~ " between date '" ~ first ~ "' - interval '31' day and date '" ~ last ~ "' + interval '31' day") }}
{%- endmacro %}
