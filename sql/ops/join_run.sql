-- One row per run and batch.
insert into ops.run_batches (run_id, batch_id)
values (%(run_id)s, %(batch_id)s)
on conflict do nothing
