-- name: insert_key
-- Records a new API key.
insert into serving.api_keys (key_id, name, secret_hash, scopes, created_at, expires_at)
values (%(key_id)s, %(name)s, %(secret_hash)s, %(scopes)s, %(created_at)s, %(expires_at)s);

-- name: find_key
-- The API key with this id, also if it is expired or revoked: the caller checks that. No row if it does not exist.
select name, secret_hash, scopes, expires_at, revoked_at
from serving.api_keys
where key_id = %(key_id)s;

-- name: find_keys
-- One row per API key, newest first.
select key_id, name, scopes, created_at, expires_at, revoked_at
from serving.api_keys
order by created_at desc, key_id;

-- name: revoke_key
-- Revokes an API key and returns the time. A revoked key keeps its time. No row if it does not exist.
update serving.api_keys
set revoked_at = coalesce(revoked_at, %(revoked_at)s)
where key_id = %(key_id)s
returning revoked_at;
