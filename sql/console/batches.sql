-- name: find_batches
-- One row per batch of the days from `first_day` to `last_day`, the newest first; all endpoints and statuses, or one of them.
-- `critical` and `warning` count the failed expectations of its last audit.
select
    batch.batch_id,
    batch.endpoint,
    batch.day,
    batch.status,
    batch.rows_landed,
    batch.rows_staged,
    batch.rows_rejected,
    batch.rows_conflicting,
    batch.plays_rejected,
    batch.started_at,
    batch.finished_at,
    batch.reason,
    audit.critical,
    audit.warning
from ops.batches as batch
cross join lateral (
    select
        count(*) filter (where result.severity = 'critical') as critical,
        count(*) filter (where result.severity <> 'critical') as warning
    from ops.expectation_results as result
    where result.batch_id = batch.batch_id and not result.success
) as audit
where batch.day between %(first_day)s and %(last_day)s
    and (%(endpoint)s::text is null or batch.endpoint = %(endpoint)s)
    and (%(status)s::text is null or batch.status = %(status)s)
order by batch.day desc, batch.endpoint, batch.revision desc;

-- name: find_earliest_day
-- One row: the first day with a batch; null before the first.
select min(day) as day from ops.batches;

-- name: find_batch
-- One row: a batch with its counts; no row if it is unknown.
select
    batch_id, endpoint, day, revision, source, status, rows_reported, rows_landed, rows_rejected, rows_erased,
    rows_duplicate, rows_superseded, rows_conflicting, rows_unchanged, rows_staged, rows_inserted, rows_updated,
    rows_removed, plays_rejected, started_at, finished_at, reason
from ops.batches
where batch_id = %(batch_id)s;

-- name: find_results_of_batch
-- One row per expectation of the last audit of a batch, failed ones first.
select
    expectation, "column", severity, success, unexpected_count, observed_value,
    coalesce(description, concat_ws(' of ', expectation, "column")) as description
from ops.expectation_results
where batch_id = %(batch_id)s
order by success, severity, expectation, "column";

-- name: find_keys_of_batch
-- One row per failed expectation about rows: the number of stored keys, and the first twenty.
select expectation, "column", count(*) as keys, (array_agg(row_key order by row_key))[1:20] as first_keys
from ops.quarantined_rows
where batch_id = %(batch_id)s
group by expectation, "column";

-- name: count_rejected_rows
-- One row per reason why rows or plays of a batch were set aside, the most frequent first; and the first positions.
select
    reason,
    count(*) filter (where play_position is null) as rows,
    count(play_position) as plays,
    (array_agg(distinct row_position order by row_position))[1:5] as positions
from ops.rejected_rows
where batch_id = %(batch_id)s
group by reason
order by count(*) desc, reason
limit 50;

-- name: find_figures_of_batch
-- One row per figure of a batch with its normal range, unusual ones first; and whether a person confirmed it.
select
    measured.figure, measured.value, measured.expected, measured.lower, measured.upper, measured.is_normal,
    confirmed.reason as confirmed, confirmed.confirmed_by
from ops.batch_figures as measured
left join ops.confirmed_figures as confirmed using (batch_id, figure)
where measured.batch_id = %(batch_id)s
order by measured.is_normal, measured.figure;

-- name: find_runs_of_batch
-- One row per run that worked on a batch, the newest first.
select run.run_id, run.flow, run.day, run.started_at, run.finished_at, run.outcome
from ops.run_batches
join ops.runs as run using (run_id)
where batch_id = %(batch_id)s
order by run.run_id desc;

-- name: find_acceptances_of_batch
-- One row per acceptance of a batch, the newest first.
select reason, accepted_by, accepted_at
from ops.acceptances
where batch_id = %(batch_id)s
order by acceptance_id desc;

-- name: find_revisions
-- One row per batch of the same endpoint and day, the newest first.
select other.batch_id, other.status
from ops.batches as batch
join ops.batches as other using (endpoint, day)
where batch.batch_id = %(batch_id)s
order by other.revision desc;

-- name: find_run
-- One row: a run of a flow; no row if it is unknown.
select flow, day, started_at from ops.runs where run_id = %(run_id)s;
