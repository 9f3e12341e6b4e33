{# No two rows have the same values in `columns`. `touched_by` keeps the look to what this run computed. #}
{% test unique_rows(model, columns, touched_by=none) %}
select {{ columns | join(', ') }}, count(*) as copies
from {{ model }}
{% if touched_by %}where {{ touched(touched_by) }}{% endif %}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
