-- One row per published session that the batch has otherwise, or has again.
create temporary table changed_sessions on commit drop as
select published.id, published.user_id, published.created_at, staged.updated_at, staged.items, staged.row_hash
from {staged} as staged
join warehouse.listen_history as published using (user_id, created_at)
where not staged.is_new
