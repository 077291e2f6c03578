-- One row per rank of a user's live recommendations, up to a limit: the track, and the most similar track that the user
-- has played. It is null if no similar track was played.
select
    recommendation.rank,
    track.name as title,
    track.artist,
    recommendation.score,
    nearest.title as near_title,
    nearest.artist as near_artist
from ml.current_recommendations as recommendation
join mart.dim_tracks as track using (track_id)
left join lateral (
    select played_track.name as title, played_track.artist
    from ml.similar_tracks as similar_track
    join mart.user_track_plays as plays
        on plays.user_id = recommendation.user_id and plays.track_id = similar_track.similar_track_id
    join mart.dim_tracks as played_track on played_track.track_id = plays.track_id
    where similar_track.publication_id = recommendation.publication_id
        and similar_track.track_id = recommendation.track_id
    order by similar_track.score desc, plays.track_id
    limit 1
) as nearest on true
where recommendation.user_id = %(user_id)s and recommendation.rank <= %(ranks)s
order by recommendation.rank;
