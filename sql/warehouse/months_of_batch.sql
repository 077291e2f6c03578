-- One row per calendar month (UTC) that the batch has new sessions of, and whether the warehouse has its partition.
select month::date, to_regclass('warehouse.listen_history_' || to_char(month, 'YYYY_MM')) is not null
from (
    select distinct date_trunc('month', created_at, 'UTC') as month
    from {staged}
    where is_new
) as months
order by month
