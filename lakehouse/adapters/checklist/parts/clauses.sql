-- The clauses in force with their share or rate a stream: where it has steps, the average of what each stream of the
-- volume falls into. Numbers have 15 digits here.
with known as (
    select distinct
        clause,
        currency,
        share is not null as is_share,
        coalesce(share, rate_a_stream) as base,
        minimum_a_stream,
        minimum_a_subscriber,
        steps,
        volume_before,
        volume_before + volume as volume_after
    from lake.gold.settlement_clauses
    where calculation = '{calculation}'
),

steps as (
    select
        clause,
        0e0 as above,
        base as in_step
    from known
    union all
    select
        known.clause,
        step[1] as above,
        step[2] as in_step
    from known
    cross join unnest(cast(json_parse(known.steps) as array(array(double)))) as t (step)
),

ranges as (
    select
        clause,
        above,
        in_step,
        lead(above) over (partition by clause order by above) as up_to
    from steps
)

select
    known.clause,
    known.currency,
    known.is_share,
    known.minimum_a_stream,
    known.minimum_a_subscriber,
    if(
        known.volume_after = known.volume_before,
        known.base,
        sum(
            ranges.in_step
            * greatest(
                0e0,
                least(coalesce(ranges.up_to, known.volume_after), known.volume_after)
                - greatest(ranges.above, known.volume_before)
            )
        ) / nullif(known.volume_after - known.volume_before, 0)
    ) as share_or_rate
from known
inner join ranges on known.clause = ranges.clause
group by
    known.clause, known.currency, known.is_share, known.base, known.minimum_a_stream, known.minimum_a_subscriber,
    known.volume_before, known.volume_after
