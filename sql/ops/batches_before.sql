-- One row per batch whose list was read before a time.
select endpoint, day, source, revision
from ops.batches
where started_at < %(oldest)s
order by day
