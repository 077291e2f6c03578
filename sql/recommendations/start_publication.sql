-- One row per list of everyone, staged until it is audited.
insert into ml.publications
    (model_run_id, flow, status, data_as_of, batches, listeners, rows, tracks_covered, made_at)
values
    (%(model_run_id)s, %(flow)s, 'staged', %(data_as_of)s, %(batches)s, %(listeners)s, %(rows)s, %(tracks_covered)s,
    %(made_at)s)
returning publication_id
