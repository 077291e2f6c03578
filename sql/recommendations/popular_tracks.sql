-- name: insert_popular_tracks
-- For each period before the data of a publication end, and for each genre and all genres (''): the 100 tracks that most
-- users have played in it, most users first. A genre of more than 200 characters, which no request can name, gets none.
insert into ml.popular_tracks (publication_id, period, genre, rank, track_id, users)
with users_per_track as (
    select
        track_id,
        count(*) as users,
        count(*) filter (where last_played_at > %(data_as_of)s::timestamptz - interval '30 days') as users_of_month,
        count(*) filter (where last_played_at > %(data_as_of)s::timestamptz - interval '7 days') as users_of_week,
        count(*) filter (where last_played_at > %(data_as_of)s::timestamptz - interval '1 day') as users_of_day
    from mart.user_track_plays
    group by track_id
),

ranked as (
    select
        period.name as period,
        genre.name as genre,
        row_number() over (partition by period.name, genre.name order by period.users desc, track.track_id) as rank,
        track.track_id,
        period.users
    from users_per_track
    join mart.dim_tracks as track on track.track_id = users_per_track.track_id and track.removed_at is null
    cross join lateral (
        values ('all', users), ('month', users_of_month), ('week', users_of_week), ('day', users_of_day)
    ) as period (name, users)
    cross join lateral (
        select distinct genre_name as name
        from (values (''), (lower(track.genres))) as names (genre_name)
        where length(genre_name) <= 200
    ) as genre
    where period.users > 0
)

select %(publication_id)s, period, genre, rank, track_id, users
from ranked
where rank <= 100;

-- name: delete_popular_tracks
-- Deletes the popular tracks of pruned publications.
delete from ml.popular_tracks
where publication_id in (select publication_id from ml.publications where pruned_at is not null);
