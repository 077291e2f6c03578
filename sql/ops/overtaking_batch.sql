-- The newest batch of the endpoint that was published from a snapshot read later than the one asked about. Runs tell the
-- order, whatever the clock said then. Where no run knows, times do; one after now was written by a clock that was ahead,
-- and then the snapshot asked about counts as the older one.
select batch_id
from ops.batches
where endpoint = %(endpoint)s
    and status in ('published', 'unchanged')
    and case
        when read_in_run is not null and %(read_in_run)s::bigint is not null then read_in_run > %(read_in_run)s
        else started_at > %(read_at)s or greatest(started_at, %(read_at)s) > %(latest)s
    end
order by read_in_run desc nulls last, started_at desc
limit 1
