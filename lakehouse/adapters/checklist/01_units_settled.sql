-- Units played are settled, or are of a track that the catalogue does not know.
with played as (
    select
        plays.country,
        plays.tier,
        count(tracks.track_id) as streams
    from ({royalty_plays}) as plays
    left join lake.silver_audit.tracks for version as of {tracks_snapshot} as tracks
        on plays.track_id = tracks.track_id
    where plays.played_on >= date '{first}' and plays.played_on < date '{after}'
    group by plays.country, plays.tier
),

settled as (
    select
        country,
        tier,
        sum(streams) as streams
    from lake.gold.settlement_pools
    where calculation = '{calculation}'
    group by country, tier
)

select
    count(*) as looked_at,
    count_if(coalesce(played.streams, 0) <> coalesce(settled.streams, 0)) as wrong
from played
full join settled on played.country = settled.country and played.tier = settled.tier
