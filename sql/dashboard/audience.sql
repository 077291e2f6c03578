-- One row: how many listeners and tracks there are now, those that left not counted.
select
    (select count(*) from mart.dim_users where removed_at is null) as listeners,
    (select count(*) from mart.dim_tracks where removed_at is null) as tracks
