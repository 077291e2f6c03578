-- One row per transaction of others that has begun to read lists.
select distinct virtualtransaction
from pg_locks
where relation in ('ml.recommendations'::regclass, 'ml.similar_tracks'::regclass)
    and database = (select oid from pg_database where datname = current_database())
    and pid <> pg_backend_pid()
