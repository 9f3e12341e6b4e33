{# lakehouse/domain/listening/imports/listens.py (recording_key) in SQL: artist and title, whatever case, width and spaces. #}
{% macro recording_key(artist_name, title) -%}
    concat({{ sql_name_key(artist_name) }}, u&'\2014', {{ sql_name_key(title) }})
{%- endmacro %}

{% macro sql_name_key(name) -%}
    trim(regexp_replace(normalize(lower(normalize({{ name }}, NFKC)), NFKC), '\s+', ' '))
{%- endmacro %}
