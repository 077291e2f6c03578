-- One row: whether both tables of a publication are partitions.
select count(*) = 2
from pg_inherits
where inhrelid in (to_regclass(%(lists)s), to_regclass(%(similar)s)) and not inhdetachpending
