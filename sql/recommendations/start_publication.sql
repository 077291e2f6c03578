-- One row per list of everyone, staged until it is audited.
insert into ml.publications (model_run_id, flow, status, data_as_of, batches, made_at)
values (%(model_run_id)s, %(flow)s, 'staged', %(data_as_of)s, %(batches)s, %(made_at)s)
returning publication_id
