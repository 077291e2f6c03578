-- One publication more; the check on the table saves Postgres a scan.
alter table {parent} attach partition {table} for values in ({number})
