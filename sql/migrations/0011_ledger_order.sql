-- ops: the order in which snapshots were read, independent of the clock. A wrong clock must not decide which of two
-- snapshots is newer.

-- `read_in_run` is the run that read the snapshot. Runs are numbered in the order in which they hold the warehouse lock.
-- Null if no run is known: the pages were read while the database was unavailable, and a newer snapshot replaced them.
alter table ops.batches add column read_in_run bigint references ops.runs;

update ops.batches as batch
set read_in_run = touched.run_id
from (select batch_id, min(run_id) as run_id from ops.run_batches group by batch_id) as touched
where touched.batch_id = batch.batch_id;

-- Rights (sql/migrations/0007_roles.sql): ingest checks whether recommendations are outdated, and the recommender records
-- the newest batches. Both use this order.
grant select (publication_id, batches) on ml.publications to moovitamix_ingest;
grant select (live_id, live_from) on ml.live_publications to moovitamix_ingest;
grant select (read_in_run) on ops.batches to moovitamix_recommender, moovitamix_serving, moovitamix_analyst;
