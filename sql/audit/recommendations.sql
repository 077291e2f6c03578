-- name: find_unknown_users
-- One row per recommendation for a user who is unknown or removed.
with listed as (
    select user_id, rank from {batch}
)
select listed.user_id, listed.rank
from listed
where not exists (
    select from mart.dim_users as known_user
    where known_user.user_id = listed.user_id and known_user.removed_at is null
);

-- name: find_wrong_lengths
-- One row per user whose recommendation list does not have the expected length: the requested length, or the number of
-- available tracks if there are fewer. Played tracks are not available if the publication excludes them. Hidden tracks
-- are not available either, but a list may contain tracks that were hidden after it was made.
with listed as (
    select user_id, count(*) as tracks from {batch} as staged group by user_id
),
played as (
    select plays.user_id, count(*) as tracks
    from mart.user_track_plays as plays
    join mart.dim_tracks as track on track.track_id = plays.track_id and track.removed_at is null
    where (select excludes_played from {profile})
    group by plays.user_id
),
hidden as (
    select reaction.user_id, count(distinct reaction.track_id) as tracks
    from ml.reactions as reaction
    join mart.dim_tracks as track on track.track_id = reaction.track_id and track.removed_at is null
    where reaction.kind = 'hide'
        and not exists (
            select from mart.user_track_plays as plays
            where plays.user_id = reaction.user_id and plays.track_id = reaction.track_id
                and (select excludes_played from {profile})
        )
    group by reaction.user_id
)
select known_user.user_id, 0 as rank
from mart.dim_users as known_user
cross join {profile} as profile
left join listed on listed.user_id = known_user.user_id
left join played on played.user_id = known_user.user_id
left join hidden on hidden.user_id = known_user.user_id
cross join lateral (select profile.tracks_offered - coalesce(played.tracks, 0) as unplayed) as available
where known_user.removed_at is null
    and coalesce(listed.tracks, 0)
        not between least(profile.per_user, available.unplayed - coalesce(hidden.tracks, 0))
        and least(profile.per_user, available.unplayed);

-- name: find_broken_ranks
-- One row per user whose ranks are not 1, 2, 3 and so on.
select user_id, min(rank) as rank
from {batch}
group by user_id
having min(rank) <> 1 or max(rank) <> count(*) or count(distinct rank) <> count(*);

-- name: find_repeated_tracks
-- One row per track that occurs more than once in the list of a user.
select user_id, min(rank) as rank
from {batch}
group by user_id, track_id
having count(*) > 1;

-- name: find_non_finite_scores
-- One row per recommendation whose score is not a finite number.
select user_id, rank
from {batch}
where score = 'NaN' or score = 'Infinity' or score = '-Infinity';

-- name: find_rising_scores
-- One row per recommendation whose score is higher than the score of the previous rank.
select user_id, rank
from (
    select user_id, rank, score > lag(score) over (partition by user_id order by rank) as rises
    from {batch}
) as ranked
where rises;

-- name: find_seen_tracks
-- One row per recommendation of a track that the user has played, where such tracks are excluded.
with listed as (
    select user_id, rank, track_id from {batch} as staged
)
select listed.user_id, listed.rank
from listed
join mart.user_track_plays as plays on plays.user_id = listed.user_id and plays.track_id = listed.track_id
where (select excludes_played from {profile});

-- name: find_removed_tracks
-- One row per recommendation of a track that is unknown or removed.
with listed as (
    select user_id, rank, track_id from {batch}
)
select listed.user_id, listed.rank
from listed
where not exists (
    select from mart.dim_tracks as track
    where track.track_id = listed.track_id and track.removed_at is null
);

-- name: find_unplayed_reasons
-- One row per recommendation whose reason is a track that the user has not played.
with listed as (
    select user_id, rank, because_track_id from {batch}
)
select listed.user_id, listed.rank
from listed
where listed.because_track_id is not null
    and not exists (
        select from mart.user_track_plays as plays
        where plays.user_id = listed.user_id and plays.track_id = listed.because_track_id
    );

-- name: find_removed_reasons
-- One row per recommendation whose reason is a track that is unknown or removed.
with listed as (
    select user_id, rank, because_track_id from {batch}
)
select listed.user_id, listed.rank
from listed
where listed.because_track_id is not null
    and not exists (
        select from mart.dim_tracks as track
        where track.track_id = listed.because_track_id and track.removed_at is null
    );
