-- One row per published session that the batch no longer has.
create temporary table removed_sessions on commit drop as
select published.id, removed.user_id, removed.created_at
from {removed} as removed
cross join lateral (
    select id
    from warehouse.listen_history as session
    where session.user_id = removed.user_id
        and session.created_at = removed.created_at
        and session.removed_at is null
    offset 0
) as published
