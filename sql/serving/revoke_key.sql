-- One row, or none: the API key of that id, revoked now, or when it was before.
update serving.api_keys
set revoked_at = coalesce(revoked_at, %(revoked_at)s)
where key_id = %(key_id)s
returning revoked_at
