-- Names the model and its file in the model run of the live publication.
update ml.model_runs
set model = %(model)s, params = '{}', model_file = %(file)s, model_digest = %(digest)s
where model_run_id = (select model_run_id from ml.current_publication);
