{{ config(meta={'touched': 'played_on'}) }}

-- Rules over many plays look at one UTC day, so that the days a run touches are all that it reads.
with days as (
    select
        event_id,
        user_id,
        track_id,
        device_hash,
        played_on,
        played_at,
        played_at + ms_played * interval '0.001' second as ended_at,
        is_bot
    from {{ ref('plays') }}
    where {{ touched('played_on') }}
),

busy_accounts as (
    select
        user_id,
        played_on
    from days
    group by user_id, played_on
    having count(*) >= {{ artificial_rule('overlapping-plays', 'least_plays') }}
),

in_order as (
    select
        days.event_id,
        days.user_id,
        days.played_on,
        days.played_at,
        days.ended_at,
        max(days.ended_at) over (
            partition by days.user_id, days.played_on order by days.played_at, days.event_id
            rows between unbounded preceding and 1 preceding
        ) as others_ended_at,
        lead(days.played_at) over (
            partition by days.user_id, days.played_on order by days.played_at, days.event_id
        ) as next_played_at
    from days
    inner join busy_accounts on days.user_id = busy_accounts.user_id and days.played_on = busy_accounts.played_on
),

overlapping as (
    select
        event_id,
        played_on,
        count(*) over (partition by user_id, played_on) as overlaps
    from in_order
    where
        others_ended_at > played_at
        + {{ artificial_rule('overlapping-plays', 'tolerance_ms') }} * interval '0.001' second
        or ended_at > next_played_at
        + {{ artificial_rule('overlapping-plays', 'tolerance_ms') }} * interval '0.001' second
),

loops as (
    select
        user_id,
        track_id,
        played_on
    from days
    group by user_id, track_id, played_on
    having count(*) >= {{ artificial_rule('track-loop', 'least_plays') }}
),

shared_devices as (
    select
        device_hash,
        played_on
    from days
    where device_hash is not null
    group by device_hash, played_on
    having count(distinct user_id) >= {{ artificial_rule('shared-device', 'least_accounts') }}
)

select
    event_id,
    'bot-user-agent' as rule,
    cast({{ artificial_rule('bot-user-agent', 'version') }} as bigint) as rule_version,
    played_on
from days
where is_bot
union all
select
    event_id,
    'overlapping-plays' as rule,
    cast({{ artificial_rule('overlapping-plays', 'version') }} as bigint) as rule_version,
    played_on
from overlapping
where overlaps >= {{ artificial_rule('overlapping-plays', 'least_plays') }}
union all
select
    days.event_id,
    'track-loop' as rule,
    cast({{ artificial_rule('track-loop', 'version') }} as bigint) as rule_version,
    days.played_on
from days
inner join loops
    on days.user_id = loops.user_id and days.track_id = loops.track_id and days.played_on = loops.played_on
union all
select
    days.event_id,
    'shared-device' as rule,
    cast({{ artificial_rule('shared-device', 'version') }} as bigint) as rule_version,
    days.played_on
from days
inner join shared_devices
    on days.device_hash = shared_devices.device_hash and days.played_on = shared_devices.played_on
