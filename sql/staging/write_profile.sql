-- One row: the batch as a whole.
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
)
