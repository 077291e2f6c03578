-- The one row of a training: what was chosen, how good it is, and what became of it. That it was published stays.
update ml.model_runs
set model = %(model)s,
    params = %(params)s,
    metrics = %(metrics)s,
    decision = %(decision)s,
    why = %(why)s,
    model_file = %(model_file)s,
    model_digest = %(model_digest)s,
    finished_at = %(finished_at)s
where model_run_id = %(model_run_id)s and decision not in ('published', 'fallback')
