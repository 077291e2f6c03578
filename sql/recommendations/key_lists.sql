-- The key of a partition, before it is one: one row per publication, listener or track, and rank.
alter table {staged} add primary key ({key}), add constraint {belongs} check (publication_id = {number})
