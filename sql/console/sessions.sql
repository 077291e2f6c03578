-- name: open_session
-- Stores a session of the console, and deletes those that have expired. Returns one row.
with expired as (
    delete from serving.console_sessions where expires_at <= %(now)s
)
insert into serving.console_sessions (session_hash, key_id, person, scopes, created_at, expires_at)
values (%(session_hash)s, %(key_id)s, %(person)s, %(scopes)s, %(now)s, %(expires_at)s)
returning expires_at;

-- name: find_session
-- One row if the session is valid now, and its API key too if it has one: its key or person, scopes, and when it expires.
select session.key_id, session.person, coalesce(session.scopes, api_key.scopes), session.expires_at
from serving.console_sessions as session
left join serving.api_keys as api_key using (key_id)
where session.session_hash = %(session_hash)s
    and session.expires_at > %(now)s
    and api_key.revoked_at is null
    and (api_key.expires_at is null or api_key.expires_at > %(now)s);

-- name: close_session
-- Deletes a session, and returns when it would have expired.
delete from serving.console_sessions where session_hash = %(session_hash)s returning expires_at;
