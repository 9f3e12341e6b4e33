-- Nothing is dropped silently: each refused record that this run took in is kept with its reason.
select
    kafka_partition,
    kafka_offset,
    rejection_reason
from {{ ref('stg_plays') }}
where rejection_reason is not null and {{ received_in_window(var('received_lookback_days')) }}
except
select
    kafka_partition,
    kafka_offset,
    reason
from {{ ref('plays_rejected') }}
