-- One row per training, open until it is decided.
insert into ml.model_runs (model, params, seed, data_as_of, batches, code_version, cause, decision, started_at)
values (%(model)s, %(params)s, %(seed)s, %(data_as_of)s, %(batches)s, %(code_version)s, %(cause)s, 'running', %(started_at)s)
returning model_run_id
