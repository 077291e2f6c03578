-- One row about the first `k` ranks of a publication. `coverage` is the share of the catalogue that they contain. `novelty`
-- is the mean of -log2 of the share of users who played a track, in bits. `learned_until` is the end of the training data.
-- Catalogue, users and plays are those at the end of the day, also when the query runs later.
with recommended as (
    select track_id, count(*) as places
    from ml.recommendations
    where publication_id = %(publication_id)s and rank <= %(k)s
    group by track_id
),

played as (
    select track_id, count(*)::double precision as users
    from mart.user_track_plays
    where first_played_at < %(day)s::date + 1
    group by track_id
),

all_users as (
    select greatest(count(*), 1)::double precision as users
    from mart.dim_users
    where created_at < %(day)s::date + 1 and (removed_at is null or removed_at >= %(day)s::date + 1)
)

select
    (select count(*) from recommended)::double precision / nullif((
        select count(*)
        from mart.dim_tracks
        where created_at < %(day)s::date + 1 and (removed_at is null or removed_at >= %(day)s::date + 1)
    ), 0) as coverage,
    (
        select sum(recommended.places * -ln(greatest(coalesce(played.users, 1), 1) / all_users.users))
            / ln(2) / sum(recommended.places)
        from recommended
        cross join all_users
        left join played using (track_id)
    ) as novelty,
    run.data_as_of as learned_until
from ml.publications
join ml.model_runs as run using (model_run_id)
where publication_id = %(publication_id)s;
