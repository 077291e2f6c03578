-- One row per batch and expectation.
insert into ops.expectation_results (
    batch_id, expectation, "column", severity, success, unexpected_count, unexpected_share, observed_value, description
)
values (
    %(batch_id)s, %(expectation)s, %(column)s, %(severity)s, %(success)s,
    %(unexpected_count)s, %(unexpected_share)s, %(observed_value)s, %(description)s
)
