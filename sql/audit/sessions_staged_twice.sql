-- One row per session (user and start) that is staged more than once.
select user_id, created_at from {batch} group by user_id, created_at having count(*) > 1
