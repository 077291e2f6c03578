-- name: find_tablespace
-- One row if the tablespace exists: whether this role may put tables there.
select has_tablespace_privilege(spcname, 'create') from pg_tablespace where spcname = %(tablespace)s;

-- name: find_old_months
-- One row per monthly table of sessions or plays before the month of a day, and per index of such a table, that is not in
-- the tablespace yet: the statement that moves it there. Tables come first.
select
    case moved.relkind when 'i' then 'alter index ' else 'alter table ' end || moved.oid::regclass
    || ' set tablespace ' || quote_ident(%(tablespace)s)
from pg_inherits as partition
join pg_class as month on month.oid = partition.inhrelid
left join pg_index as key on key.indrelid = month.oid
join pg_class as moved on moved.oid in (month.oid, key.indexrelid)
left join pg_tablespace as current_tablespace on current_tablespace.oid = moved.reltablespace
where partition.inhparent in ('warehouse.listen_history'::regclass, 'warehouse.listen_history_tracks'::regclass)
    and substring(month.relname from '[0-9]+_[0-9]+$') < to_char(%(cutoff)s::date, 'YYYY_MM')
    and current_tablespace.spcname is distinct from %(tablespace)s
group by moved.oid, moved.relkind, moved.relname
order by moved.relkind desc, moved.relname;
