{# Two CTEs over the view `staged`: `candidates`, the valid events of this run's window, and `copies` of them, counted by Kafka
   position (1 = first); that one is narrow, because every event of the window passes through it. #}
{% macro candidates_and_copies(staged) -%}
    candidates as (
        select * from {{ staged }}
        where rejection_reason is null and {{ received_in_window(var('received_lookback_days')) }}
    ),

    copies as (
        select
            event_id,
            kafka_partition,
            kafka_offset,
            row_number() over (partition by event_id order by kafka_partition, kafka_offset) as copy
        from candidates
    )
{%- endmacro %}

{# Predicate over `candidates`: it is the first copy of its event among the candidates, by Kafka position, and the event is not
   in the table yet. Needs the CTEs of `candidates_and_copies`. `day` is the event's day, `present_day` the same of a row in the
   table, where that has no such column. #}
{% macro is_first_copy(day, present_day=none) -%}
    not exists (
        select 1 from copies
        where
            copies.copy > 1
            and copies.kafka_partition = candidates.kafka_partition
            and copies.kafka_offset = candidates.kafka_offset
    )
    {%- if has_window() %}
    and not exists (
        select 1 from {{ this }} as present
        where present.event_id = candidates.event_id and {{ near_candidates(day, present_day or 'present.' ~ day) }}
    )
    {%- endif %}
{%- endmacro %}

{# Predicate over `present` that keeps the look for known events to the partitions that can hold them: a copy has the day of its
   original. A month on either side is for players that send one event_id with two times. #}
{% macro near_candidates(day, present_day) -%}
    {%- if not execute -%}{{ return('true') }}{%- endif -%}
    {%- set found = run_query(
        'select min(' ~ day ~ '), max(' ~ day ~ ') from ' ~ ref('stg_' ~ model.name) ~
        ' where rejection_reason is null and ' ~ received_in_window(var('received_lookback_days'))) -%}
    {%- set first, last = found.rows[0][0], found.rows[0][1] -%}
    {%- if first is none -%}{{ return('false') }}{%- endif -%}
    {{ return(present_day ~ " between date '" ~ first ~ "' - interval '31' day and date '" ~ last ~ "' + interval '31' day") }}
{%- endmacro %}

{# Predicate over `candidates`: this record is not in the table yet. Records were received once, so the window bounds the look. #}
{% macro is_not_kept() -%}
    {%- if has_window() -%}
        not exists (
            select 1 from {{ this }} as present
            where
                present.kafka_partition = candidates.kafka_partition
                and present.kafka_offset = candidates.kafka_offset
                and {{ received_in_window(var('received_lookback_days')) | replace('received_at', 'present.received_at') }}
        )
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}
