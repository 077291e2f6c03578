-- One row per critical expectation that failed in the last audit of one batch, with its figures.
select expectation, unexpected_count, observed_value
from ops.expectation_results
where batch_id = %(batch_id)s and severity = 'critical' and not success
