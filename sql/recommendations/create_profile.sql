-- One row: the lists as a whole, for the expectations that judge them so. Shares are of 1; coverage is that of the
-- tracks which so many rows could show, and null where lists are meant to be alike.
create unlogged table {table} as
select
    %(per_user)s::integer as per_user,
    %(excludes_played)s::boolean as excludes_played,
    %(personal)s::boolean as personal,
    (select count(*) from mart.dim_users where removed_at is null) as listeners,
    (select count(*) from mart.dim_tracks where removed_at is null) as tracks_offered,
    count(*) as rows_listed,
    count(distinct user_id) as listeners_listed,
    count(distinct track_id) as tracks_covered,
    case when %(personal)s::boolean then
        count(distinct track_id)::double precision / nullif(
            least(count(*), (select count(*) from mart.dim_tracks where removed_at is null)), 0
        )
    end as coverage
from {lists}
