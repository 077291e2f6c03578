-- One row per row of a batch that fails an expectation about single rows.
insert into ops.quarantined_rows (batch_id, expectation, "column", row_key)
values (%(batch_id)s, %(expectation)s, %(column)s, %(row_key)s)
