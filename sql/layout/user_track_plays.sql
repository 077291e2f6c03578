-- name: count_partitions
-- One row: the number of partitions of mart.user_track_plays, 1 if it is one table.
select case relkind when 'p' then (select count(*) from pg_inherits where inhparent = relation.oid) else 1 end
from pg_class as relation
where relation.oid = 'mart.user_track_plays'::regclass;

-- name: rename_table
-- Renames the table, so that another table can have its name. Readers and writers wait until the transaction ends.
lock table mart.user_track_plays in access exclusive mode;
alter table mart.user_track_plays rename to user_track_plays_before;
alter table mart.user_track_plays_before rename constraint user_track_plays_pkey to user_track_plays_before_pkey;

-- name: create_table
-- Creates one table, with the columns and their comments.
create table mart.user_track_plays (like mart.user_track_plays_before including defaults including comments);

-- name: create_partitioned_table
-- Creates a table that is partitioned by user, with the columns and their comments.
create table mart.user_track_plays (like mart.user_track_plays_before including defaults including comments)
partition by hash (user_id);

-- name: create_partition
-- Creates one of its partitions.
create table {partition} partition of mart.user_track_plays for values with (modulus {modulus}, remainder {remainder});

-- name: copy_rows
-- Copies all rows, in the order of the key, and builds the key.
insert into mart.user_track_plays select * from mart.user_track_plays_before order by user_id, track_id;
alter table mart.user_track_plays add constraint user_track_plays_pkey primary key (user_id, track_id);

-- name: find_rights
-- One statement per right, comment and owner that the new table takes over, the owner last.
select statement
from (
    select
        1 as step,
        'grant ' || privilege.privilege_type || ' on mart.user_track_plays to ' || privilege.grantee::regrole as statement
    from pg_class as relation
    cross join lateral aclexplode(relation.relacl) as privilege
    where relation.oid = 'mart.user_track_plays_before'::regclass and privilege.grantee <> relation.relowner
    union all
    select
        2,
        'comment on table mart.user_track_plays is '
        || quote_nullable(obj_description('mart.user_track_plays_before'::regclass, 'pg_class'))
    union all
    select 3, 'alter table ' || changed.oid::regclass || ' owner to ' || relation.relowner::regrole
    from pg_class as relation
    join pg_class as changed
        on changed.oid = 'mart.user_track_plays'::regclass
        or changed.oid in (select inhrelid from pg_inherits where inhparent = 'mart.user_track_plays'::regclass)
    where relation.oid = 'mart.user_track_plays_before'::regclass
) as taken_over
order by step;

-- name: drop_renamed_table
-- Drops the renamed table with its partitions.
drop table mart.user_track_plays_before;
