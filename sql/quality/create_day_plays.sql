-- One row per play of a day, with the publication that was live then. Plays before the first publication are left out.
-- A publication counts as live from the later of two times: when it went live (too early if the clock was behind), and the
-- end of the plays that its recommendations include. A time after `now` comes from a clock that was ahead, and is ignored.
-- `is_certain` is false if the first time is ignored and another publication went live since: such a publication counts only
-- where no other was live.
create temporary table day_plays on commit drop as
with live_times as (
    select
        live.live_id,
        greatest(
            case when live.live_from <= %(now)s then live.live_from end,
            case when publication.data_as_of <= %(now)s then publication.data_as_of end
        ) as live_from,
        live.live_from <= %(now)s or not exists (
            select from ml.live_publications as later
            where later.live_id > live.live_id and later.live_from <= %(now)s
        ) as is_certain
    from ml.live_publications as live
    join ml.publications as publication using (publication_id)
),

live as (
    select live_id, live_from, is_certain
    from live_times
    where live_id >= coalesce((select max(live_id) from live_times where is_certain and live_from <= %(day)s::date), 0)
)

select session.user_id, play.track_id, session.created_at as listened_at, live_then.live_id
from warehouse.listen_history as session
join warehouse.listen_history_tracks as play
    on play.listen_history_id = session.id and play.created_at = session.created_at
cross join lateral (
    select live_id from live
    where live.live_from <= session.created_at
    order by is_certain desc, live_id desc
    limit 1
) as live_then
where session.removed_at is null
    and session.created_at >= %(day)s::date
    and session.created_at < %(day)s::date + 1
    and play.created_at >= %(day)s::date
    and play.created_at < %(day)s::date + 1;
