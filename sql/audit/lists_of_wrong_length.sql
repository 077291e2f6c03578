-- One row per listener whose list is longer or shorter than it could be: as many tracks as were asked for, or all that
-- are offered and, where played ones are left out, not yet played.
with listed as (
    select user_id, count(*) as tracks from {batch} group by user_id
),
played as (
    select plays.user_id, count(*) as tracks
    from mart.user_track_plays as plays
    join mart.dim_tracks as track on track.track_id = plays.track_id and track.removed_at is null
    where (select excludes_played from staging.{profile})
    group by plays.user_id
)
select listener.user_id, 0 as rank
from mart.dim_users as listener
cross join staging.{profile} as profile
left join listed on listed.user_id = listener.user_id
left join played on played.user_id = listener.user_id
where listener.removed_at is null
    and coalesce(listed.tracks, 0)
        <> least(profile.per_user, profile.tracks_offered - coalesce(played.tracks, 0))
