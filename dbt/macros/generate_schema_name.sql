{# A model's schema is the namespace it names, in every environment: environments differ by their Trino. Benchmarks alone put a
   prefix in front, so that they run the same models beside the real tables. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ var('namespace_prefix') }}{{ custom_schema_name or target.schema }}
{%- endmacro %}
