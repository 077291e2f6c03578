-- One row: on how many of the days just before a batch's day its endpoint came in.
select count(distinct day)
from ops.batches
where endpoint = %(endpoint)s
    and status in ('published', 'unchanged')
    and day >= %(day)s::date - %(days)s::integer
    and day < %(day)s::date
