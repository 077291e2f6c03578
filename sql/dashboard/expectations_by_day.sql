-- One row per day from `first_day` to `last_day` with an audited batch: how many expectations were judged and how many fail, by
-- severity, in the newest revision of each endpoint.
with newest as (
    select distinct on (endpoint, day) batch_id, day
    from ops.batches
    where day between %(first_day)s and %(last_day)s
    order by endpoint, day, revision desc
)
select
    newest.day,
    count(*) as judged,
    count(*) filter (where not success and severity = 'critical') as critical,
    count(*) filter (where not success and severity <> 'critical') as warning
from newest
join ops.expectation_results using (batch_id)
group by newest.day
order by newest.day
