-- Nothing is lost between bronze and silver: each valid play that this run took in is there.
select event_id from {{ ref('stg_plays') }}
where rejection_reason is null and {{ received_in_window(var('received_lookback_days')) }}
except
select event_id from {{ ref('plays') }}
