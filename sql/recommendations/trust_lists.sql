-- The check has done its work.
alter table {table} drop constraint {belongs}
