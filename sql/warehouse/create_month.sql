-- One month of sessions or plays, still without index or key.
create table {table} partition of {loading} for values from ({start}) to ({stop})
