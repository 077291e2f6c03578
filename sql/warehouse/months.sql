-- name: find_months_of_batch
-- One row per calendar month (UTC) with new sessions in the batch, and whether the warehouse has its partition.
-- It first reduces the sessions to their few days, so that it computes few months.
select month, to_regclass('warehouse.listen_history_' || to_char(month, 'YYYY_MM')) is not null
from (
    select distinct date_trunc('month', day::timestamp)::date as month
    from (select distinct (created_at at time zone 'UTC')::date as day from {staged} where is_new) as days
) as months
order by month;

-- name: create_loading_sessions
-- Routes new sessions to month tables without index and key. It is dropped before the end of the transaction.
create table staging.loading_sessions (like warehouse.listen_history including defaults)
partition by range (created_at);

-- name: create_loading_plays
-- Routes new plays to month tables without index and key. It is dropped before the end of the transaction.
create table staging.loading_plays (like warehouse.listen_history_tracks including defaults)
partition by range (created_at);

-- name: create_month
-- Creates a month of sessions or plays without index and key.
create table {table} partition of {loading} for values from ({start}) to ({stop});

-- name: detach_month
-- Detaches a loaded month from the table that routed its rows.
alter table {loading} detach partition {table};

-- name: attach_month
-- Attaches a loaded month. Postgres builds and checks its keys here, all at once.
alter table {parent} attach partition {table} for values from ({start}) to ({stop});

-- name: add_foreign_key
-- Connects each play of a month to a session of that month.
alter table {plays} add foreign key (listen_history_id, created_at) references {sessions} (id, created_at);
