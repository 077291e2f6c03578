-- name: create_profile
-- One row about the whole batch, for expectations about the whole. Shares are from 0 to 1. `published_rows` is null if
-- nothing was published before. The last three columns are about sessions, as published with this batch, by the day they
-- were created. `last_day_sessions` counts the day before the batch's day, `quietest_day_sessions` the quietest of the 14
-- days before that. Their share is null if the quietest day has too few sessions to compare.
create unlogged table {table} (
    rows_reported bigint not null,
    rows_landed bigint not null,
    rows_listed bigint not null,
    rows_rejected bigint not null,
    rejected_share double precision not null,
    rows_superseded bigint not null,
    rows_conflicting bigint not null,
    conflicting_share double precision not null,
    plays_landed bigint not null,
    plays_rejected bigint not null,
    plays_rejected_share double precision not null,
    published_rows bigint,
    share_of_published double precision,
    rows_removed bigint not null,
    removed_share double precision not null,
    days_since_newest_update double precision,
    rows_with_unknown_fields bigint not null,
    dependencies_not_published bigint not null,
    last_day_sessions bigint,
    quietest_day_sessions bigint,
    share_of_quietest_day double precision
);

-- name: insert_profile
-- Records the row about the whole batch.
insert into {table} (
    rows_reported, rows_landed, rows_listed, rows_rejected, rejected_share,
    rows_superseded, rows_conflicting, conflicting_share,
    plays_landed, plays_rejected, plays_rejected_share,
    published_rows, share_of_published, rows_removed, removed_share,
    days_since_newest_update, rows_with_unknown_fields, dependencies_not_published,
    last_day_sessions, quietest_day_sessions, share_of_quietest_day
)
values (
    %(rows_reported)s, %(rows_landed)s, %(rows_listed)s, %(rows_rejected)s, %(rejected_share)s,
    %(rows_superseded)s, %(rows_conflicting)s, %(conflicting_share)s,
    %(plays_landed)s, %(plays_rejected)s, %(plays_rejected_share)s,
    %(published_rows)s, %(share_of_published)s, %(rows_removed)s, %(removed_share)s,
    %(days_since_newest_update)s, %(rows_with_unknown_fields)s, %(dependencies_not_published)s,
    %(last_day_sessions)s, %(quietest_day_sessions)s, %(share_of_quietest_day)s
);
