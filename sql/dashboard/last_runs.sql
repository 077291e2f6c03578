-- One row per flow that ever ran: its newest run that came to an end.
select distinct on (flow) run_id, flow, day, started_at, finished_at, outcome
from ops.runs
where finished_at is not null
order by flow, run_id desc
