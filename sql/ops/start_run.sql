-- One row per run, open until it is finished.
insert into ops.runs (flow, day, started_at)
values (%(flow)s, %(day)s, %(started_at)s)
returning run_id
