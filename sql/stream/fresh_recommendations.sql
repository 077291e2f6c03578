-- name: find_changes
-- One row per user: the newest change of their streamed sessions, and when the newest of these sessions began. Confirmed
-- sessions count too: recommendations include them from the marts.
select user_id, max(change_id), max(created_at)
from stream.sessions
where user_id = any (%(user_ids)s)
group by user_id;

-- name: count_exposures
-- One row per track: in how many lists of a publication it is.
select track_id, count(*)
from ml.recommendations
where publication_id = %(publication_id)s
group by track_id;

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
-- One row of the history for each list that `save_fresh` saved for a user in the sample. The sample has one in 2^n users and
-- at most `max_users`; the monitor chooses them by the same hash.
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
-- One row per deleted row: at most `max_lists` fresh recommendations of publications that are not live.
with removed as (
    select publication_id, user_id
    from ml.fresh_recommendations
    where publication_id <> (select publication_id from ml.live_publications order by live_id desc limit 1)
    limit %(max_lists)s
    for update skip locked
)

delete from ml.fresh_recommendations as fresh
using removed
where fresh.publication_id = removed.publication_id and fresh.user_id = removed.user_id
returning fresh.publication_id, fresh.user_id;

-- name: delete_other_failures
-- At most `max_lists` failures of publications that are not live.
with removed as (
    select publication_id, user_id
    from stream.failed_recommendations
    where publication_id <> (select publication_id from ml.live_publications order by live_id desc limit 1)
    limit %(max_lists)s
    for update skip locked
)

delete from stream.failed_recommendations as failed
using removed
where failed.publication_id = removed.publication_id and failed.user_id = removed.user_id;

-- name: delete_all
-- One row per deleted row: at most `max_lists` fresh recommendations of any publication.
with removed as (
    select publication_id, user_id
    from ml.fresh_recommendations
    limit %(max_lists)s
    for update skip locked
)

delete from ml.fresh_recommendations as fresh
using removed
where fresh.publication_id = removed.publication_id and fresh.user_id = removed.user_id
returning fresh.publication_id, fresh.user_id;

-- name: add_removals
-- One row of the history for each removed list that is in it.
insert into ml.fresh_recommendation_history (publication_id, user_id, track_ids, shown_from)
select removed.publication_id, removed.user_id, array[]::bigint[], %(now)s
from unnest(%(publication_ids)s::bigint[], %(user_ids)s::bigint[]) as removed (publication_id, user_id)
where exists (
    select from ml.fresh_recommendation_history as history
    where history.publication_id = removed.publication_id and history.user_id = removed.user_id
);
