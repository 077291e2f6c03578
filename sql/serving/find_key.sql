-- One row, or none: the API key of that id. Expired and revoked ones too: who reads it decides.
select name, secret_hash, scopes, expires_at, revoked_at
from serving.api_keys
where key_id = %(key_id)s
