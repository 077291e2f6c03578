-- Routes new sessions to month tables that bear no index or key yet. Gone at the end of the transaction.
create table staging.loading_sessions (like warehouse.listen_history including defaults)
partition by range (created_at)
