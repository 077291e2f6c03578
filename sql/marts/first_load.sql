-- name: is_first_load
-- One row: whether nothing was ever counted, and the batch has only new sessions.
select not exists (select from mart.user_track_plays)
    and not exists (select from mart.user_days)
    and not exists (select from changed_sessions);

-- name: group_by_sorting
-- Groups by sorting: rows arrive in the order of the keys, so the keys are quick to build.
set local enable_hashagg = off;
set local work_mem = '256MB';

-- name: reset_grouping
reset enable_hashagg;
reset work_mem;
