-- name: find_missed_users
-- One row about the next changes after one: how many they are, the newest, and the users whose fresh recommendations do not
-- include them, those who wait longest first. Sessions that a batch has confirmed are in the marts, and reach users with the
-- next publication.
with changes as (
    select user_id, change_id
    from stream.sessions
    where confirmed_by is null and not is_parked and change_id > %(after)s
    order by change_id
    limit %(max_changes)s
)

select
    (select count(*) from changes),
    (select max(change_id) from changes),
    array(
        select changes.user_id
        from changes
        join mart.dim_users as known_user on known_user.user_id = changes.user_id and known_user.removed_at is null
        left join ml.fresh_recommendations as fresh
            on fresh.publication_id = %(publication_id)s and fresh.user_id = changes.user_id
        left join stream.failed_recommendations as failed
            on failed.publication_id = %(publication_id)s and failed.user_id = changes.user_id
        where changes.change_id > greatest(fresh.change_id, failed.change_id, 0)
        group by changes.user_id
        order by min(changes.change_id)
    );

-- name: find_changes
-- One row per user: the newest change of their streamed sessions.
select user_id, max(change_id)
from stream.sessions
where user_id = any (%(user_ids)s) and confirmed_by is null and not is_parked
group by user_id;

-- name: save_fresh
-- At most one row per user. Recommendations that include fewer changes than the stored ones are dropped.
insert into ml.fresh_recommendations as stored (publication_id, user_id, track_ids, scores, change_id, as_of)
values (%(publication_id)s, %(user_id)s, %(track_ids)s, %(scores)s, %(change_id)s, %(as_of)s)
on conflict (publication_id, user_id) do update
set
    track_ids = excluded.track_ids,
    scores = excluded.scores,
    change_id = excluded.change_id,
    as_of = excluded.as_of
where excluded.change_id >= stored.change_id;

-- name: record_failure
-- At most one row per user and publication: the newest recommendations that failed a check.
insert into stream.failed_recommendations as stored (publication_id, user_id, change_id, reason, failed_at)
values (%(publication_id)s, %(user_id)s, %(change_id)s, %(reason)s, %(now)s)
on conflict (publication_id, user_id) do update
set change_id = excluded.change_id, reason = excluded.reason, failed_at = excluded.failed_at;

-- name: delete_other_publications
-- Fresh recommendations of publications that are not live, and their failures.
with failures as (
    delete from stream.failed_recommendations where publication_id <> %(publication_id)s
)

delete from ml.fresh_recommendations where publication_id <> %(publication_id)s;

-- name: delete_all
-- All fresh recommendations.
delete from ml.fresh_recommendations;
