-- One row: how much of the catalogue the first so many of a publication's lists show, how rarely played that is (the
-- mean of -log2 of the share of all listeners who played it, in bits), and until when its model had learned. Catalogue,
-- listeners and plays as they were at the end of a day, however late that is asked.
with shown as (
    select track_id, count(*) as places
    from ml.recommendations
    where publication_id = %(publication_id)s and rank <= %(k)s
    group by track_id
),

played as (
    select track_id, count(*)::double precision as listeners
    from mart.user_track_plays
    where first_played_at < %(day)s::date + 1
    group by track_id
),

everyone as (
    select greatest(count(*), 1)::double precision as listeners
    from mart.dim_users
    where created_at < %(day)s::date + 1 and (removed_at is null or removed_at >= %(day)s::date + 1)
)

select
    (select count(*) from shown)::double precision / nullif((
        select count(*)
        from mart.dim_tracks
        where created_at < %(day)s::date + 1 and (removed_at is null or removed_at >= %(day)s::date + 1)
    ), 0) as coverage,
    (
        select sum(shown.places * -ln(greatest(coalesce(played.listeners, 1), 1) / everyone.listeners))
            / ln(2) / sum(shown.places)
        from shown
        cross join everyone
        left join played using (track_id)
    ) as novelty,
    run.data_as_of as learned_until
from ml.publications
join ml.model_runs as run using (model_run_id)
where publication_id = %(publication_id)s;
