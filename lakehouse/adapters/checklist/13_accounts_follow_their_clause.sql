-- Of every account: reserve held, true-up, recoupment and tax are what its clause and balances give, to the minor unit.
with accounts as (
    select
        agreement_id,
        payee,
        clause,
        -- A clause that has ended still taxes what reaches the account, and holds and guarantees nothing.
        valid_to = '' or valid_to >= '{period}' as is_in_force,
        -- in the last month of a window, to the licensor
        payee = licensor
        and guarantee_minor > 0
        and mod(date_diff('month', cast(valid_from || '-01' as date), date '{after}'), guarantee_months) = 0
            as is_trued_up,
        guarantee_minor,
        earned_before_minor,
        unrecouped_before_minor + advances_minor as to_recoup,
        -- Fractions of the contract, exact: numerator and denominator.
        cast(split_part(reserve, '/', 1) as decimal(38, 0)) as reserve_parts,
        cast(coalesce(nullif(split_part(reserve, '/', 2), ''), '1') as decimal(38, 0)) as reserve_of,
        cast(split_part(withholding, '/', 1) as decimal(38, 0)) as tax_parts,
        cast(coalesce(nullif(split_part(withholding, '/', 2), ''), '1') as decimal(38, 0)) as tax_of
    from lake.gold.settlement_accounts
    where calculation = '{calculation}'
),

-- What is none of the month's own steps (`other`) comes after them: corrections of closed months, that went through
-- these steps there. What they take beyond what is payable is overpaid, and set off by the next month in the same place.
steps as (
    select
        agreement_id,
        payee,
        clause,
        amount_minor,
        case
            when entry_kind in ('royalty', 'adjustment') then 'income'
            when entry_kind in ('brought_forward', 'reserve_released', 'payable') then entry_kind
            when starts_with(entry_kind, 'overpayment_') then entry_kind
            when entry_kind in ('true_up', 'reserve_held', 'carried_forward') and refers_to = '{period}' then entry_kind
            when entry_kind in ('recoupment', 'withholding_tax') and refers_to = '' then entry_kind
            else 'other'
        end as step
    from lake.gold.settlement_entries
    where calculation = '{calculation}' and entry_kind not in ('suspense', 'balance_adjustment')
),

booked as (
    select
        agreement_id,
        payee,
        min(clause) filter (where step in ('true_up', 'reserve_held', 'withholding_tax')) as first_clause,
        max(clause) filter (where step in ('true_up', 'reserve_held', 'withholding_tax')) as last_clause,
        sum(if(step = 'brought_forward', amount_minor, 0)) as brought_forward,
        sum(if(step = 'income', amount_minor, 0)) as income,
        sum(if(step = 'true_up', amount_minor, 0)) as true_up,
        sum(if(step = 'reserve_held', -amount_minor, 0)) as held,
        sum(if(step = 'recoupment', -amount_minor, 0)) as recouped,
        sum(if(step = 'withholding_tax', -amount_minor, 0)) as tax,
        sum(if(step = 'carried_forward', amount_minor, 0)) as carried_forward,
        sum(
            if(step in ('brought_forward', 'income', 'true_up', 'reserve_held', 'reserve_released'), amount_minor, 0)
        ) as before_recoupment,
        sum(
            if(step in ('carried_forward', 'other', 'payable') or starts_with(step, 'overpayment_'), 0, amount_minor)
        ) as before_carrying,
        sum(if(step = 'overpayment_brought_forward', -amount_minor, 0)) as set_off,
        sum(if(step = 'overpayment_carried_forward', amount_minor, 0)) as overpaid,
        sum(if(step in ('overpayment_carried_forward', 'payable'), 0, amount_minor)) as in_all
    from steps
    group by agreement_id, payee
),

-- What a guarantee counts: all that the agreement earned, whoever is paid it, suspense included. What suspense of a
-- closed month is corrected by ("2026-10/suspense/2026-10/JPY") is counted there.
earned as (
    select
        agreement_id,
        sum(amount_minor) as amount_minor
    from lake.gold.settlement_entries
    where
        calculation = '{calculation}'
        and (
            entry_kind in ('royalty', 'adjustment')
            or (entry_kind = 'suspense' and split_part(refers_to, '/', 2) <> 'suspense')
        )
    group by agreement_id
),

