-- name: find_missed_users
-- One row about the next changes after one: how many they are, the newest, and the users whose fresh recommendations do not
-- include them, those who wait longest first. Sessions that a batch has confirmed are in the marts, and reach users with the
-- next publication. The published tracks of parked sessions count.
with changes as (
    select user_id, change_id
    from stream.sessions
    where confirmed_by is null and change_id > %(after)s
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
-- One row per user: the newest change of their streamed sessions, and when the newest of these sessions began.
select user_id, max(change_id), max(created_at)
from stream.sessions
where user_id = any (%(user_ids)s) and confirmed_by is null
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

-- name: add_to_history
-- One row of the history for each list that `save_fresh` saved for a user in the sample. That is one in 2^n users, so that
-- at most `max_users` are in it; the monitor chooses them by the same hash.
insert into ml.fresh_recommendation_history (publication_id, user_id, track_ids, shown_from)
select fresh.publication_id, fresh.user_id, fresh.track_ids, saved.shown_from
from unnest(%(user_ids)s::bigint[], %(shown_from)s::timestamptz[]) as saved (user_id, shown_from)
join ml.fresh_recommendations as fresh
    on fresh.publication_id = %(publication_id)s and fresh.user_id = saved.user_id and fresh.as_of = %(as_of)s
cross join (
    select greatest(0, ceil(log(2, greatest(listeners, 1) / %(max_users)s::numeric)))::integer as n
    from ml.publications
    where publication_id = %(publication_id)s
) as sample
where (hashint8extended(saved.user_id, 0) & ((1::bigint << sample.n) - 1)) = 0;

-- name: record_failure
-- At most one row per user and publication: the newest recommendations that failed a check.
insert into stream.failed_recommendations as stored (publication_id, user_id, change_id, reason, failed_at)
values (%(publication_id)s, %(user_id)s, %(change_id)s, %(reason)s, %(now)s)
on conflict (publication_id, user_id) do update
set change_id = excluded.change_id, reason = excluded.reason, failed_at = excluded.failed_at;

-- name: delete_other_publications
-- One row per deleted row: fresh recommendations of publications that are not live. Their failures are deleted too.
with live as (
    select publication_id from ml.live_publications order by live_id desc limit 1
),

failures as (
    delete from stream.failed_recommendations where publication_id <> (select publication_id from live)
)

delete from ml.fresh_recommendations
where publication_id <> (select publication_id from live)
returning publication_id, user_id;

-- name: delete_all
-- One row per deleted row: all fresh recommendations.
delete from ml.fresh_recommendations returning publication_id, user_id;

-- name: add_removals
-- One row of the history for each removed list that is in it.
insert into ml.fresh_recommendation_history (publication_id, user_id, track_ids, shown_from)
select removed.publication_id, removed.user_id, array[]::bigint[], %(now)s
from unnest(%(publication_ids)s::bigint[], %(user_ids)s::bigint[]) as removed (publication_id, user_id)
where exists (
    select from ml.fresh_recommendation_history as history
    where history.publication_id = removed.publication_id and history.user_id = removed.user_id
);
