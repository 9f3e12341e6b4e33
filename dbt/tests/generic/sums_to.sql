{# An accounting identity: grouped by `by`, the sums of `measures` here equal those of `other`. #}
{% test sums_to(model, other, by, measures, touched_by=none, condition='true') %}
with here as (
    select {{ by | join(', ') }}{% for m in measures %}, sum({{ m }}) as {{ m }}{% endfor %}
    from {{ model }} where {{ touched(touched_by) if touched_by else 'true' }} group by {{ by | join(', ') }}
),
there as (
    select {{ by | join(', ') }}{% for m in measures %}, sum({{ m }}) as {{ m }}{% endfor %}
    from {{ other }} where {{ touched(touched_by) if touched_by else 'true' }} and {{ condition }} group by {{ by | join(', ') }}
)
(select 'only here' as side, * from here except select 'only here', * from there)
union all
(select 'only there' as side, * from there except select 'only there', * from here)
{% endtest %}
