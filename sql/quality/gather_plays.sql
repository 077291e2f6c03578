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

select play.user_id, play.track_id, play.listened_at, at_the_time.live_id
from mart.fact_listens as play
cross join lateral (
    select live_id from live where live.live_from <= play.listened_at order by live_id desc limit 1
) as at_the_time
where play.listened_at >= %(day)s::date and play.listened_at < %(day)s::date + 1
