-- One row: the batch as a whole, for the expectations that judge it so.
-- Shares are of 1; published_rows is null when nothing was published before.
create unlogged table {table} (
    rows_reported bigint not null,
    rows_landed bigint not null,
    rows_listed bigint not null,
    rows_rejected bigint not null,
    rejected_share double precision not null,
    plays_landed bigint not null,
    plays_rejected bigint not null,
    plays_rejected_share double precision not null,
    published_rows bigint,
    share_of_published double precision,
    rows_removed bigint not null,
    removed_share double precision not null,
    days_since_newest_update double precision,
    rows_with_unknown_fields bigint not null,
    dependencies_not_published bigint not null
)
