-- name: find_user
-- One row: a user; no row if the user is unknown.
select user_id, favorite_genres, created_at, removed_at from mart.dim_users where user_id = %(user_id)s;

-- name: count_plays_of_user
-- One row: all plays and different tracks of a user, and the times of the first and last play.
select
    coalesce(sum(plays), 0)::bigint as plays, count(*) as tracks,
    min(first_played_at) as first_played_at, max(last_played_at) as last_played_at
from mart.user_track_plays
where user_id = %(user_id)s;

-- name: find_plays_of_user
-- One row per play of a user, the newest first.
select play.track_id, track.name as title, track.artist, play.listened_at
from mart.fact_listens as play
join mart.dim_tracks as track using (track_id)
where play.user_id = %(user_id)s
order by play.listened_at desc, play.position desc
limit 30;

-- name: find_favourite_tracks_of_user
-- One row per track of the ten that a user played most.
select played.track_id, track.name as title, track.artist, played.plays, played.last_played_at
from mart.user_track_plays as played
join mart.dim_tracks as track using (track_id)
where played.user_id = %(user_id)s
order by played.plays desc, played.last_played_at desc
limit 10;

-- name: find_lists_of_user
-- One row per kept publication, the newest first: the first ten tracks that it recommends to a user, and how many of all
-- its tracks for the user the live publication has too. `tracks` is 0 if the user had no recommendations of their own.
with live as (
    select publication_id from ml.live_publications order by live_id desc limit 1
)
select
    publication.publication_id,
    publication.made_at,
    publication.model_run_id,
    run.model,
    publication.publication_id = (select publication_id from live) as is_live,
    listed.tracks,
    listed.shared,
    listed.first_titles
from ml.publications as publication
join ml.model_runs as run using (model_run_id)
cross join lateral (
    select
        count(*) as tracks,
        count(*) filter (
            where exists (
                select from ml.recommendations as current
                where current.publication_id = (select publication_id from live)
                    and current.user_id = %(user_id)s
                    and current.track_id = item.track_id
            )
        ) as shared,
        (array_agg(coalesce(track.name, 'track ' || item.track_id) order by item.rank))[1:10] as first_titles
    from ml.recommendations as item
    left join mart.dim_tracks as track using (track_id)
    where item.publication_id = publication.publication_id and item.user_id = %(user_id)s
) as listed
where publication.status = 'published' and publication.pruned_at is null
order by publication.publication_id desc
limit 15;

-- name: find_fresh_list_of_user
-- One row per track of the fresh recommendations of a user, best first, with its rank in the live publication (null if
-- it is not among them); no row without fresh recommendations.
select
    fresh.as_of, item.rank, item.track_id, track.name as title, track.artist, listed.rank as published_rank
from ml.fresh_recommendations as fresh
cross join lateral unnest(fresh.track_ids) with ordinality as item (track_id, rank)
left join mart.dim_tracks as track on track.track_id = item.track_id
left join ml.recommendations as listed
    on listed.publication_id = fresh.publication_id and listed.user_id = fresh.user_id and listed.track_id = item.track_id
where fresh.user_id = %(user_id)s
    and fresh.publication_id = (select publication_id from ml.live_publications order by live_id desc limit 1)
order by item.rank
limit 20;

-- name: find_streamed_sessions_of_user
-- One row per streamed session of a user that no batch has confirmed yet, the newest first.
select session.created_at, session.received_at, (
    select array_agg(coalesce(track.name, 'track ' || item.track_id) order by item.position)
    from unnest(session.items) with ordinality as item (track_id, position)
    left join mart.dim_tracks as track on track.track_id = item.track_id
) as titles
from stream.sessions as session
where session.user_id = %(user_id)s and session.confirmed_by is null
order by session.created_at desc
limit 10;

-- name: find_reactions_of_user
-- One row per answer or reaction of a user, the newest first.
select answer.track_id, track.name as title, answer.kind, answer.updated_at
from (
    select track_id, case when useful then 'useful' else 'not useful' end as kind, updated_at
    from ml.feedback where user_id = %(user_id)s
    union all
    select track_id, kind, updated_at from ml.reactions where user_id = %(user_id)s
) as answer
left join mart.dim_tracks as track using (track_id)
order by answer.updated_at desc
limit 20;

-- name: find_tracks
-- One row per track whose title starts with a text, in any case; `prefix` is that text in lower case, at most 100
-- characters, with the wildcards of `like` escaped.
select track_id, name as title, artist, genres, removed_at
from mart.dim_tracks
where left(lower(name), 100) like %(prefix)s || '%%'
order by left(lower(name), 100), track_id
limit 50;

-- name: find_track
-- One row: a track; no row if it is unknown.
select track_id, name as title, artist, genres, album, duration, songwriters, created_at, removed_at
from mart.dim_tracks
where track_id = %(track_id)s;

-- name: find_similar_tracks
-- One row per similar track of the live publication, the most similar first.
select item.rank, item.similar_track_id as track_id, track.name as title, track.artist, item.score, track.removed_at
from ml.similar_tracks as item
left join mart.dim_tracks as track on track.track_id = item.similar_track_id
where item.publication_id = (select publication_id from ml.live_publications order by live_id desc limit 1)
    and item.track_id = %(track_id)s
order by item.rank
limit 20;

-- name: find_popularity_of_track
-- One row per period in which the track is among the most popular of the live publication: rank and users.
select popular.period, popular.genre, popular.rank, popular.users
from ml.popular_tracks as popular
where popular.publication_id = (select publication_id from ml.live_publications order by live_id desc limit 1)
    and popular.track_id = %(track_id)s
order by popular.period, popular.genre
limit 20;

-- name: find_example_users
-- One row per user of the live publication, for a reader who knows no id: the five with the lowest ids.
select distinct user_id
from ml.recommendations
where publication_id = (select publication_id from ml.live_publications order by live_id desc limit 1)
order by user_id
limit 5;
