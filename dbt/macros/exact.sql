{# a * b in 38 digits: money times streams overflows 64 bits on the scale this is made for. Trino fails on more, it never rounds. #}
{% macro product(a, b) -%}
    (cast({{ a }} as decimal(38, 0)) * {{ b }})
{%- endmacro %}

{# Remainder of a * b / c, exact. #}
{% macro remainder(a, b, c) -%}
    mod({{ product(a, b) }}, {{ c }})
{%- endmacro %}

{# Largest integer not above a * b / c for numbers that are not negative, exact: what is divided is a multiple of c. #}
{% macro floor_div(a, b, c) -%}
    cast(({{ product(a, b) }} - {{ remainder(a, b, c) }}) / {{ c }} as bigint)
{%- endmacro %}
