-- One row per publication and expectation of the audit of its list.
insert into ml.expectation_results
    (publication_id, expectation, "column", severity, success, unexpected_count, unexpected_share, observed_value,
    description)
values
    (%(publication_id)s, %(expectation)s, %(column)s, %(severity)s, %(success)s, %(unexpected_count)s,
    %(unexpected_share)s, %(observed_value)s, %(description)s)
on conflict do nothing
