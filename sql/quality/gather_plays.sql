-- One row per play of a day, with what was live at that moment; plays before anything was live are left out. A list is
-- live from when it went live, and not before the last play that it was made from: by a clock that was behind it went
-- live too early. One that went live after `now`, by a clock that was ahead, did so at a moment that nobody knows: it is
-- left out when another went live since, and else counts from the last play that it was made from.
create temporary table day_plays on commit drop as
with since as (
    select
        live.live_id,
        case
            when live.live_from <= %(now)s
                then greatest(live.live_from, case when publication.data_as_of <= %(now)s then publication.data_as_of end)
            when publication.data_as_of <= %(now)s
                and not exists (
                    select from ml.live_publications as later
                    where later.live_id > live.live_id and later.live_from <= %(now)s
                )
                then publication.data_as_of
        end as live_from
    from ml.live_publications as live
    join ml.publications as publication using (publication_id)
),

live as (
    select live_id, live_from
    from since
    where live_id >= coalesce((select max(live_id) from since where live_from <= %(day)s::date), 0)
)

select session.user_id, play.track_id, session.created_at as listened_at, at_the_time.live_id
from warehouse.listen_history as session
join warehouse.listen_history_tracks as play
    on play.listen_history_id = session.id and play.created_at = session.created_at
cross join lateral (
    select live_id from live where live.live_from <= session.created_at order by live_id desc limit 1
) as at_the_time
where session.removed_at is null
    and session.created_at >= %(day)s::date
    and session.created_at < %(day)s::date + 1
    and play.created_at >= %(day)s::date
    and play.created_at < %(day)s::date + 1
