-- One row per decision, newest first.
select day, kind, verdict, why, model_run_id
from ml.decisions
order by decision_id desc
limit %(limit)s
