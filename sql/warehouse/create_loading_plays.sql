-- Routes new plays to month tables that bear no index or key yet. Gone at the end of the transaction.
create table staging.loading_plays (like warehouse.listen_history_tracks including defaults)
partition by range (created_at)
