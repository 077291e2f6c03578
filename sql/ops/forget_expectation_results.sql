-- All results of the last audit of one batch.
delete from ops.expectation_results where batch_id = %(batch_id)s
