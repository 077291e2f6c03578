-- One row: a new API key.
insert into serving.api_keys (key_id, name, secret_hash, scopes, created_at, expires_at)
values (%(key_id)s, %(name)s, %(secret_hash)s, %(scopes)s, %(created_at)s, %(expires_at)s)
