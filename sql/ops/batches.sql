-- name: find_batch
-- A batch by its id. `settled`: the last run that worked on it has ended.
select batch.*, coalesce(
    (
        select run.finished_at is not null
        from ops.run_batches as touched
        join ops.runs as run using (run_id)
        where touched.batch_id = batch.batch_id
        order by run_id desc
        limit 1
    ),
    false
) as settled
from ops.batches as batch
where batch.batch_id = %(batch_id)s;

-- name: find_latest_batch
-- The newest revision of an endpoint and day. `settled`: the last run that worked on it has ended.
select batch.*, coalesce(
    (
        select run.finished_at is not null
        from ops.run_batches as touched
        join ops.runs as run using (run_id)
        where touched.batch_id = batch.batch_id
        order by run_id desc
        limit 1
    ),
    false
) as settled
from ops.batches as batch
where batch.endpoint = %(endpoint)s and batch.day = %(day)s
order by batch.revision desc
limit 1;

-- name: find_overtaking_batch
-- The newest published batch of the endpoint whose snapshot was read later than the given one. Runs give the order,
-- whatever the clock was. Where no run is known, times decide. A time after `latest` comes from a clock that was ahead;
-- then the given snapshot counts as older.
select batch_id
from ops.batches
where endpoint = %(endpoint)s
    and status in ('published', 'unchanged')
    and case
        when read_in_run is not null and %(read_in_run)s::bigint is not null then read_in_run > %(read_in_run)s
        else started_at > %(read_at)s or greatest(started_at, %(read_at)s) > %(latest)s
    end
order by read_in_run desc nulls last, started_at desc
limit 1;

-- name: find_unpublished_dependency
-- One row if neither the newest batch of an endpoint and day was published nor any snapshot that was read later. Runs
-- give the order; times decide only where no run is known. No row if there is no such batch.
select newest.batch_id
from (
    select batch_id, status, started_at, read_in_run
    from ops.batches
    where endpoint = %(endpoint)s and day = %(day)s
    order by revision desc
    limit 1
) as newest
where newest.status not in ('published', 'unchanged')
    and not exists (
        select
        from ops.batches as later
        where later.endpoint = %(endpoint)s
            and later.status in ('published', 'unchanged')
            and case
                when later.read_in_run is not null and newest.read_in_run is not null
                    then later.read_in_run > newest.read_in_run
                else later.started_at > newest.started_at
            end
    );

-- name: count_published_days
-- One row: the number of published days among the days just before the day of a batch.
select count(distinct day)
from ops.batches
where endpoint = %(endpoint)s
    and status in ('published', 'unchanged')
    and day >= %(day)s::date - %(days)s::integer
    and day < %(day)s::date;

-- name: find_last_publication_time
-- One row: when a batch was last published or unchanged; null if never. A time after `latest` comes from a clock that was
-- ahead. It is ignored, because it would hide missing publications until that time.
select max(finished_at)
from ops.batches
where status in ('published', 'unchanged') and finished_at <= %(latest)s;

-- name: find_batches_before
-- One row per batch whose snapshot was read before a time.
select endpoint, day, source, revision
from ops.batches
where started_at < %(oldest)s
order by day;

-- name: find_batch_ids
-- One row per batch.
select batch_id from ops.batches;
