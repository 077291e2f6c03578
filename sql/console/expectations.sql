-- name: find_expectations
-- One row per expectation of an endpoint since `first_day`: the result in the newest audited batch, and the number of days
-- on which it failed, of the newest revision of each day.
with newest as (
    select distinct on (endpoint, day) batch_id, endpoint, day
    from ops.batches
    where day between %(first_day)s and %(last_day)s
        and exists (select from ops.expectation_results as result where result.batch_id = batches.batch_id)
    order by endpoint, day, revision desc
)
select
    newest.endpoint,
    result.expectation,
    result."column",
    max(newest.day) as last_day,
    count(*) as days,
    count(*) filter (where not result.success) as failed_days,
    max(newest.day) filter (where not result.success) as last_failed_day,
    (array_agg(result.severity order by newest.day desc))[1] as severity,
    (array_agg(result.success order by newest.day desc))[1] as success,
    (array_agg(result.observed_value order by newest.day desc))[1] as observed_value,
    (array_agg(coalesce(result.description, result.expectation) order by newest.day desc))[1] as description
from newest
join ops.expectation_results as result using (batch_id)
group by newest.endpoint, result.expectation, result."column"
order by newest.endpoint, count(*) filter (where not result.success) desc, result.expectation, result."column";

-- name: find_expectation_history
-- One row per day since `first_day` on which an endpoint was audited: the result of one expectation in the newest audited
-- revision of the day, with its value and bounds where they were stored.
with newest as (
    select distinct on (day) batch_id, day, status
    from ops.batches
    where endpoint = %(endpoint)s and day between %(first_day)s and %(last_day)s
        and exists (select from ops.expectation_results as result where result.batch_id = batches.batch_id)
    order by day, revision desc
)
select
    newest.day, newest.batch_id, newest.status, result.severity, result.success, result.unexpected_count,
    result.observed_value, result.value, result.lower, result.upper, result.description,
    (
        select (array_agg(quarantined.row_key order by quarantined.row_key))[1:5]
        from ops.quarantined_rows as quarantined
        where quarantined.batch_id = newest.batch_id and quarantined.expectation = result.expectation
            and quarantined."column" is not distinct from result."column"
            and not result.success
    ) as first_keys
from newest
join ops.expectation_results as result using (batch_id)
where result.expectation = %(expectation)s and result."column" is not distinct from %(column)s
order by newest.day;

-- name: find_figure_history
-- One row per day since `first_day` of an endpoint with this figure, in the newest revision of the day: its value and range.
with newest as (
    select distinct on (day) batch_id, day, status
    from ops.batches
    where endpoint = %(endpoint)s and day between %(first_day)s and %(last_day)s
    order by day, revision desc
)
select
    newest.day, newest.batch_id, newest.status, measured.value, measured.expected, measured.lower, measured.upper,
    measured.is_normal, confirmed.reason as confirmed, confirmed.confirmed_by
from newest
join ops.batch_figures as measured using (batch_id)
left join ops.confirmed_figures as confirmed using (batch_id, figure)
where measured.figure = %(figure)s
order by newest.day;

-- name: find_figures
-- One row per endpoint and figure since `first_day`: its newest value and range, and the number of unusual days.
with newest as (
    select distinct on (endpoint, day) batch_id, endpoint, day
    from ops.batches
    where day between %(first_day)s and %(last_day)s
    order by endpoint, day, revision desc
)
select
    newest.endpoint,
    measured.figure,
    count(*) as days,
    count(*) filter (where not measured.is_normal) as unusual_days,
    max(newest.day) as last_day,
    (array_agg(measured.value order by newest.day desc))[1] as value,
    (array_agg(measured.lower order by newest.day desc))[1] as lower,
    (array_agg(measured.upper order by newest.day desc))[1] as upper,
    (array_agg(measured.is_normal order by newest.day desc))[1] as is_normal
from newest
join ops.batch_figures as measured using (batch_id)
group by newest.endpoint, measured.figure
order by newest.endpoint, count(*) filter (where not measured.is_normal) desc, measured.figure;
