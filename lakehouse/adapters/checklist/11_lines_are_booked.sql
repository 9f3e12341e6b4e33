-- Lines are booked in the agreement's currency, at the month's rate and to the minor unit: payable and in suspense.
with lines as (
    select
        agreement_id,
        payee,
        currency,
        account = 'payable' as is_payable,
        sum(amount_minor) as amount_minor
    from lake.gold.settlement_lines
    where calculation = '{calculation}'
    group by agreement_id, payee, currency, account = 'payable'
),

agreements as (
    select distinct
        agreement_id,
        currency
    from lake.gold.settlement_clauses
    where calculation = '{calculation}'
),

converted as (
    select
        lines.agreement_id,
        lines.payee,
        lines.is_payable,
        '{period}/' || lines.currency as refers_to,
        agreements.currency,
        lines.amount_minor * rates.exchange_rate * rates.quote_minor_units / rates.base_minor_units as exact_minor
    from lines
    left join agreements on lines.agreement_id = agreements.agreement_id
    left join lake.gold.settlement_rates as rates
        on
            rates.calculation = '{calculation}'
            and lines.currency = rates.base_currency
            and agreements.currency = rates.quote_currency
),

entries as (
    select
        agreement_id,
        payee,
        entry_kind = 'royalty' as is_payable,
        refers_to,
        currency,
        sum(amount_minor) as amount_minor
    from lake.gold.settlement_entries
    where
        calculation = '{calculation}'
        and (entry_kind = 'royalty' or (entry_kind = 'suspense' and starts_with(refers_to, '{period}/')))
    group by agreement_id, payee, entry_kind = 'royalty', refers_to, currency
)

select
    count(*) as looked_at,
    -- A sum is rounded once, half to even; one that rounds to nothing has no entry.
    count_if(
        not coalesce(
            abs(coalesce(entries.amount_minor, 0) - if(converted.refers_to is null, 0e0, converted.exact_minor))
            <= 0.5e0 + 1e-14 * greatest(1, abs(coalesce(entries.amount_minor, 0))),
            false
        )
    ) as wrong
from converted
full join entries
    on
        converted.agreement_id = entries.agreement_id
        and converted.payee = entries.payee
        and converted.is_payable = entries.is_payable
        and converted.refers_to = entries.refers_to
        and converted.currency = entries.currency
