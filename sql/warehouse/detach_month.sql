-- One month, loaded.
alter table {loading} detach partition {table}
