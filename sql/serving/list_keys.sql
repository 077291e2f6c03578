-- One row per API key, the newest first.
select key_id, name, scopes, created_at, expires_at, revoked_at
from serving.api_keys
order by created_at desc, key_id
