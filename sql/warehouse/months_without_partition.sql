-- One row per calendar month (UTC) that the batch has new sessions of and the warehouse has no partition for.
select month::date
from (
    select distinct date_trunc('month', created_at, 'UTC') as month
    from {staged}
    where is_new
) as months
where to_regclass('warehouse.listen_history_' || to_char(month, 'YYYY_MM')) is null
order by month
