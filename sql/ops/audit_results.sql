-- name: delete_expectation_results
-- Deletes the results of the last audit of a batch.
delete from ops.expectation_results where batch_id = %(batch_id)s;

-- name: delete_quarantined_rows
-- Deletes the row keys of the last audit of a batch.
delete from ops.quarantined_rows where batch_id = %(batch_id)s;

-- name: insert_expectation_result
-- Records the result of one expectation.
insert into ops.expectation_results (
    batch_id, expectation, "column", severity, success, unexpected_count, unexpected_share, observed_value, description,
    value, lower, upper
)
values (
    %(batch_id)s, %(expectation)s, %(column)s, %(severity)s, %(success)s,
    %(unexpected_count)s, %(unexpected_share)s, %(observed_value)s, %(description)s, %(value)s, %(lower)s, %(upper)s
);

-- name: insert_quarantined_row
-- Records the key of a row that fails an expectation.
insert into ops.quarantined_rows (batch_id, expectation, "column", row_key)
values (%(batch_id)s, %(expectation)s, %(column)s, %(row_key)s);

-- name: find_critical_failures
-- One row per failed critical expectation in the last audit of a batch, with its figures.
select expectation, unexpected_count, observed_value
from ops.expectation_results
where batch_id = %(batch_id)s and severity = 'critical' and not success;

-- name: insert_acceptance
-- Records that a batch was accepted although critical expectations failed.
insert into ops.acceptances (batch_id, run_id, reason, accepted_by, accepted_at, waived)
values (%(batch_id)s, %(run_id)s, %(reason)s, %(accepted_by)s, %(accepted_at)s, %(waived)s);
