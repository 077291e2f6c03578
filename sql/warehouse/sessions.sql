-- name: create_changed_sessions
-- One row per published session that the batch has otherwise, or has again. was_live: it was not removed.
-- offset 0: look each session up in its month; the planner would rather read all sessions to find a few.
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
-- Tells the planner how small the changes are.
analyze changed_sessions;
analyze removed_sessions;

-- name: find_last_session_id
-- The highest id given to a session; 0 when there is none.
select coalesce(max(id), 0) from warehouse.listen_history;

-- name: insert_plays
-- One row per play of the new sessions of the months asked for; of every month when none is named.
insert into {target} (listen_history_id, position, track_id, created_at)
select %(last_id)s + session.new_ordinal, play.position, play.track_id, session.created_at
from {staged} as session
cross join lateral unnest(session.items) with ordinality as play (track_id, position)
where session.is_new
    and (%(in_months)s::date[] is null or date_trunc('month', session.created_at, 'UTC')::date = any(%(in_months)s::date[]));

-- name: delete_changed_plays
-- All plays of the sessions that changed.
delete from warehouse.listen_history_tracks as play
using changed_sessions as changed
where play.listen_history_id = changed.id and play.created_at = changed.created_at;

-- name: insert_changed_plays
-- One row per play that the changed sessions hold now.
insert into warehouse.listen_history_tracks (listen_history_id, position, track_id, created_at)
select changed.id, play.position, play.track_id, changed.created_at
from changed_sessions as changed
cross join lateral unnest(changed.items) with ordinality as play (track_id, position);

-- name: remove_sessions
-- One row per published session that the batch no longer has.
update warehouse.listen_history as published
set removed_at = %(day)s::date at time zone 'UTC', batch_id = %(batch_id)s
from removed_sessions as removed
where published.id = removed.id and published.created_at = removed.created_at;
