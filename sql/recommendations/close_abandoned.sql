-- One row per training that is open, though none is at work.
update ml.model_runs
set decision = 'failed', why = 'it was cut off: nothing of it was published', finished_at = %(finished_at)s
where decision = 'running'
returning model_run_id
