{# A model's schema is the namespace it names, in every environment: environments differ by their Trino. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}
