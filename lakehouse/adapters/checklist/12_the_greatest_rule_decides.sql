-- An agreement gets of a pool the greatest of what its clause gives: share or rate, minimum a stream, minimum a subscriber.
with clauses as (
    {clauses}
),

claims as (
    select
        clause,
        country,
        tier,
        currency,
        royalty_model = 'pro_rata' as streams_are_weights,
        sum(unrounded_amount) as claimed,
        sum(weight) as weight
    from lake.gold.settlement_lines
    where calculation = '{calculation}'
    group by clause, country, tier, currency, royalty_model
),

held as (
    select
        claims.claimed,
        claims.weight,
        claims.streams_are_weights,
        claims.weight * (pools.streams - pools.unlicensed_streams) as streams,
        pools.net_minor,
        pools.subscribers,
        clauses.is_share,
        clauses.share_or_rate,
        clauses.minimum_a_stream,
        clauses.minimum_a_subscriber,
        -- what a unit of the agreement's currency is in minor units of the pool's
        rates.exchange_rate * rates.quote_minor_units as unit_minor
    from claims
    inner join lake.gold.settlement_pools as pools
        on
            pools.calculation = '{calculation}'
            and claims.country = pools.country
            and claims.tier = pools.tier
            and claims.currency = pools.currency
    left join clauses on claims.clause = clauses.clause
    left join lake.gold.settlement_rates as rates
        on
            rates.calculation = '{calculation}'
            and clauses.currency = rates.base_currency
            and claims.currency = rates.quote_currency
),

rules as (
    -- Under other models than pro rata the streams of what an agreement holds can't be told from its weight.
    select
        claimed,
        case
            when is_share then share_or_rate * net_minor * weight
            when streams_are_weights then share_or_rate * unit_minor * streams
            else 0 * share_or_rate
        end as by_share_or_rate,
        if(
            minimum_a_stream > 0 and streams_are_weights,
            minimum_a_stream * unit_minor * streams,
            0 * minimum_a_stream
        ) as by_stream,
        if(
            minimum_a_subscriber > 0,
            minimum_a_subscriber * unit_minor * subscribers * weight,
            0 * minimum_a_subscriber
        ) as by_subscriber
    from held
)

select
    count(*) as looked_at,
    count_if(
        not coalesce(
            by_share_or_rate <= claimed + 1e-9 * greatest(1, claimed)
            and by_stream <= claimed + 1e-9 * greatest(1, claimed)
            and by_subscriber <= claimed + 1e-9 * greatest(1, claimed),
            false
        )
    ) as wrong
from rules
