-- One row per published session that the batch has otherwise, or has again. was_live: it was not removed.
-- offset 0: look each session up in its month; the planner would rather read all sessions to find a few.
create temporary table changed_sessions on commit drop as
select
    published.id,
    staged.user_id,
    staged.created_at,
    published.removed_at is null as was_live,
    staged.updated_at,
    staged.items,
    staged.row_hash
from {staged} as staged
cross join lateral (
    select id, removed_at
    from warehouse.listen_history as session
    where session.user_id = staged.user_id and session.created_at = staged.created_at
    offset 0
) as published
where not staged.is_new
