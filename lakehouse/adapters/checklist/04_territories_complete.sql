-- Every market and product that was played is settled, by a clause in force there.
with played as (
    select distinct
        plays.country,
        plays.tier
    from ({royalty_plays}) as plays
    inner join lake.silver_audit.tracks for version as of {tracks_snapshot} as tracks
        on plays.track_id = tracks.track_id
    where plays.played_on >= date '{first}' and plays.played_on < date '{after}'
),

without_pool as (
    select count(*) as wrong
    from played
    left join lake.gold.settlement_pools as pools
        on
            played.country = pools.country
            and played.tier = pools.tier
            and pools.calculation = '{calculation}'
    where pools.country is null
),

without_clause as (
    select count(*) as wrong
    from lake.gold.settlement_lines as lines
    where
        lines.calculation = '{calculation}'
        and not exists (
            select 1
            from lake.gold.settlement_clauses as clauses
            where
                clauses.calculation = '{calculation}'
                and clauses.clause = lines.clause
                and clauses.territory in (lines.country, 'world')
                and clauses.clause_tier in (lines.tier, '')
        )
)

select
    (select count(*) from played) as looked_at,
    without_pool.wrong + without_clause.wrong as wrong
from without_pool
cross join without_clause
