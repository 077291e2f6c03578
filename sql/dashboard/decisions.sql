-- One row per decision since `since`, the newest first.
select decision_id, kind, day, verdict, why, model_run_id, decided_at
from ml.decisions
where decided_at >= %(since)s
order by decision_id desc
