-- ops: the order in which snapshots were read, independent of the clock. A clock that was ahead once, or went back, must
-- not decide which of two snapshots is newer.

-- `read_in_run` is the run in which the snapshot of the batch was read; runs are numbered in the order in which they hold
-- the warehouse lock. Null where no run knows: the pages were read while the database was away, and then overtaken.
alter table ops.batches add column read_in_run bigint references ops.runs;

update ops.batches as batch
set read_in_run = touched.run_id
from (select batch_id, min(run_id) as run_id from ops.run_batches group by batch_id) as touched
where touched.batch_id = batch.batch_id;

-- Who may do what (sql/migrations/0007_roles.sql): ingest asks whether the lists are behind, the recommender notes the
-- newest batches; both by this order.
grant select (publication_id, batches) on ml.publications to moovitamix_ingest;
grant select (live_id, live_from) on ml.live_publications to moovitamix_ingest;
grant select (read_in_run) on ops.batches to moovitamix_recommender, moovitamix_serving, moovitamix_analyst;
