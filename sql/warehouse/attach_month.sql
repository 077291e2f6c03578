-- One month, loaded: its keys are built and checked here, all at once.
alter table {parent} attach partition {table} for values from ({start}) to ({stop})
