-- Lines are what their clause gives: its share of net revenue, its rate or minimum a stream, or its minimum a subscriber.
with clauses as (
    {clauses}
),

lines as (
    select
        lines.unrounded_amount,
        -- How much of a right a line is about is known from its weight where streams are weights. Under the other models
        -- a line by streams is not more than what all of the right would bring.
        lines.deciding_rule in ('rate', 'per_stream_minimum') and lines.royalty_model <> 'pro_rata' as is_at_most,
        case
            when lines.deciding_rule = 'share' and clauses.is_share
                then clauses.share_or_rate * pools.net_minor * lines.weight
            when lines.deciding_rule = 'rate' and not clauses.is_share
                then clauses.share_or_rate * rates.exchange_rate * rates.quote_minor_units
            when lines.deciding_rule = 'per_stream_minimum'
                then clauses.minimum_a_stream * rates.exchange_rate * rates.quote_minor_units
            when lines.deciding_rule = 'per_subscriber_minimum'
                then
                    clauses.minimum_a_subscriber * rates.exchange_rate * rates.quote_minor_units
                    * pools.subscribers * lines.weight
        end
        * case
            when lines.deciding_rule not in ('rate', 'per_stream_minimum') then 1e0
            when lines.royalty_model = 'pro_rata' then lines.weight * (pools.streams - pools.unlicensed_streams)
            else lines.streams
        end as from_clause
    from lake.gold.settlement_lines as lines
    inner join lake.gold.settlement_pools as pools
        on
            lines.calculation = pools.calculation
            and lines.country = pools.country
            and lines.tier = pools.tier
            and lines.currency = pools.currency
    left join clauses on lines.clause = clauses.clause
    left join lake.gold.settlement_rates as rates
        on
            lines.calculation = rates.calculation
            and clauses.currency = rates.base_currency
            and lines.currency = rates.quote_currency
    where lines.calculation = '{calculation}'
)

select
    count(*) as looked_at,
    count_if(
        from_clause is null
        or unrounded_amount - from_clause > 1e-9 * greatest(1, unrounded_amount)
        or (not is_at_most and from_clause - unrounded_amount > 1e-9 * greatest(1, unrounded_amount))
    ) as wrong
from lines
