-- One publication less, without a lock that readers of others would wait for.
alter table {parent} detach partition {table} concurrently
