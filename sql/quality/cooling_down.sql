-- One row when a training kept the champion so few days before a day that no alarm is raised: the last such day.
select max(answered_after) + %(days)s::integer
from ml.alarms
where answer = 'kept'
having max(answered_after) + %(days)s::integer >= %(day)s