left_over as (
    select
        entries.agreement_id,
        entries.payee,
        if(entries.entry_kind = 'carried_forward', entries.amount_minor, 0) as deficit,
        if(entries.entry_kind = 'overpayment_carried_forward', entries.amount_minor, 0) as overpaid
    from lake.gold.settlements as settlements
    inner join lake.gold.settlement_entries as entries on settlements.calculation = entries.calculation
    where
        settlements.period = '{before}'
        and settlements.calculation_kind = 'current'
        and entries.entry_kind in ('carried_forward', 'overpayment_carried_forward')
    union all
    -- what the deficit was corrected by, after {before} was closed
    select
        agreement_id,
        payee,
        amount_minor as deficit,
        0 as overpaid
    from lake.gold.settlement_entries
    where
        calculation = '{calculation}'
        and entry_kind = 'balance_adjustment'
        and refers_to = '{before}/deficit'
),

carried as (
    select
        agreement_id,
        payee,
        sum(deficit) as deficit,
        sum(overpaid) as overpaid
    from left_over
    group by agreement_id, payee
),

known as (
    select
        agreement_id,
        payee
    from accounts
    union distinct
    select
        agreement_id,
        payee
    from booked
    union distinct
    select
        agreement_id,
        payee
    from carried
),

sums as (
    select
        accounts.is_in_force,
        accounts.to_recoup,
        accounts.reserve_parts,
        accounts.reserve_of,
        accounts.tax_parts,
        accounts.tax_of,
        accounts.clause = coalesce(booked.first_clause, accounts.clause)
        and accounts.clause = coalesce(booked.last_clause, accounts.clause) as is_by_the_clause,
        if(
            accounts.is_in_force and accounts.is_trued_up,
            greatest(
                0, accounts.guarantee_minor - accounts.earned_before_minor - coalesce(earned.amount_minor, 0)
            ),
            0
        ) as missing,
        coalesce(carried.deficit, 0) as deficit,
        coalesce(carried.overpaid, 0) as overpaid_before,
        coalesce(booked.brought_forward, 0) as brought_forward,
        coalesce(booked.true_up, 0) as true_up,
        coalesce(booked.recouped, 0) as recouped,
        coalesce(booked.carried_forward, 0) as carried_forward,
        greatest(0, coalesce(booked.before_recoupment, 0)) as to_recoup_from,
        greatest(0, -coalesce(booked.before_carrying, 0)) as to_carry,
        coalesce(booked.set_off, 0) as set_off,
        coalesce(booked.overpaid, 0) as overpaid,
        greatest(0, -coalesce(booked.in_all, 0)) as to_set_off,
        cast(coalesce(booked.held, 0) as decimal(38, 0)) as held,
        cast(greatest(0, coalesce(booked.income, 0)) as decimal(38, 0)) as income,
        cast(coalesce(booked.tax, 0) as decimal(38, 0)) as tax,
        cast(greatest(0, coalesce(booked.before_recoupment, 0)) - coalesce(booked.recouped, 0) as decimal(38, 0))
            as taxed
    from known
    left join accounts on known.agreement_id = accounts.agreement_id and known.payee = accounts.payee
    left join booked on known.agreement_id = booked.agreement_id and known.payee = booked.payee
    left join carried on known.agreement_id = carried.agreement_id and known.payee = carried.payee
    left join earned on known.agreement_id = earned.agreement_id
)

select
    count(*) as looked_at,
    -- Whole units: what is taken is not above the exact part, and less than one below it.
    count_if(
        not coalesce(
            is_by_the_clause
            and brought_forward = -deficit
            and true_up = missing
            and if(
                is_in_force,
                held * reserve_of <= income * reserve_parts and income * reserve_parts < (held + 1) * reserve_of,
                held = 0
            )
            and recouped = least(to_recoup, to_recoup_from)
            and tax * tax_of <= taxed * tax_parts
            and taxed * tax_parts < (tax + 1) * tax_of
            and carried_forward = to_carry
            and set_off = overpaid_before
            and overpaid = to_set_off,
            false
        )
    ) as wrong
from sums
