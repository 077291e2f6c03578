-- name: create_changed_sessions
-- One row per published session that the batch changes or brings back. `was_live`: it was not removed. `offset 0` makes
-- Postgres look up each session in its month; otherwise the planner reads all sessions to find a few.
create temporary table changed_sessions on commit drop as
select
    published.id,
    published.removed_at is null as was_live,
    staged.*
from {staged} as staged
cross join lateral (
    select id, removed_at
    from warehouse.listen_history as session
    where session.user_id = staged.user_id and session.created_at = staged.created_at
    offset 0
) as published
where not staged.is_new;

-- name: create_removed_sessions
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
) as published;

-- name: analyze_changes
-- Gives the planner the size of the changes.
analyze changed_sessions;
analyze removed_sessions;

-- name: find_last_session_id
-- The highest id of a session; 0 if there is none.
select coalesce(max(id), 0) from warehouse.listen_history;

-- name: insert_plays
-- Inserts the plays of new sessions in the given months; of all months if `in_months` is null.
insert into {target} (listen_history_id, position, track_id, created_at)
select %(last_id)s + new_ordinal, generate_subscripts(items, 1), unnest(items), created_at
from {staged}
where is_new
    and (%(in_months)s::date[] is null or date_trunc('month', created_at at time zone 'UTC')::date = any(%(in_months)s::date[]));

-- name: find_changed_months
-- One row per calendar month (UTC) with changed or removed sessions.
select date_trunc('month', created_at at time zone 'UTC')::date as month from changed_sessions
union
select date_trunc('month', created_at at time zone 'UTC')::date from removed_sessions
order by month;

-- name: delete_changed_plays
-- Deletes all plays of the changed sessions of a month, from its partition `plays`.
delete from {plays} as play
using changed_sessions as changed
where play.listen_history_id = changed.id and play.created_at = changed.created_at
    and changed.created_at >= %(start)s and changed.created_at < %(stop)s;

-- name: insert_changed_plays
-- Inserts the present plays of the changed sessions.
insert into warehouse.listen_history_tracks (listen_history_id, position, track_id, created_at)
select changed.id, play.position, play.track_id, changed.created_at
from changed_sessions as changed
cross join lateral unnest(changed.items) with ordinality as play (track_id, position);

-- name: remove_sessions
-- Marks the published sessions of a month that the batch no longer has as removed, in its partition `sessions`.
update {sessions} as published
set removed_at = %(day)s::date at time zone 'UTC', batch_id = %(batch_id)s
from removed_sessions as removed
where published.id = removed.id and published.created_at = removed.created_at
    and removed.created_at >= %(start)s and removed.created_at < %(stop)s;
