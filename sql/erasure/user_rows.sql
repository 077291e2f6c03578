-- name: find_identity
-- The e-mail and name of one listener in one table of users; one row at most where it is published.
select email, first_name, last_name from {table} where id = %(user_id)s;

-- name: find_user_ids
-- One row per listener who is published.
select id from warehouse.users;

-- name: lock_user
-- At most one row: the listener, to whom nobody adds anything until the transaction ends.
select id from warehouse.users where id = %(user_id)s for update;

-- name: delete_plays
-- All plays of one listener. offset 0: look up each session's plays in its month.
delete from warehouse.listen_history_tracks as play
using (
    select id, created_at
    from warehouse.listen_history
    where user_id = %(user_id)s
    offset 0
) as session
where play.listen_history_id = session.id and play.created_at = session.created_at;

-- name: delete_rows_of_user
-- All rows of one listener in one table.
delete from only {table} where {column} = %(user_id)s;

-- name: delete_user
-- One listener.
delete from warehouse.users where id = %(user_id)s;

-- name: delete_quarantined_rows
-- All keys of rows of one listener that failed an expectation.
delete from ops.quarantined_rows as quarantined
using ops.batches as batch
where batch.batch_id = quarantined.batch_id
    and batch.endpoint in ('users', 'listen_history')
    and split_part(quarantined.row_key, ' ', 1) = %(user_id)s::text;

-- name: find_rejected_rows
-- One row per rejected row or play of the lists that have listeners, and where it stands.
select ctid::text, endpoint, raw_json
from ops.rejected_rows
where endpoint in ('users', 'listen_history') and raw_json <> %(in_place)s;

-- name: blank_rejected_rows
-- Rejected rows of one listener: that there was one stays, and why, but nothing of what it said.
update ops.rejected_rows set raw_json = %(in_place)s where ctid = any(%(places)s::tid[]);
