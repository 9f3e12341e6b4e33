-- No line is a whole minor unit away from its exact part of what was shared out.
select
    count(*) as looked_at,
    count_if(abs(amount_minor - unrounded_amount * shared_out / nullif(claimed, 0)) >= 1) as wrong
from (
    select
        amount_minor,
        unrounded_amount,
        sum(unrounded_amount) over (partition by country, tier, currency) as claimed,
        sum(amount_minor) over (partition by country, tier, currency) as shared_out
    from lake.gold.settlement_lines
    where calculation = '{calculation}' and {markets}
) as lines
