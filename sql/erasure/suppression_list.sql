-- name: save_suppression
-- Suppresses a user, or allows the user again. Adds the e-mail hashes to the stored ones. An entry that is older than
-- the stored one changes nothing.
insert into ops.suppressed_listeners as stored (key, fingerprint, e_mails, erasure_id, erased_at, allowed_at)
values (%(key)s, %(fingerprint)s, %(e_mails)s::bytea[], %(erasure_id)s, %(erased_at)s, %(allowed_at)s)
on conflict (key, fingerprint) do update set
    e_mails = array(
        select distinct e_mail from unnest(stored.e_mails || excluded.e_mails) as e_mail order by e_mail
    ),
    erasure_id = coalesce(excluded.erasure_id, stored.erasure_id),
    erased_at = excluded.erased_at,
    allowed_at = excluded.allowed_at
where greatest(excluded.erased_at, excluded.allowed_at) >= greatest(stored.erased_at, stored.allowed_at);

-- name: find_suppressions
-- One row per key and user, including users that are allowed again.
select key, fingerprint, erased_at, allowed_at, e_mails
from ops.suppressed_listeners
order by erased_at, key, fingerprint;
