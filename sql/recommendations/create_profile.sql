-- One row: the lists as a whole, for the expectations that judge them so. Shares are of 1; coverage is that of the
-- tracks which so many rows could show, and null where lists are meant to be alike.
create unlogged table {table} as
with covered as (
    select count(*) as tracks from (select distinct track_id from {lists}) as named
),
offered as (
    select count(*) as tracks from mart.dim_tracks where removed_at is null
)
select
    %(per_user)s::integer as per_user,
    %(excludes_played)s::boolean as excludes_played,
    %(personal)s::boolean as personal,
    (select count(*) from mart.dim_users where removed_at is null) as listeners,
    (select tracks from offered) as tracks_offered,
    count(*) as rows_listed,
    count(*) filter (where rank = 1) as listeners_listed,
    (select tracks from covered) as tracks_covered,
    case when %(personal)s::boolean then
        (select tracks from covered)::double precision / nullif(least(count(*), (select tracks from offered)), 0)
    end as coverage
from {lists}
