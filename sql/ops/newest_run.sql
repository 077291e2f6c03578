-- One row, or none before the first: the run that began last, by its number.
select run_id, flow, started_at from ops.runs order by run_id desc limit 1
