-- Lines in the currency of the account are booked, to the minor unit: payable and in suspense.
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

entries as (
    select
        agreement_id,
        payee,
        currency,
        entry_kind = 'royalty' as is_payable,
        sum(amount_minor) as amount_minor
    from lake.gold.settlement_entries
    where
        calculation = '{calculation}'
        and (entry_kind = 'royalty' or entry_kind = 'suspense')
        and refers_to = '{period}/' || currency
    group by agreement_id, payee, currency, entry_kind = 'royalty'
)

select
    count(*) as looked_at,
    count_if(lines.amount_minor <> coalesce(entries.amount_minor, 0)) as wrong
from lines
inner join (
    select distinct
        agreement_id,
        currency
    from lake.gold.settlement_entries
    where calculation = '{calculation}'
) as accounts on lines.agreement_id = accounts.agreement_id and lines.currency = accounts.currency
left join entries
    on
        lines.agreement_id = entries.agreement_id
        and lines.payee = entries.payee
        and lines.currency = entries.currency
        and lines.is_payable = entries.is_payable
