-- name: find_endpoint_status
-- One row per endpoint with a batch: its newest published day, and its newest batch of any status. A batch without
-- `finished_at` is in progress or was killed. A batch of a day after `today` counts only if there is no other batch: the day
-- comes from a wrong clock or a person.
select
    newest.endpoint,
    published.day as published_day,
    published.finished_at as published_at,
    newest.batch_id,
    newest.day,
    newest.status,
    newest.reason,
    newest.started_at,
    newest.finished_at
from (
    select distinct on (endpoint) endpoint, batch_id, day, status, reason, started_at, finished_at
    from ops.batches
    order by endpoint, day <= %(today)s desc, day desc, revision desc
) as newest
left join lateral (
    select day, finished_at
    from ops.batches
    where endpoint = newest.endpoint and status in ('published', 'unchanged')
    order by day <= %(today)s desc, day desc, revision desc
    limit 1
) as published on true;

-- name: find_batches_by_day
-- One row per endpoint and day from `first_day` to `last_day`: the newest published revision, or the newest one if none is
-- published; and whether an earlier revision was blocked.
select distinct on (endpoint, day)
    endpoint,
    day,
    batch_id,
    status,
    rows_landed,
    rows_rejected,
    rows_conflicting,
    plays_rejected,
    coalesce(
        bool_or(status = 'blocked') over (
            partition by endpoint, day order by revision rows between unbounded preceding and 1 preceding
        ),
        false
    ) as was_blocked
from ops.batches
where day between %(first_day)s and %(last_day)s
order by endpoint, day, status in ('published', 'unchanged') desc, revision desc;

-- name: count_expectations_by_day
-- One row per day from `first_day` to `last_day` with an audited batch: the number of expectations, and of failed ones by
-- severity, in the newest revision of each endpoint.
with newest as (
    select distinct on (endpoint, day) batch_id, day
    from ops.batches
    where day between %(first_day)s and %(last_day)s
    order by endpoint, day, revision desc
)
select
    newest.day,
    count(*) as judged,
    count(*) filter (where not success and severity = 'critical') as critical,
    count(*) filter (where not success and severity <> 'critical') as warning
from newest
join ops.expectation_results using (batch_id)
group by newest.day
order by newest.day;

-- name: find_failed_expectations
-- One row per failed expectation in the newest audit of an endpoint, with the reason if the batch was accepted. The
-- description has counts and figures, no values of rows.
with newest as (
    select distinct on (batch.endpoint) batch.batch_id, batch.endpoint
    from ops.batches as batch
    where exists (select from ops.expectation_results as result where result.batch_id = batch.batch_id)
    order by batch.endpoint, batch.day <= %(today)s desc, batch.day desc, batch.revision desc
)
select newest.endpoint, newest.batch_id,
    coalesce(result.description, concat_ws(' of ', result.expectation, result."column")) as description,
    result.severity, result.unexpected_count,
    (
        select reason from ops.acceptances where batch_id = newest.batch_id order by acceptance_id desc limit 1
    ) as accepted
from newest
join ops.expectation_results as result using (batch_id)
where not result.success
order by result.severity, newest.endpoint, result.expectation, result."column";
