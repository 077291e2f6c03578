-- Records the current state of a batch in place of its earlier state.
insert into ops.batches (
    batch_id, endpoint, day, revision, source, status,
    rows_reported, rows_landed, rows_rejected, rows_duplicate, rows_unchanged, rows_staged,
    rows_superseded, rows_conflicting, rows_erased, rows_inserted, rows_updated, rows_removed,
    plays_rejected, unknown_fields,
    started_at, finished_at, reason, read_in_run
)
values (
    %(batch_id)s, %(endpoint)s, %(day)s, %(revision)s, %(source)s, %(status)s,
    %(rows_reported)s, %(rows_landed)s, %(rows_rejected)s, %(rows_duplicate)s, %(rows_unchanged)s, %(rows_staged)s,
    %(rows_superseded)s, %(rows_conflicting)s, %(rows_erased)s, %(rows_inserted)s, %(rows_updated)s, %(rows_removed)s,
    %(plays_rejected)s, %(unknown_fields)s,
    %(started_at)s, %(finished_at)s, %(reason)s, %(read_in_run)s
)
on conflict (batch_id) do update set
    source = excluded.source,
    status = excluded.status,
    rows_reported = excluded.rows_reported,
    rows_landed = excluded.rows_landed,
    rows_rejected = excluded.rows_rejected,
    rows_duplicate = excluded.rows_duplicate,
    rows_superseded = excluded.rows_superseded,
    rows_conflicting = excluded.rows_conflicting,
    rows_unchanged = excluded.rows_unchanged,
    rows_staged = excluded.rows_staged,
    rows_erased = excluded.rows_erased,
    rows_inserted = excluded.rows_inserted,
    rows_updated = excluded.rows_updated,
    rows_removed = excluded.rows_removed,
    plays_rejected = excluded.plays_rejected,
    unknown_fields = excluded.unknown_fields,
    -- A later run that continues with the same snapshot does not change when it was read.
    read_in_run = case
        when batches.started_at = excluded.started_at then batches.read_in_run
        else excluded.read_in_run
    end,
    started_at = excluded.started_at,
    finished_at = excluded.finished_at,
    reason = excluded.reason;
