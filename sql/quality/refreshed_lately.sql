-- One row when a training that was held because of the model's age was decided so few days before a day.
select model_run_id
from ml.model_runs
where cause = 'age'
    and decision in ('published', 'fallback', 'kept')
    and data_as_of::date > %(day)s::date - %(days)s::integer
limit 1
