-- name: delete_expectation_results
-- All results of the last audit of one batch.
delete from ops.expectation_results where batch_id = %(batch_id)s;

-- name: delete_quarantined_rows
-- All keys that the last audit of one batch named.
delete from ops.quarantined_rows where batch_id = %(batch_id)s;

-- name: insert_expectation_result
-- One row per batch and expectation.
insert into ops.expectation_results (
    batch_id, expectation, "column", severity, success, unexpected_count, unexpected_share, observed_value, description
)
values (
    %(batch_id)s, %(expectation)s, %(column)s, %(severity)s, %(success)s,
    %(unexpected_count)s, %(unexpected_share)s, %(observed_value)s, %(description)s
);

-- name: insert_quarantined_row
-- One row per row of a batch that fails an expectation about single rows.
insert into ops.quarantined_rows (batch_id, expectation, "column", row_key)
values (%(batch_id)s, %(expectation)s, %(column)s, %(row_key)s);

-- name: find_critical_failures
-- One row per critical expectation that failed in the last audit of one batch, with its figures.
select expectation, unexpected_count, observed_value
from ops.expectation_results
where batch_id = %(batch_id)s and severity = 'critical' and not success;

-- name: insert_acceptance
-- One row per time that a batch was let in although critical expectations failed.
insert into ops.acceptances (batch_id, run_id, reason, accepted_by, accepted_at, waived)
values (%(batch_id)s, %(run_id)s, %(reason)s, %(accepted_by)s, %(accepted_at)s, %(waived)s);
