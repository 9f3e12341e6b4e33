-- Lines by share = net revenue x share of the clause, its escalations applied, x weight.
with clauses as (
    -- of a clause with steps the average of what each stream of the volume falls into; shares have 15 digits here
    select distinct
        clause,
        if(
            cast(json_parse(steps) as array(array(double))) = array[] or volume = 0,
            share,
            reduce(
                sequence(0, cardinality(cast(json_parse(steps) as array(array(double))))),
                0e0,
                (total, n) -> total
                + if(n = 0, share, cast(json_parse(steps) as array(array(double)))[greatest(n, 1)][2])
                * greatest(
                    0e0,
                    least(
                        coalesce(
                            element_at(cast(json_parse(steps) as array(array(double))), n + 1)[1],
                            cast(volume_before + volume as double)
                        ),
                        volume_before + volume
                    )
                    - greatest(
                        if(n = 0, 0e0, cast(json_parse(steps) as array(array(double)))[greatest(n, 1)][1]),
                        volume_before
                    )
                ),
                total -> total / volume
            )
        ) as share
    from lake.gold.settlement_clauses
    where calculation = '{calculation}' and share is not null
)

select
    count(*) as looked_at,
    count_if(
        clauses.share is null
        or abs(lines.unrounded_amount - pools.net_minor * clauses.share * lines.weight)
        > 1e-9 * greatest(1, lines.unrounded_amount)
    ) as wrong
from lake.gold.settlement_lines as lines
inner join lake.gold.settlement_pools as pools
    on
        lines.calculation = pools.calculation
        and lines.country = pools.country
        and lines.tier = pools.tier
        and lines.currency = pools.currency
left join clauses on lines.clause = clauses.clause
where lines.calculation = '{calculation}' and lines.deciding_rule = 'share'
