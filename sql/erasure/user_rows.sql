-- name: find_identity
-- The e-mail address and name of a user in a table of users. In the warehouse at most one row.
select email, first_name, last_name from {table} where id = %(user_id)s;

-- name: find_user_ids
-- One row per user who was published or has a streamed session.
select id from warehouse.users
union
select user_id from stream.sessions
union
select user_id from stream.failed_recommendations
union
select user_id from ml.fresh_recommendations
union
select user_id from ml.fresh_recommendation_history;

-- name: lock_user
-- Locks a user, so that nobody adds rows of the user until the transaction ends. At most one row.
select id from warehouse.users where id = %(user_id)s for update;

-- name: delete_plays
-- Deletes all plays of a user. `offset 0` makes Postgres look up the plays of each session in its month.
delete from warehouse.listen_history_tracks as play
using (
    select id, created_at
    from warehouse.listen_history
    where user_id = %(user_id)s
    offset 0
) as session
where play.listen_history_id = session.id and play.created_at = session.created_at;

-- name: delete_rows_of_user
-- Deletes all rows of a user in one table.
delete from only {table} where {column} = %(user_id)s;

-- name: delete_user
-- Deletes a user.
delete from warehouse.users where id = %(user_id)s;

-- name: delete_quarantined_rows
-- Deletes all keys of a user's rows that failed an expectation.
delete from ops.quarantined_rows as quarantined
using ops.batches as batch
where batch.batch_id = quarantined.batch_id
    and batch.endpoint in ('users', 'listen_history')
    and split_part(quarantined.row_key, ' ', 1) = %(user_id)s::text;

-- name: find_rejected_rows
-- One row per rejected row or play of an endpoint with users, and its place in the table.
select ctid::text, endpoint, raw_json
from ops.rejected_rows
where endpoint in ('users', 'listen_history') and raw_json <> %(in_place)s;

-- name: blank_rejected_rows
-- Replaces the text of a user's rejected rows. The reason stays.
update ops.rejected_rows set raw_json = %(in_place)s where ctid = any(%(places)s::tid[]);

-- name: delete_row_digests
-- Forgets the digests of pages and rows with users: the next snapshot is decoded completely.
delete from ops.published_snapshots where endpoint = any(%(endpoints)s);
