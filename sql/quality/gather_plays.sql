-- One row per play of a day, with what was live at that moment; plays before anything was live are left out.
create temporary table day_plays on commit drop as
with live as (
    select live.live_id, greatest(live.live_from, publication.data_as_of) as live_from
    from ml.live_publications as live
    join ml.publications as publication using (publication_id)
    where live.live_id >= coalesce(
        (
            select max(before.live_id)
            from ml.live_publications as before
            join ml.publications as was using (publication_id)
            where greatest(before.live_from, was.data_as_of) <= %(day)s::date
        ),
        0
    )
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
