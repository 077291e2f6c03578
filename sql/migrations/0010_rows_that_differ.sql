-- ops: rows that share a key and differ are no longer counted as duplicates. Their text is in ops.rejected_rows.
-- landed = rejected + erased + duplicate + superseded + conflicting + unchanged + staged. Batches recorded before this
-- migration have all of them in rows_duplicate.
alter table ops.batches add column rows_superseded bigint not null default 0;
alter table ops.batches add column rows_conflicting bigint not null default 0;
grant select (rows_superseded, rows_conflicting) on ops.batches to moovitamix_serving, moovitamix_analyst;
