-- At most one row: whether a partition that is still attached was left half detached by a crash.
select inhdetachpending from pg_inherits where inhrelid = to_regclass(%(table)s)
