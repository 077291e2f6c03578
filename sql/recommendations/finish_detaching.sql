-- What a detaching that was cut off left to do.
alter table {parent} detach partition {table} finalize
